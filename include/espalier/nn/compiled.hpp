// SPDX-License-Identifier: Apache-2.0
// A model compiled for inference on one device: each linear layer is computed by the kernel that was
// measured fastest there, dense, packed, or sparse where enough of its weights are zero.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <espalier/nn/compiled_eval.hpp>
#include <espalier/nn/cost.hpp>
#include <espalier/nn/module.hpp>

namespace espalier {

/// A snapshot of a model with the winners of a measurement. Changing the model it was made from, or pruning it
/// further, changes nothing here: compile again.
///
/// Choices are those of the batch size that was measured. Any other size is computed as rightly, though perhaps not by
/// its fastest kernel: compile once for each size that is served.
template <Backend B, Module M>
class Compiled {
 public:
  /// See compile().
  template <class Sample>
  Compiled(B& b, M model, const Sample& sample, const CompileOptions& options, SecondsClock clock)
      : b_(b), model_(std::make_unique<M>(std::move(model))) {
    options.validate();
    std::unordered_map<const void*, std::string> layers;
    for_each_parameter(*model_, [&](const std::string& path, const auto& p) { layers[&p] = layer_of(path); });
    LinearMeasurement measurement{options, layers, clock, choices_};
    CompiledEval<B> eval(b_, convolutions_, linears_, &measurement);
    (void)M::forward(std::as_const(*model_), eval, sample);
  }

  /// What the model's forward returns.
  template <class Input>
  auto operator()(const Input& x) {
    CompiledEval<B> eval(b_, convolutions_, linears_);
    return M::forward(std::as_const(*model_), eval, x);
  }

  const M& model() const { return *model_; }
  /// What was measured and chosen, in the order of the computation. A layer that is used several times was measured at
  /// its first use. Each prints as its reason.
  const std::vector<LinearChoice>& choices() const { return choices_; }

 private:
  B& b_;
  std::unique_ptr<M> model_;  // prepared weights are found by the addresses of its parameters
  PreparedWeights<B> convolutions_;
  detail::PreparedLinears<B> linears_;
  std::vector<LinearChoice> choices_;
};

/// Runs the model on `sample` and measures, once, each linear layer in every way that the device offers; the model
/// that is returned computes it in the fastest. Where no other wins by the margin, dense stays; a device without such
/// kernels keeps it always. Convolutions are dense, and packed as in Frozen.
/// `sample` is what the model's forward takes. Throws PolicyError for options out of range, ShapeError if it does not fit.
template <Backend B, Module M, class Sample>
Compiled<B, M> compile(B& b, M model, const Sample& sample, const CompileOptions& options = {}, SecondsClock clock = steady_seconds) {
  return Compiled<B, M>(b, std::move(model), sample, options, clock);
}

/// The same for inputs of this shape; axis 0 is the batch.
template <Backend B, Module M>
Compiled<B, M> compile(B& b, M model, const Shape& input, const CompileOptions& options = {}, SecondsClock clock = steady_seconds) {
  return Compiled<B, M>(b, std::move(model), Tensor<B>::full(b, input, typename B::Scalar{0.5}), options, clock);
}

}  // namespace espalier
