// SPDX-License-Identifier: Apache-2.0
// The context in which a compiled model runs: as Eval, but a linear layer is computed by the kernel chosen
// for it, and sparse layers hand each other activations in the layout that sparse products like.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <espalier/autograd/eval.hpp>
#include <espalier/backend/prepared.hpp>
#include <espalier/nn/compiled_value.hpp>
#include <espalier/nn/linear_choice.hpp>
#include <espalier/op/add.hpp>
#include <espalier/op/gelu.hpp>
#include <espalier/op/linear.hpp>

namespace espalier {

namespace detail {

// The weights of a linear layer as its kernel wants them; nothing where the backend has no such kernel.
struct NoWeights {};
template <class B> struct KernelWeights { using Packed = NoWeights; using Sparse = NoWeights; };
template <class B> requires PackingBackend<B> && (!SparseBackend<B>)
struct KernelWeights<B> { using Packed = typename B::PackedWeights; using Sparse = NoWeights; };
template <class B> requires SparseBackend<B> && (!PackingBackend<B>)
struct KernelWeights<B> { using Packed = NoWeights; using Sparse = typename B::SparseWeights; };
template <class B> requires PackingBackend<B> && SparseBackend<B>
struct KernelWeights<B> { using Packed = typename B::PackedWeights; using Sparse = typename B::SparseWeights; };

template <class B>
struct PreparedLinear {
  LinearKernel kernel = LinearKernel::dense;
  std::optional<typename KernelWeights<B>::Packed> packed;
  std::optional<typename KernelWeights<B>::Sparse> sparse;
};

// By the address of the weight.
template <class B>
using PreparedLinears = std::unordered_map<const void*, PreparedLinear<B>>;

// Ops that treat every element alike, wherever it lies.
template <class O>
inline constexpr bool element_wise = std::same_as<O, op::Relu> || std::same_as<O, op::Gelu> || std::same_as<O, op::GeluTanh> ||
                                     std::same_as<O, op::Tanh> || std::same_as<O, op::Add>;

}  // namespace detail

/// Where the run that measures puts what it finds.
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
  using Value = CompiledValue<B>;
  static constexpr bool computes = true;

  /// With `measurement`, linear layers that `linears` does not hold are measured and put there.
  CompiledEval(B& b, PreparedWeights<B>& convolutions, detail::PreparedLinears<B>& linears, LinearMeasurement* measurement = nullptr)
      : b_(b), convolutions_(convolutions), linears_(linears), measurement_(measurement) {}

  B& device() { return b_; }
  bool training() const { return false; }

  template <class O, class... Operands>
  Value apply(const O& op, const Operands&... operands) {
    static_assert(DifferentiableOp<O, B>, "apply() needs an op: a struct with name, Saved, shape, forward, backward, channels and cost (see autograd/op.hpp)");
    return run(op, operands...);
  }

 private:
  template <class O, class... Operands>
  Value run(const O& op, const Operands&... operands) {
    if constexpr (SparseBackend<B> && detail::element_wise<O> && (std::same_as<Operands, Value> && ...)) {
      if ((operands.has_sparse() && ...)) {
        Shapes shapes;
        (shapes.push(operands.shape()), ...);
        Inputs<B> in;
        (in.push(operands.sparse(b_)), ...);
        return Value::sparse(op.shape(shapes), forward(op, in));
      }
    }
    Inputs<B> in;
    (add_operand(in, operands), ...);
    if constexpr (requires { op.prepare(b_, in); }) {
      auto found = convolutions_.find(&in[1]);
      if (found == convolutions_.end()) found = convolutions_.emplace(&in[1], op.prepare(b_, in)).first;
      in.prepared = &found->second;
    }
    return forward(op, in);
  }

  // A linear layer: (x, weight) or (x, weight, bias).
  template <class... Bias>
  Value run(const op::Linear& op, const Value& x, const Parameter<B>& weight, const Bias&... bias) {
    Inputs<B> rest;
    (add_operand(rest, bias), ...);
    Epilogue<B> epilogue{.activation = op.activation};
    if (rest.size() > 0) epilogue.bias = rest[0].data();
    Shapes shapes;
    shapes.push(x.shape());
    shapes.push(weight.value.shape());
    const Call call{op.shape(shapes), x, weight.value, epilogue};
    auto found = linears_.find(&weight);
    if (found == linears_.end() && measurement_ != nullptr) found = linears_.emplace(&weight, measured(call, measurement_->layers.at(&weight))).first;
    if (found != linears_.end()) {
      const detail::PreparedLinear<B>& layer = found->second;
      if constexpr (SparseBackend<B>) {
        if (layer.kernel == LinearKernel::sparse) return Value::sparse(call.y, sparse(call, *layer.sparse, x.sparse(b_)));
      }
      if constexpr (PackingBackend<B>) {
        if (layer.kernel == LinearKernel::packed) return packed(call, *layer.packed);
      }
    }
    return dense(call);
  }

