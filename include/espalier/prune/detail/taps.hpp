// SPDX-License-Identifier: Apache-2.0
// Runs a masked network on noise and notes what each channel depends on. What can change follows from the
// mask's bits and from what the ops say about their channels; the noise only shows the values of what
// cannot, and holds the ops to their word.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <espalier/op/batch_norm.hpp>
#include <espalier/op/conv2d.hpp>
#include <espalier/op/linear.hpp>
#include <espalier/prune/detail/dependence.hpp>

namespace espalier::detail {

template <Backend B>
struct Tapped {
  Tensor<B> value;
  Channels channels;
  std::vector<bool> varies;
  int made_by = -1;  // a reading
  const Shape& shape() const { return value.shape(); }
};

// The context: computes as Eval does, and follows channels as Trace does.
template <Backend B>
class Taps {
 public:
  using Device = B;
  using Value = Tapped<B>;
  static constexpr bool computes = true;

  template <Module M>
  Taps(B& b, const M& net, const Mask& mask) : b_(b) {
    for_each_member(net, [&](const std::string& path, const auto& member) { found_.paths[&member] = path; });
    for_each_parameter(net, [&](const std::string& path, const auto& p) { found_.links[&p] = Links(path, p.outside_shape(), mask.find(path)); });
  }

  B& device() { return b_; }
  bool training() const { return false; }

  Value input(Tensor<B> x) {
    Value value{std::move(x), {}, {}, -1};
    for (Index i = 0; i < value.shape().channels(); ++i) value.channels.push_back(found_.graph.make());
    value.varies.assign(value.channels.size(), true);
    return value;
  }
  void output(const Value& result) { use(result); }
  Dependence take() { return std::move(found_); }

  template <class O, class... Operands>
  Value apply(const O& op, const Operands&... operands) {
    Given given;
    (add(given, operands), ...);
    typename O::template Saved<B> unused{};
    Value y{op.forward(b_, given.in, unused), {}, {}, -1};
    for (const Value* x : given.values)
      if (x != nullptr) use(*x);

    std::vector<ChannelFlow::Operand> global;
    for (int i = 0; i < given.in.size(); ++i) {
      const Value* x = given.values[static_cast<std::size_t>(i)];
      global.push_back({given.in[i].shape(), x == nullptr ? nullptr : &x->channels, given.parameters[static_cast<std::size_t>(i)]});
    }
    ChannelFlow flow(found_.graph, std::move(global));
    op.channels(flow);
    y.channels = flow.take_out();

    if constexpr (std::is_same_v<O, op::Linear>) {
      const Shape& x = given.in[0].shape();
      read_linearly(given, y, {.n = x[0], .h = x.rows() / x[0], .w = 1, .in = x.channels(), .out = y.shape().channels()}, op.activation);
      return y;
    } else if constexpr (std::is_same_v<O, op::Conv2d>) {
      if (!op.depthwise) {
        read_linearly(given, y, op.sizes(given.in[0].shape(), given.in[1].shape()), op.activation);
        return y;
      }
    } else if constexpr (std::is_same_v<O, op::BatchNorm<B>>) {
      ++found_.norm_uses[op.running_mean];
      if (const int maker = given.values[0]->made_by; maker >= 0) found_.readings[static_cast<std::size_t>(maker)].normed_by = op.running_mean;
    }
    follow(op, given, y);
    return y;
  }

 private:
  struct Given {
    Inputs<B> in;
    std::vector<const Value*> values;      // null where a parameter stands
    std::vector<const void*> parameters;   // null where a value stands
  };
  static void add(Given& given, const Value& x) {
    given.in.push(x.value);
    given.values.push_back(&x);
    given.parameters.push_back(nullptr);
  }
  static void add(Given& given, const Parameter<B>& p) {
    given.in.push(p.value);
    given.values.push_back(nullptr);
    given.parameters.push_back(&p);
  }
  template <class P> static void add(Given& given, const std::optional<P>& p) { if (p) add(given, *p); }
  template <class V> static void add(Given& given, const std::vector<V>& all) { for (const auto& v : all) add(given, v); }

  void use(const Value& x) {
    if (x.made_by >= 0) ++found_.readings[static_cast<std::size_t>(x.made_by)].uses;
  }

  // A layer whose rows are known: output k can change if a live weight of its row reads what can.
  void read_linearly(const Given& given, Value& y, const ConvShape& sizes, Activation activation) {
    const Value& x = *given.values[0];
    ChannelReading r{.weight = given.parameters[1], .linear = true, .sizes = sizes, .activated = activation != Activation::none, .in = x.channels, .out = y.channels, .varies = x.varies};
    if (given.parameters.size() > 2) r.bias = given.parameters[2];
    tap(r, x);
    const Links& links = found_.links.at(r.weight);
    for (Index row = 0; row < links.rows(); ++row) {
      Index slice = 0;
      while (slice < links.slices() && !(links(row, slice) && r.varies[static_cast<std::size_t>(r.position(row, slice))])) ++slice;
      y.varies.push_back(slice < links.slices());
    }
    r.out_varies = y.varies;
    y.made_by = static_cast<int>(found_.readings.size());
    found_.readings.push_back(std::move(r));
  }

