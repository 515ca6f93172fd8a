// SPDX-License-Identifier: Apache-2.0
// Element-wise sums: the residual add, and weighted sums of losses.
#pragma once

#include <espalier/op/relu.hpp>

namespace espalier::op {

/// y = activation(a + b).
/// Shapes  a, b, y: any, equal.   Channels  channel i of a and channel i of b are tied together.
struct Add {
  Activation activation = Activation::none;

  static constexpr std::string_view name = "add";
  template <Backend B> struct Saved {};
  struct Forward {
    bool relu;
    template <class T> ESPALIER_HD void operator()(Index, T& y, const T& a, const T& b) const {
      const T sum = a + b;
      y = relu && !(sum > T{0}) ? T{0} : sum;
    }
  };

  Shape shape(const Shapes& in) const {
    if (in[0] != in[1])
      throw ShapeError(str("add: the operands have shapes ", in[0], " and ", in[1], "; they must be equal. Was only one side of a residual group shrunk?"));
    return in[0];
  }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    b.each(y.count(), Forward{activation == Activation::relu}, y.data(), in[0].data(), in[1].data());
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>&, const Tensor<B>& y, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    auto g = before_activation(b, activation, y, dy);
    if (d.wants(0) && d.wants(1)) d.give(0, g);
    else if (d.wants(0)) d.give(0, std::move(g));
    if (d.wants(1)) d.give(1, std::move(g));
  }
  void channels(ChannelFlow& flow) const {
    flow.couple(0, 1);
    flow.through();
  }
  OpCost cost(const Shapes&, const Shape& y) const { return {.relu_elements = activation == Activation::relu ? y.count() : 0}; }
};

/// y = weight_a a + weight_b b, for scalar losses.
struct WeightedSum {
  double weight_a = 1, weight_b = 1;

  static constexpr std::string_view name = "weighted_sum";
  template <Backend B> struct Saved {};
  template <class T> struct Forward {
    T weight_a, weight_b;
    ESPALIER_HD void operator()(Index, T& y, const T& a, const T& b) const { y = weight_a * a + weight_b * b; }
  };
  template <class T> struct Backward {
    T weight;
    ESPALIER_HD void operator()(Index, T& d, const T& dy) const { d = weight * dy; }
  };
  Shape shape(const Shapes& in) const {
    if (in[0] != in[1]) throw ShapeError(str("weighted_sum: the operands have shapes ", in[0], " and ", in[1], "; they must be equal"));
    return in[0];
  }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    using T = typename B::Scalar;
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    b.each(y.count(), Forward<T>{static_cast<T>(weight_a), static_cast<T>(weight_b)}, y.data(), in[0].data(), in[1].data());
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>&, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    using T = typename B::Scalar;
    for (int i = 0; i < 2; ++i) {
      if (!d.wants(i)) continue;
      auto g = Tensor<B>::empty(b, dy.shape());
      b.each(g.count(), Backward<T>{static_cast<T>(i == 0 ? weight_a : weight_b)}, g.data(), dy.data());
      d.give(i, std::move(g));
    }
  }
  void channels(ChannelFlow& flow) const {
    flow.couple(0, 1);
    flow.through();
  }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }
};

}  // namespace espalier::op
