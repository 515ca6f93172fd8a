// SPDX-License-Identifier: Apache-2.0
// Before and after: parameters, multiply-adds and bytes of two networks layer by layer, with latencies
// measured, and the layers that did not get faster named.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include <espalier/nn/cost.hpp>
#include <espalier/report/clock.hpp>
#include <espalier/report/latency.hpp>
#include <espalier/report/table.hpp>
#include <espalier/tensor/rng.hpp>

namespace espalier {

/// One layer's measured time in inference.
struct LayerLatency {
  std::string name;
  LatencyStats stats;
};

namespace detail {

// Eval that notes how long each op took.
template <Backend B, class Clock>
class TimedEval {
 public:
  using Device = B;
  using Value = Tensor<B>;
  TimedEval(B& b, PreparedWeights<B>& prepared, std::vector<double>& seconds, Clock& clock) : eval_(b, prepared), seconds_(seconds), clock_(clock) {}
  bool training() const { return false; }
  template <class O, class... Operands>
  Tensor<B> apply(const O& op, const Operands&... operands) {
    const double start = clock_();
    auto y = eval_.apply(op, operands...);
    seconds_.push_back(clock_() - start);
    return y;
  }

 private:
  Eval<B> eval_;
  std::vector<double>& seconds_;
  Clock& clock_;
};

template <Backend B>
Tensor<B> noise(B& b, const Shape& shape) {
  Rng rng(1);
  std::vector<typename B::Scalar> values(static_cast<std::size_t>(shape.count()));
  for (auto& v : values) v = static_cast<typename B::Scalar>(rng.normal());
  return Tensor<B>::from(b, shape, values);
}

}  // namespace detail

/// Inference time of the whole network on inputs of this shape (axis 0 is the batch), weights prepared.
template <Backend B, Module M>
LatencyStats latency(B& b, const M& net, const Shape& input, const LatencyOptions& options = {}) {
  Frozen<B, M> frozen(b, net);
  const auto x = detail::noise(b, input);
  std::vector<typename B::Scalar> first(1);
  return measure([&] {
    const auto y = frozen(x);
    b.download(y.data(), std::span(first));  // waits for the result
  }, options);
}

/// Inference time layer by layer, in the order of the dry run; ops without parameters go by their op's name.
/// `clock` is a call that returns seconds.
template <Backend B, Module M, class Clock = SteadySeconds>
std::vector<LayerLatency> layer_latencies(B& b, const M& net, const Shape& input, const LatencyOptions& options = {}, Clock&& clock = Clock{}) {
  const NetworkCost costs = cost<B>(net, input);
  std::vector<std::vector<double>> samples(costs.layers.size());
  PreparedWeights<B> prepared;
  std::vector<double> seconds;
  const auto x = detail::noise(b, input);
  for (int run = -options.warm_up; run < options.runs; ++run) {
    seconds.clear();
    detail::TimedEval<B, std::remove_reference_t<Clock>> timed(b, prepared, seconds, clock);
    (void)M::forward(net, timed, x);
    for (std::size_t i = 0; run >= 0 && i < samples.size(); ++i) samples[i].push_back(seconds[i]);
  }
  std::vector<LayerLatency> layers;
  for (std::size_t i = 0; i < samples.size(); ++i) layers.push_back({costs.layers[i].name, summarize(samples[i])});
  return layers;
}

/// A layer that lost multiply-adds and did not get faster: its median is not below the old one.
struct NotFaster {
  std::string layer;
  double before = 0, after = 0;  // median seconds
};

/// Compares networks of one architecture layer by layer: first `dense` is timed, then `slim`.
template <Backend B, Module M, class Clock = SteadySeconds>
std::vector<NotFaster> layers_not_faster(B& b, const M& dense, const M& slim, const Shape& input, const LatencyOptions& options = {}, Clock&& clock = Clock{}) {
  const NetworkCost before = cost<B>(dense, input), after = cost<B>(slim, input);
  const auto old = layer_latencies(b, dense, input, options, clock), now = layer_latencies(b, slim, input, options, clock);
  std::vector<NotFaster> flagged;
  for (std::size_t i = 0; i < before.layers.size(); ++i) {
    if (after.layers[i].multiply_adds >= before.layers[i].multiply_adds) continue;
    if (now[i].stats.median < old[i].stats.median) continue;
    flagged.push_back({before.layers[i].name, old[i].stats.median, now[i].stats.median});
  }
  return flagged;
}

namespace detail {

// "32x32x64": the shape of one image's map.
inline std::string extents(const Shape& batch) {
  std::string text;
  for (int axis = 1; axis < batch.rank(); ++axis) text += str(axis > 1 ? "x" : "", batch[axis]);
  return text;
}

}  // namespace detail

/// Layer by layer: widths, parameters, multiply-adds, bytes. `slim` may be the same as `dense` for one network.
inline Table cost_table(const NetworkCost& dense, const NetworkCost& slim) {
  Table table;
  table.columns = {{"layer", Align::left}, {"output", Align::left}, {"parameters", Align::right}, {"after", Align::right}, {"MACs", Align::right}, {"after", Align::right},
                   {"bytes", Align::right}, {"after", Align::right}};
  table.columns[3].key = "parameters_after";
  table.columns[5].key = "macs_after";
  table.columns[7].key = "bytes_after";
  const auto bytes = [](Index n) { return Cell::bytes(static_cast<std::uint64_t>(n)); };
  for (std::size_t i = 0; i < dense.layers.size(); ++i) {
    const auto& before = dense.layers[i];
    const auto& after = slim.layers[i];
    if (before.parameters == 0 && before.multiply_adds == 0) continue;
    table.rows.push_back({str(before.name, before.op == "batch_norm" ? " (norm)" : ""), detail::extents(after.out), Cell::count(before.parameters),
                          Cell::count(after.parameters), Cell::count(before.multiply_adds), Cell::count(after.multiply_adds), bytes(before.bytes), bytes(after.bytes)});
  }
  table.rows.push_back({"total", "", Cell::count(dense.parameters), Cell::count(slim.parameters), Cell::count(dense.multiply_adds),
                        Cell::count(slim.multiply_adds), bytes(dense.bytes), bytes(slim.bytes)});
  table.notes = {"Bytes: of parameters and running statistics. MACs: 1 per multiply-add of convolutions and linear layers, one input. FLOPs = 2 x MACs: " + format_count(2 * dense.multiply_adds) +
                 " before, " + format_count(2 * slim.multiply_adds) + " after."};
  return table;
}

}  // namespace espalier
