// SPDX-License-Identifier: Apache-2.0
// The archetype of DifferentiableOp: the least that Tape, Eval and Trace may rely on. It has no default
// constructor, no comparison and no spare members; its backward pass ignores who wants what.
#pragma once

#include <espalier/autograd/op.hpp>

namespace espalier::test {

/// y = factor x, written with the contract and nothing else.
class LeastOp {
 public:
  LeastOp() = delete;
  explicit LeastOp(float factor) : factor_(factor) {}
  bool operator==(const LeastOp&) const = delete;

  static constexpr const char* name = "least";  // anything that converts to a string_view
  template <Backend B>
  class Saved {};

  Shape shape(const Shapes& in) const { return in[0]; }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    return times(b, in[0]);
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>&, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    d.give(0, times(b, dy));
  }
  void channels(ChannelFlow& flow) const { flow.through(); }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }

 private:
  struct Times {
    float factor;
    template <class T> ESPALIER_HD void operator()(Index, T& y, const T& x) const { y = static_cast<T>(factor) * x; }
  };
  template <Backend B>
  Tensor<B> times(B& b, const Tensor<B>& x) const {
    auto y = Tensor<B>::empty(b, x.shape());
    b.each(y.count(), Times{factor_}, y.data(), x.data());
    return y;
  }
  float factor_;
};

}  // namespace espalier::test
