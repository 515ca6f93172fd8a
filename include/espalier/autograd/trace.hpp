// SPDX-License-Identifier: Apache-2.0
// A dry run: no arithmetic, no memory, no random numbers, no running statistics touched. It yields
// the shapes and exact costs of every op, and the channel graph that structured pruning reads.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include <espalier/autograd/op.hpp>

namespace espalier {

/// One op of a dry run.
struct TracedOp {
  std::string_view name;
  Shape in;   // of the first operand
  Shape out;
  OpCost cost;
  std::vector<const void*> parameters;
};

/// An activation of a dry run.
class Traced {
 public:
  Traced() = default;
  Traced(const Shape& shape, Channels channels) : shape_(shape), channels_(std::move(channels)) {}
  const Shape& shape() const { return shape_; }
  const Channels& channels() const { return channels_; }

 private:
  Shape shape_;
  Channels channels_;
};

/// The context of a dry run.
template <Backend B>
class Trace {
 public:
  using Device = B;
  using Value = Traced;
  static constexpr bool computes = false;

  bool training() const { return false; }

  /// An input of the network; its channels must stay.
  Traced input(const Shape& shape) {
    Channels channels;
    for (Index i = 0; i < shape.channels(); ++i) {
      channels.push_back(graph_.make());
      graph_.freeze(channels.back(), "the network's input");
    }
    return {shape, std::move(channels)};
  }

  template <class O, class... Operands>
  Traced apply(const O& op, const Operands&... operands) {
    TracedOp record{O::name, {}, {}, {}, {}};
    Shapes shapes;
    std::vector<ChannelFlow::Operand> flow_operands;
    (add_operand(record, shapes, flow_operands, operands), ...);
    record.in = shapes.size() > 0 ? shapes[0] : Shape{};
    record.out = op.shape(shapes);
    record.cost = op.cost(shapes, record.out);
    ChannelFlow flow(graph_, std::move(flow_operands));
    op.channels(flow);
    Traced result(record.out, flow.take_out());
    ops_.push_back(std::move(record));
    return result;
  }

  /// Declares a result of the network: its channels must stay.
  void output(const Traced& result) {
    for (int channel : result.channels()) graph_.freeze(channel, "the network's output");
  }

  const std::vector<TracedOp>& ops() const { return ops_; }
  const ChannelGraph& graph() const { return graph_; }

 private:
  static void add_operand(TracedOp&, Shapes& shapes, std::vector<ChannelFlow::Operand>& flow, const Traced& t) {
    shapes.push(t.shape());
    flow.push_back({t.shape(), &t.channels(), nullptr});
  }
  static void add_operand(TracedOp& record, Shapes& shapes, std::vector<ChannelFlow::Operand>& flow, const Parameter<B>& p) {
    shapes.push(p.value.shape());
    flow.push_back({p.value.shape(), nullptr, &p});
    record.parameters.push_back(&p);
  }
  template <class P>
  static void add_operand(TracedOp& record, Shapes& shapes, std::vector<ChannelFlow::Operand>& flow, const std::optional<P>& p) {
    if (p) add_operand(record, shapes, flow, *p);
  }
  template <class V>
  static void add_operand(TracedOp& record, Shapes& shapes, std::vector<ChannelFlow::Operand>& flow, const std::vector<V>& all) {
    for (const auto& v : all) add_operand(record, shapes, flow, v);
  }

  ChannelGraph graph_;
  std::vector<TracedOp> ops_;
};

}  // namespace espalier
