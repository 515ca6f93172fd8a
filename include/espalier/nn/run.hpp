// SPDX-License-Identifier: Apache-2.0
// The short ways to run a model: on a tape, on a device without recording, or as a dry run.
#pragma once

#include <espalier/autograd/eval.hpp>
#include <espalier/autograd/tape.hpp>
#include <espalier/autograd/trace.hpp>
#include <espalier/nn/module.hpp>

namespace espalier {

/// Runs a module on a context: forward(tape, net, x), forward(eval, net, x), forward(trace, net, x).
template <class Context, Module M, class... More>
auto forward(Context& ctx, M& module, const typename Context::Value& x, const More&... more) {
  return std::remove_const_t<M>::forward(module, ctx, x, more...);
}

/// Inference on a device: nothing is recorded, running statistics are used.
template <Backend B, Module M>
Tensor<B> predict(B& b, const M& module, const Tensor<B>& x) {
  Eval<B> eval(b);
  return M::forward(module, eval, x);
}

/// A model that will not change, with its convolution weights packed at first use: for inference in a loop.
template <Backend B, Module M>
class Frozen {
 public:
  Frozen(B& b, M model) : b_(b), model_(std::make_unique<M>(std::move(model))) {}
  Tensor<B> operator()(const Tensor<B>& x) {
    Eval<B> eval(b_, prepared_);
    return M::forward(std::as_const(*model_), eval, x);
  }
  const M& model() const { return *model_; }

 private:
  B& b_;
  std::unique_ptr<M> model_;  // the packed weights are found by the addresses of its parameters
  PreparedWeights<B> prepared_;
};

/// The dry run of a module over an input of this shape: shapes, costs, channels. Throws ShapeError if
/// its layers do not fit each other.
template <Backend B, Module M>
Trace<B> dry_run(const M& module, const Shape& input) {
  Trace<B> trace;
  trace.output(M::forward(module, trace, trace.input(input)));
  return trace;
}

}  // namespace espalier