  struct Call {
    Shape y;
    const Value& x;
    const Tensor<B>& weight;  // [inputs, outputs]
    Epilogue<B> epilogue;
    Index rows() const { return x.shape().rows(); }
    Index inputs() const { return weight.shape()[0]; }
    Index outputs() const { return weight.shape()[1]; }
  };

  Tensor<B> dense(const Call& call) {
    auto y = Tensor<B>::empty(b_, call.y);
    const Index k = call.inputs(), n = call.outputs();
    b_.gemm({.m = call.rows(), .n = n, .k = k, .lda = k, .ldb = n, .ldc = n}, call.x.tensor(b_).data(), call.weight.data(), y.data(), Store::assign, call.epilogue);
    return y;
  }
  template <class Weights>
  Tensor<B> packed(const Call& call, const Weights& weights) {
    auto y = Tensor<B>::empty(b_, call.y);
    b_.packed_product(call.rows(), weights, call.x.tensor(b_).data(), y.data(), call.epilogue);
    return y;
  }
  // From and to the sparse layout.
  template <class Weights>
  Tensor<B> sparse(const Call& call, const Weights& weights, const Tensor<B>& x) {
    auto y = Tensor<B>::empty(b_, {b_.sparse_elements(call.rows(), call.outputs())});
    b_.sparse_product(weights, call.rows(), x.data(), y.data(), call.epilogue);
    return y;
  }

  // Prepares what the device offers, times it on this input, and keeps what was chosen.
  detail::PreparedLinear<B> measured(const Call& call, const std::string& name) {
    const HostTensor weights = to_host(b_, call.weight, Layout::linear);
    LinearChoice choice{.layer = name, .rows = call.rows(), .inputs = call.inputs(), .outputs = call.outputs()};
    const auto zeros = std::count(weights.values.begin(), weights.values.end(), 0.0f);
    choice.sparsity = static_cast<double>(zeros) / static_cast<double>(std::max<std::size_t>(1, weights.values.size()));
    detail::PreparedLinear<B> layer;
    if constexpr (PackingBackend<B>) layer.packed = b_.pack_weights(call.inputs(), call.outputs(), call.weight.data());
    if constexpr (SparseBackend<B>) {
      if (choice.sparsity >= measurement_->options.least_sparsity) layer.sparse = b_.sparse_weights(call.outputs(), call.inputs(), weights.values);
    }
    (void)call.x.tensor(b_);  // a conversion that dense would need is not its fault
    const bool converts = !call.x.has_sparse();
    std::optional<double> dense_seconds;
    for (int turn = -1; turn < measurement_->options.runs; ++turn) {  // the first warms up
      keep_least(dense_seconds, turn, time([&] { return dense(call); }));
      if constexpr (PackingBackend<B>) keep_least(choice.packed, turn, time([&] { return packed(call, *layer.packed); }));
      if constexpr (SparseBackend<B>) {
        if (layer.sparse)
          keep_least(choice.sparse, turn, time([&] {
            return Value::from_sparse(b_, call.y, converts ? sparse(call, *layer.sparse, Value::to_sparse(b_, call.x.tensor(b_)))
                                                           : sparse(call, *layer.sparse, call.x.sparse(b_)));
          }));
      }
    }
    choice.dense = *dense_seconds;
    layer.kernel = choice.kernel = choice.fastest(measurement_->options.margin);
    if (layer.kernel != LinearKernel::packed) layer.packed.reset();
    if (layer.kernel != LinearKernel::sparse) layer.sparse.reset();
    measurement_->choices.push_back(std::move(choice));
    return layer;
  }

  template <class F>
  double time(F f) {
    const double start = measurement_->clock();
    const Tensor<B> y = f();
    std::array<typename B::Scalar, 1> first{};
    if (y.count() > 0) b_.download(y.data(), std::span<typename B::Scalar>(first));  // waits for the result
    return measurement_->clock() - start;
  }
  static void keep_least(std::optional<double>& least, int turn, double seconds) {
    least = turn <= 0 ? seconds : std::min(*least, seconds);
  }

  template <class O>
  Tensor<B> forward(const O& op, const Inputs<B>& in) {
    typename O::template Saved<B> unused{};
    return op.forward(b_, in, unused);
  }

  void add_operand(Inputs<B>& in, const Value& v) { in.push(v.tensor(b_)); }
  void add_operand(Inputs<B>& in, const Tensor<B>& t) { in.push(t); }
  void add_operand(Inputs<B>& in, const Parameter<B>& p) { in.push(p.value); }
  template <class P> void add_operand(Inputs<B>& in, const std::optional<P>& p) { if (p) add_operand(in, *p); }
  template <class V> void add_operand(Inputs<B>& in, const std::vector<V>& all) { for (const auto& v : all) add_operand(in, v); }

  B& b_;
  PreparedWeights<B>& convolutions_;
  detail::PreparedLinears<B>& linears_;
  LinearMeasurement* measurement_;
};

}  // namespace espalier