  // The values of the channels that cannot change. One that does change belies an op's statement, and varies.
  void tap(ChannelReading& r, const Value& x) {
    if (std::find(r.varies.begin(), r.varies.end(), false) == r.varies.end()) return;
    const auto host = x.value.to_host(b_);
    for (const auto v : host) r.scale = std::max(r.scale, std::abs(static_cast<double>(v)));
    const auto channels = r.in.size(), samples = static_cast<std::size_t>(x.shape()[0]), positions = host.size() / channels / samples;
    for (std::size_t c = 0; c < channels; ++c) {
      if (r.varies[c]) continue;
      std::vector<double> plane(positions);
      bool steady = std::isfinite(r.scale);
      for (std::size_t p = 0; p < positions; ++p) {
        plane[p] = static_cast<double>(host[p * channels + c]);
        for (std::size_t n = 1; n < samples; ++n)
          steady = steady && std::abs(static_cast<double>(host[(n * positions + p) * channels + c]) - plane[p]) <= constant_tolerance * r.scale;
      }
      if (steady) r.constants.emplace(static_cast<Index>(c), std::move(plane));
      else r.varies[c] = true;
    }
  }

  // Any other op, by its own statement, on a graph of its own: there, what the channels share elsewhere
  // does not blur what this op does with them.
  template <class O>
  void follow(const O& op, const Given& given, Value& y) {
    ChannelGraph local;
    std::vector<Channels> ids(given.values.size());
    std::vector<ChannelFlow::Operand> operands;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (given.values[i] != nullptr)
        for (std::size_t c = 0; c < given.values[i]->channels.size(); ++c) ids[i].push_back(local.make());
      operands.push_back({given.in[static_cast<int>(i)].shape(), given.values[i] == nullptr ? nullptr : &ids[i], given.parameters[i]});
    }
    ChannelFlow flow(local, std::move(operands));
    op.channels(flow);
    const Channels out = flow.take_out();
    note_readers(O::name, local, given, ids);

    struct Origin {
      bool varies = false, several = false;
      int operand = -1;
    };
    std::map<int, Origin> origins;  // by representative
    bool any = false;
    for (std::size_t i = 0; i < ids.size(); ++i)
      for (std::size_t c = 0; c < ids[i].size(); ++c) {
        Origin& origin = origins[local.find(ids[i][c])];
        origin.several = origin.several || (origin.operand >= 0 && origin.operand != static_cast<int>(i));
        origin.operand = static_cast<int>(i);
        origin.varies = origin.varies || given.values[i]->varies[c];
        any = any || given.values[i]->varies[c];
      }
    std::vector<bool> written(out.size()), row_alive(out.size()), cut(out.size()), zero(static_cast<std::size_t>(local.channel_count()));
    for (const auto& m : local.members()) {
      if (m.role == ChannelRole::statistic) zero[static_cast<std::size_t>(m.channel)] = true;  // ChannelFlow::zeros
      const auto at = static_cast<std::size_t>(m.index);
      if (at >= out.size() || out[at] != m.channel) continue;
      const bool scales = m.role == ChannelRole::filter || m.role == ChannelRole::scale;
      if (m.role != ChannelRole::producer && !scales) continue;
      const bool dead = !found_.links.at(m.owner).row(m.index);
      if (scales) cut[at] = cut[at] || dead;
      else written[at] = true, row_alive[at] = !dead;
    }
    for (std::size_t o = 0; o < out.size(); ++o) {
      const auto origin = origins.find(local.find(out[o]));
      bool varies = !local.frozen().empty();  // it mixes channels, or reads what is no operand
      if (origin != origins.end()) varies = varies || (origin->second.varies && !(cut[o] && !origin->second.several));
      if (written[o]) varies = varies || (row_alive[o] && any);
      else if (origin == origins.end()) varies = varies || !zero[static_cast<std::size_t>(out[o])];
      y.varies.push_back(varies);
    }
  }

  // Readers in ops of which only the channels are known: no fold can be right for them, but zero can go.
  void note_readers(std::string_view name, const ChannelGraph& local, const Given& given, const std::vector<Channels>& ids) {
    struct Reads {
      const void* weight = nullptr;
      std::map<int, bool> live{};  // by representative
    };
    std::map<std::string, Reads> reads;  // by path, so that the order is the same in every run
    for (const auto& m : local.members()) {
      if (m.role != ChannelRole::reader) continue;
      const Links& links = found_.links.at(m.owner);
      auto& [weight, all] = reads[links.path()];
      weight = m.owner;
      bool& live = all[local.find(m.channel)];
      for (Index row = 0; row < links.rows() && !live; ++row) live = links(row, m.index);
    }
    for (const auto& [path, read] : reads)
      for (std::size_t i = 0; i < ids.size(); ++i) {
        if (given.values[i] == nullptr) continue;
        ChannelReading r{.weight = read.weight, .op = std::string(name), .in = given.values[i]->channels, .varies = given.values[i]->varies};
        for (const int id : ids[i]) {
          const auto found = read.live.find(local.find(id));
          r.read.push_back(found != read.live.end() && found->second);
        }
        tap(r, *given.values[i]);
        found_.readings.push_back(std::move(r));
      }
  }

  B& b_;
  Dependence found_;
};

}  // namespace espalier::detail
