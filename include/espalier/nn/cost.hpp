// SPDX-License-Identifier: Apache-2.0
// What a network costs, exactly and per layer, from a dry run over its ops.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include <espalier/nn/run.hpp>

namespace espalier {

/// One layer with parameters, or one op without.
struct LayerCost {
  std::string name;  // "features.0", or the op's name if it has no parameters
  std::string op;
  Shape in, out;
  Index parameters = 0;
  Index multiply_adds = 0;  // 1 per multiply-add, for the whole batch of the dry run
  Index bytes = 0;          // of its parameters and buffers, 4 a value
  bool operator==(const LayerCost&) const = default;
};

/// A network's cost for one input shape. FLOPs are 2 x multiply_adds; biases, normalisations and
/// activations are not counted (the papers' convention), unless a field says so.
struct NetworkCost {
  std::vector<LayerCost> layers;
  Index parameters = 0;
  Index multiply_adds = 0;
  Index bytes = 0;  // of the parameters and buffers, 4 a value
  OpCost details{};
  bool operator==(const NetworkCost&) const = default;

  /// The count that the reference code of Liu et al. 2019 prints: 2 per multiply-add, 1 per bias add,
  /// 2 per normalised element, 1 per ReLU element, 1 per value that a pooling reads.
  Index flops_of_rethinking_reference() const {
    return 2 * details.multiply_adds + details.bias_adds + 2 * details.norm_elements + details.relu_elements + details.pool_reads;
  }
};

/// "features.0.weight" -> "features.0"
inline std::string layer_of(const std::string& parameter_path) { return parameter_path.substr(0, parameter_path.rfind('.')); }

/// The cost of a network for inputs of this shape (use batch 1 for the papers' figures).
template <Backend B, Module M>
NetworkCost cost(const M& net, const Shape& input) {
  std::unordered_map<const void*, std::pair<std::string, Index>> parameters;
  NetworkCost total;
  for_each_parameter(net, [&](const std::string& path, const auto& p) {
    parameters[&p] = {layer_of(path), p.value.count()};
    total.parameters += p.value.count();
    total.bytes += 4 * p.value.count();
  });
  std::unordered_map<std::string, Index> buffers;  // values by layer
  for_each_buffer(net, [&](const std::string& path, const auto& buffer) {
    buffers[layer_of(path)] += buffer.value.count();
    total.bytes += 4 * buffer.value.count();
  });
  const Trace<B> trace = dry_run<B>(net, input);
  for (const TracedOp& op : trace.ops()) {
    LayerCost layer{.name = std::string(op.name), .op = std::string(op.name), .in = op.in, .out = op.out, .multiply_adds = op.cost.multiply_adds};
    for (const void* p : op.parameters) {
      layer.name = parameters.at(p).first;
      layer.parameters += parameters.at(p).second;
    }
    if (!op.parameters.empty()) layer.bytes = 4 * (layer.parameters + buffers[layer.name]);
    total.layers.push_back(std::move(layer));
    total.details.multiply_adds += op.cost.multiply_adds;
    total.details.bias_adds += op.cost.bias_adds;
    total.details.norm_elements += op.cost.norm_elements;
    total.details.relu_elements += op.cost.relu_elements;
    total.details.pool_reads += op.cost.pool_reads;
  }
  total.multiply_adds = total.details.multiply_adds;
  return total;
}

}  // namespace espalier
