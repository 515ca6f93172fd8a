// SPDX-License-Identifier: Apache-2.0
// Before and after: parameters, multiply-adds and bytes of two networks layer by layer, with latencies
// measured, and the layers that did not get faster named.
#pragma once

#include <chrono>
#include <string>
#include <unordered_map>
#include <vector>

#include <espalier/nn/cost.hpp>
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
template <Backend B>
class TimedEval {
 public:
  using Device = B;
  using Value = Tensor<B>;
  TimedEval(B& b, PreparedWeights<B>& prepared, std::vector<double>& seconds) : eval_(b, prepared), seconds_(seconds) {}
  bool training() const { return false; }
  template <class O, class... Operands>
  Tensor<B> apply(const O& op, const Operands&... operands) {
    const auto start = std::chrono::steady_clock::now();
    auto y = eval_.apply(op, operands...);
    seconds_.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    return y;
  }

 private:
  Eval<B> eval_;
  std::vector<double>& seconds_;
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
template <Backend B, Module M>
std::vector<LayerLatency> layer_latencies(B& b, const M& net, const Shape& input, const LatencyOptions& options = {}) {
  const NetworkCost costs = cost<B>(net, input);
  std::vector<std::vector<double>> samples(costs.layers.size());
  PreparedWeights<B> prepared;
  std::vector<double> seconds;
  const auto x = detail::noise(b, input);
  for (int run = -options.warm_up; run < options.runs; ++run) {
    seconds.clear();
    detail::TimedEval<B> timed(b, prepared, seconds);
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

/// Compares networks of one architecture layer by layer.
template <Backend B, Module M>
std::vector<NotFaster> layers_not_faster(B& b, const M& dense, const M& slim, const Shape& input, const LatencyOptions& options = {}) {
  const NetworkCost before = cost<B>(dense, input), after = cost<B>(slim, input);
  const auto old = layer_latencies(b, dense, input, options), now = layer_latencies(b, slim, input, options);
  std::vector<NotFaster> flagged;
  for (std::size_t i = 0; i < before.layers.size(); ++i) {
    if (after.layers[i].multiply_adds >= before.layers[i].multiply_adds) continue;
    if (now[i].stats.median < old[i].stats.median) continue;
    flagged.push_back({before.layers[i].name, old[i].stats.median, now[i].stats.median});
  }
  return flagged;
}

/// Layer by layer: widths, parameters, multiply-adds. `slim` may be the same as `dense` for one network.
inline Table cost_table(const NetworkCost& dense, const NetworkCost& slim) {
  Table table;
  table.columns = {{"layer", Align::left}, {"output", Align::left}, {"parameters", Align::right}, {"after", Align::right}, {"MACs", Align::right}, {"after", Align::right}};
  table.columns[3].key = "parameters_after";
  table.columns[5].key = "macs_after";
  for (std::size_t i = 0; i < dense.layers.size(); ++i) {
    const auto& before = dense.layers[i];
    const auto& after = slim.layers[i];
    if (before.parameters == 0 && before.multiply_adds == 0) continue;
    table.rows.push_back({str(before.name, before.op == "batch_norm" ? " (norm)" : ""), to_string(after.out), Cell::count(before.parameters),
                          Cell::count(after.parameters), Cell::count(before.multiply_adds), Cell::count(after.multiply_adds)});
  }
  table.rows.push_back({"total", "", Cell::count(dense.parameters), Cell::count(slim.parameters), Cell::count(dense.multiply_adds),
                        Cell::count(slim.multiply_adds)});
  table.notes = {"MACs: 1 per multiply-add of convolutions and linear layers, one input. FLOPs = 2 x MACs: " + format_count(2 * dense.multiply_adds) +
                 " before, " + format_count(2 * slim.multiply_adds) + " after."};
  return table;
}

}  // namespace espalier
