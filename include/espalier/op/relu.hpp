// SPDX-License-Identifier: Apache-2.0
// Rectified linear unit.
#pragma once

#include <espalier/autograd/op.hpp>

namespace espalier::op {

/// y = max(x, 0);  dx = dy where y > 0, else 0.
/// Shapes  x, y: any, equal.   Channels  pass through.
struct Relu {
  static constexpr std::string_view name = "relu";
  template <Backend B> struct Saved {};

  struct Forward {
    template <class T> ESPALIER_HD void operator()(Index, T& y, const T& x) const { y = x > T{0} ? x : T{0}; }
  };
  struct Backward {
    template <class T> ESPALIER_HD void operator()(Index, T& dx, const T& y, const T& dy) const { dx = y > T{0} ? dy : T{0}; }
  };

  Shape shape(const Shapes& in) const { return in[0]; }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, in[0].shape());
    b.each(y.count(), Forward{}, y.data(), in[0].data());
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>& y, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    if (!d.wants(0)) return;
    auto dx = Tensor<B>::empty(b, in[0].shape());
    b.each(dx.count(), Backward{}, dx.data(), y.data(), dy.data());
    d.give(0, std::move(dx));
  }
  void channels(ChannelFlow& flow) const { flow.through(); }
  OpCost cost(const Shapes&, const Shape& y) const { return {.relu_elements = y.count()}; }
};

/// The gradient before a fused activation, given the gradient after it.
template <Backend B>
Tensor<B> before_activation(B& b, Activation activation, const Tensor<B>& y, const Tensor<B>& dy) {
  if (activation == Activation::none) return dy;
  auto g = Tensor<B>::empty(b, dy.shape());
  b.each(g.count(), Relu::Backward{}, g.data(), y.data(), dy.data());
  return g;
}

}  // namespace espalier::op
