// SPDX-License-Identifier: Apache-2.0
// Layers with parameters: convolution, linear, batch norm, layer norm, dropout. A width has one home,
// the weight's extent; nothing else stores it.
#pragma once

#include <optional>

#include <espalier/nn/init.hpp>
#include <espalier/nn/module.hpp>
#include <espalier/op/batch_norm.hpp>
#include <espalier/op/conv2d.hpp>
#include <espalier/op/dropout.hpp>
#include <espalier/op/layer_norm.hpp>
#include <espalier/op/linear.hpp>

namespace espalier {

/// What a convolution is besides its widths.
struct ConvOptions {
  Index kernel = 3;
  Index stride = 1;
  Index pad = 1;
  Index groups = 1;
  bool depthwise = false;  // one filter (or out / in filters) per input channel; `groups` is ignored
  Bias bias = Bias::none;
  Init init = Init::he_normal_fan_out;
};

/// Two-dimensional convolution. Outside shape of the weight: [out, in / groups, kernel, kernel].
template <Backend B>
struct Conv2d {
  Parameter<B> weight;
  std::optional<Parameter<B>> bias;
  Index stride = 1, pad = 0, groups = 1;
  bool depthwise = false;

  Conv2d() = default;
  Conv2d(B& b, Index in, Index out, const ConvOptions& o, Rng& rng)
      : stride(o.stride), pad(o.pad), groups(o.depthwise ? 1 : o.groups), depthwise(o.depthwise) {
    const Index split = o.depthwise ? in : o.groups;
    if (split < 1 || in % split != 0 || out % split != 0)
      throw ShapeError(str("conv2d: ", in, " input and ", out, " output channels cannot be split into ", split, " groups"));
    weight = initial_parameter(b, {out, in / split, o.kernel, o.kernel}, Layout::convolution, o.init, rng);
    bias = initial_bias(b, out, o.bias, in / split * o.kernel * o.kernel, rng);
  }

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("weight", self.weight);
    visit("bias", self.bias);
  }
  /// x [N, H, W, in] -> [N, H', W', out].
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x, Activation activation = Activation::none) {
    const op::Conv2d conv{.stride_h = self.stride, .stride_w = self.stride, .pad_h = self.pad, .pad_w = self.pad,
                          .groups = self.groups, .depthwise = self.depthwise, .activation = activation};
    return ctx.apply(conv, x, self.weight, self.bias);
  }
};

struct LinearOptions {
  Bias bias = Bias::zeros;
  Init init = Init::uniform_fan_in;
};

/// y = x W^T + bias. Outside shape of the weight: [out, in].
template <Backend B>
struct Linear {
  Parameter<B> weight;
  std::optional<Parameter<B>> bias;

  Linear() = default;
  Linear(B& b, Index in, Index out, const LinearOptions& o, Rng& rng)
      : weight(initial_parameter(b, {out, in}, Layout::linear, o.init, rng)), bias(initial_bias(b, out, o.bias, in, rng)) {}

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("weight", self.weight);
    visit("bias", self.bias);
  }
  /// x [..., in] -> [..., out].
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x, Activation activation = Activation::none) {
    return ctx.apply(op::Linear{.activation = activation}, x, self.weight, self.bias);
  }
};

/// Batch normalisation of vectors or maps. On a training tape: batch statistics, and the running ones
/// are updated; on any other context, or if const: the running ones.
template <Backend B>
struct BatchNorm {
  Parameter<B> weight, bias;  // gamma, beta
  espalier::Buffer<B> running_mean, running_var;
  double eps = 1e-5;
  double momentum = 0.1;  // of the new value (PyTorch's convention)

  BatchNorm() = default;
  BatchNorm(B& b, Index channels, Init gamma = Init::ones)
      : bias(Tensor<B>::zeros(b, {channels}), Layout::plain),
        running_mean{Tensor<B>::zeros(b, {channels})},
        running_var{Tensor<B>::full(b, {channels}, typename B::Scalar{1}), Init::ones} {
    Rng unused(0);
    weight = Parameter<B>(from_host(b, initial({channels}, gamma, unused, 1, 1), Layout::plain), Layout::plain, gamma);
  }

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("weight", self.weight);
    visit("bias", self.bias);
    visit("running_mean", self.running_mean);
    visit("running_var", self.running_var);
  }
  /// y = activation(norm(x)); x [..., C].
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x, Activation activation = Activation::none) {
    return ctx.apply(prepare(self, ctx, activation), x, self.weight, self.bias);
  }
  /// y = activation(norm(x) + residual).
  template <class Self, class Context>
  static auto forward_add(Self& self, Context& ctx, const typename Context::Value& x, const typename Context::Value& residual, Activation activation) {
    return ctx.apply(prepare(self, ctx, activation), x, self.weight, self.bias, residual);
  }

 private:
  template <class Self, class Context>
  static op::BatchNorm<B> prepare(Self& self, Context& ctx, Activation activation) {
    op::BatchNorm<B> norm{.eps = self.eps, .momentum = self.momentum, .activation = activation, .running_mean = &self.running_mean, .running_var = &self.running_var};
    if constexpr (!std::is_const_v<Self>) {
      if (ctx.training()) {
        norm.statistics = Statistics::batch;
        norm.update_mean = &self.running_mean;
        norm.update_var = &self.running_var;
      }
    }
    return norm;
  }
};

/// Layer normalisation over the last axis.
template <Backend B>
struct LayerNorm {
  Parameter<B> weight, bias;
  double eps = 1e-5;

  LayerNorm() = default;
  LayerNorm(B& b, Index channels, double epsilon = 1e-5)
      : weight(Tensor<B>::full(b, {channels}, typename B::Scalar{1}), Layout::plain, Init::ones), bias(Tensor<B>::zeros(b, {channels}), Layout::plain), eps(epsilon) {}

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("weight", self.weight);
    visit("bias", self.bias);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    return ctx.apply(op::LayerNorm{.eps = self.eps}, x, self.weight, self.bias);
  }
};

/// Zeroes elements with the given probability on a training tape, from the tape's dropout stream;
/// does nothing elsewhere.
struct Dropout {
  double probability = 0;

  template <class Self, class Visit>
  static void members(Self&, Visit&&) {}
  template <class Self, class Context>
  static typename Context::Value forward(Self& self, Context& ctx, const typename Context::Value& x) {
    if constexpr (requires { ctx.dropout(); }) {
      if (ctx.training() && self.probability > 0) {
        Rng& stream = ctx.dropout();
        const std::uint64_t high = stream.u32(), low = stream.u32();
        return ctx.apply(op::Dropout{.probability = self.probability, .key = high << 32 | low}, x);
      }
    }
    return x;
  }
};

}  // namespace espalier
