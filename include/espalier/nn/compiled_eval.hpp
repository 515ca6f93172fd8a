// SPDX-License-Identifier: Apache-2.0
// The context in which a compiled model runs: Eval, but a linear layer is computed by the kernel that was
// chosen for it. See compiled.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <espalier/autograd/eval.hpp>
#include <espalier/backend/prepared.hpp>
#include <espalier/nn/linear_choice.hpp>
#include <espalier/op/linear.hpp>

namespace espalier {

namespace detail {

struct NoWeights {};
template <class B> struct PackedWeightsOf { using Type = NoWeights; };
template <PackingBackend B> struct PackedWeightsOf<B> { using Type = typename B::PackedWeights; };
template <class B> struct SparseWeightsOf { using Type = NoWeights; };
template <SparseBackend B> struct SparseWeightsOf<B> { using Type = typename B::SparseWeights; };

// The weights of a linear layer as its kernel wants them.
template <class B>
struct PreparedLinear {
  LinearKernel kernel = LinearKernel::dense;
  std::optional<typename PackedWeightsOf<B>::Type> packed{};
  std::optional<typename SparseWeightsOf<B>::Type> sparse{};
};

// By the address of the weight.
template <class B>
using PreparedLinears = std::unordered_map<const void*, PreparedLinear<B>>;

}  // namespace detail

/// What the run that measures knows, and where it puts what it finds.
struct LinearMeasurement {
  const CompileOptions& options;
  const std::unordered_map<const void*, std::string>& layers;  // by the address of the weight
  SecondsClock clock;
  std::vector<LinearChoice>& choices;
};

/// Runs a compiled model without recording.
template <Backend B>
class CompiledEval {
 public:
  using Device = B;
  using Value = Tensor<B>;
  static constexpr bool computes = true;

  /// With `measurement`, linear layers that `linears` does not hold are measured and put there.
  CompiledEval(B& b, PreparedWeights<B>& convolutions, detail::PreparedLinears<B>& linears, LinearMeasurement* measurement = nullptr)
      : eval_(b, convolutions), linears_(linears), measurement_(measurement) {}

  B& device() { return eval_.device(); }
  bool training() const { return false; }
  Tensor<B> input(Tensor<B> value) { return value; }

  template <class O, class... Operands>
  Tensor<B> apply(const O& op, const Operands&... operands) {
    return eval_.apply(op, operands...);
  }

  /// A linear layer; `bias` is a parameter, an optional one, or nothing.
  template <class... Bias>
  Tensor<B> apply(const op::Linear& op, const Tensor<B>& x, const Parameter<B>& weight, const Bias&... bias) {
    auto found = linears_.find(&weight);
    if (found == linears_.end() && measurement_ != nullptr) found = linears_.emplace(&weight, measured(op, x, weight, bias...)).first;
    if (found == linears_.end()) return eval_.apply(op, x, weight, bias...);
    return run(found->second.kernel, found->second, op, x, weight, bias...);
  }

 private:
  template <class... Bias>
  Tensor<B> run(LinearKernel kernel, const detail::PreparedLinear<B>& layer, const op::Linear& op, const Tensor<B>& x, const Parameter<B>& weight,
                const Bias&... bias) {
    if (kernel == LinearKernel::dense) return eval_.apply(op, x, weight, bias...);
    Inputs<B> in;
    in.push(x);
    in.push(weight.value);
    Epilogue<B> epilogue{.activation = op.activation};
    (add_bias(epilogue, bias), ...);
    auto y = Tensor<B>::empty(device(), op.shape(in.shapes()));
    const Index rows = x.shape().rows();
    if constexpr (PackingBackend<B>) {
      if (kernel == LinearKernel::packed) device().packed_product(rows, *layer.packed, x.data(), y.data(), epilogue);
    }
    if constexpr (SparseBackend<B>) {
      if (kernel == LinearKernel::sparse) device().sparse_product(rows, *layer.sparse, x.data(), y.data(), epilogue);
    }
    return y;
  }

  // Prepares the weights for what the device offers, times it on this input, and keeps what was chosen.
  template <class... Bias>
  detail::PreparedLinear<B> measured(const op::Linear& op, const Tensor<B>& x, const Parameter<B>& weight, const Bias&... bias) {
    const HostTensor host = to_host(device(), weight.value, Layout::linear);
    const Index outputs = host.shape[0], inputs = host.shape[1];
    const auto name = measurement_->layers.find(&weight);
    LinearChoice choice{.layer = name != measurement_->layers.end() ? name->second : std::string(op.name), .rows = x.shape().rows(), .inputs = inputs, .outputs = outputs};
    const auto zeros = std::count(host.values.begin(), host.values.end(), 0.0f);
    choice.sparsity = static_cast<double>(zeros) / static_cast<double>(std::max<std::size_t>(1, host.values.size()));
    detail::PreparedLinear<B> layer;
    if constexpr (PackingBackend<B>) layer.packed = device().pack_weights(inputs, outputs, weight.value.data());
    if constexpr (SparseBackend<B>) {
      if (choice.sparsity >= measurement_->options.least_sparsity) layer.sparse = device().sparse_weights(outputs, inputs, host.values);
      else choice.sparse_needs = measurement_->options.least_sparsity;
    }
    const auto time = [&](LinearKernel kernel) {
      const double start = measurement_->clock();
      const Tensor<B> y = run(kernel, layer, op, x, weight, bias...);
      std::array<typename B::Scalar, 1> first{};
      if (y.count() > 0) device().download(y.data(), std::span<typename B::Scalar>(first));  // waits for the result
      return measurement_->clock() - start;
    };
    for (int turn = -1; turn < measurement_->options.runs; ++turn) {  // the first warms up
      const auto keep = [turn](double least, double seconds) { return turn <= 0 ? seconds : std::min(least, seconds); };
      choice.dense = keep(choice.dense, time(LinearKernel::dense));
      if (layer.packed) choice.packed = keep(choice.packed.value_or(0), time(LinearKernel::packed));
      if (layer.sparse) choice.sparse = keep(choice.sparse.value_or(0), time(LinearKernel::sparse));
    }
    layer.kernel = choice.kernel = choice.fastest(measurement_->options.margin);
    if (layer.kernel != LinearKernel::packed) layer.packed.reset();
    if (layer.kernel != LinearKernel::sparse) layer.sparse.reset();
    measurement_->choices.push_back(std::move(choice));
    return layer;
  }

  static void add_bias(Epilogue<B>& epilogue, const Tensor<B>& t) { epilogue.bias = t.data(); }
  static void add_bias(Epilogue<B>& epilogue, const Parameter<B>& p) { epilogue.bias = p.value.data(); }
  template <class P> static void add_bias(Epilogue<B>& epilogue, const std::optional<P>& p) { if (p) add_bias(epilogue, *p); }

  Eval<B> eval_;
  detail::PreparedLinears<B>& linears_;
  LinearMeasurement* measurement_;
};

}  // namespace espalier
