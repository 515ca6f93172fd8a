// SPDX-License-Identifier: Apache-2.0
// Smooth activations: GELU in its exact and tanh forms, and tanh.
#pragma once

#include <cmath>

#include <espalier/autograd/op.hpp>

namespace espalier::op {

namespace detail {

// An element-wise op y = f(x) with f(0) = 0, from a functor with value(x) and slope(x).
template <class F>
struct ElementWise {
  template <Backend B> struct Saved {};
  struct Forward {
    template <class T> ESPALIER_HD void operator()(Index, T& y, const T& x) const { y = F::value(x); }
  };
  struct Backward {
    template <class T> ESPALIER_HD void operator()(Index, T& dx, const T& x, const T& dy) const { dx = dy * F::slope(x); }
  };

  Shape shape(const Shapes& in) const { return in[0]; }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, in[0].shape());
    b.each(y.count(), Forward{}, y.data(), in[0].data());
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    if (!d.wants(0)) return;
    auto dx = Tensor<B>::empty(b, in[0].shape());
    b.each(dx.count(), Backward{}, dx.data(), in[0].data(), dy.data());
    d.give(0, std::move(dx));
  }
  void channels(ChannelFlow& flow) const { flow.through(); }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }
};

struct ExactGelu {
  template <class T> ESPALIER_HD static T value(T x) { return x * normal(x); }
  template <class T> ESPALIER_HD static T slope(T x) { return normal(x) + x * static_cast<T>(0.3989422804014327) * std::exp(-x * x / 2); }
  template <class T> ESPALIER_HD static T normal(T x) { return (1 + std::erf(x * static_cast<T>(0.7071067811865476))) / 2; }
};

struct TanhGelu {
  template <class T> ESPALIER_HD static T inner(T x) { return static_cast<T>(0.7978845608028654) * (x + static_cast<T>(0.044715) * x * x * x); }
  template <class T> ESPALIER_HD static T value(T x) { return x * (1 + std::tanh(inner(x))) / 2; }
  template <class T> ESPALIER_HD static T slope(T x) {
    const T t = std::tanh(inner(x));
    return (1 + t) / 2 + x * (1 - t * t) / 2 * static_cast<T>(0.7978845608028654) * (1 + 3 * static_cast<T>(0.044715) * x * x);
  }
};

struct HyperbolicTangent {
  template <class T> ESPALIER_HD static T value(T x) { return std::tanh(x); }
  template <class T> ESPALIER_HD static T slope(T x) { const T t = std::tanh(x); return 1 - t * t; }
};

}  // namespace detail

/// y = x Phi(x), Phi the normal distribution (Hendrycks & Gimpel 2016): BERT's form.
/// Shapes  x, y: any, equal.   Channels  pass through.
struct Gelu : detail::ElementWise<detail::ExactGelu> {
  static constexpr std::string_view name = "gelu";
};

/// The tanh approximation of GELU (GPT-2's form).
struct GeluTanh : detail::ElementWise<detail::TanhGelu> {
  static constexpr std::string_view name = "gelu_tanh";
};

struct Tanh : detail::ElementWise<detail::HyperbolicTangent> {
  static constexpr std::string_view name = "tanh";
};

}  // namespace espalier::op
