// SPDX-License-Identifier: Apache-2.0
// Two-dimensional convolution: any kernel, stride, padding; dense, in groups, or depthwise.
#pragma once

#include <espalier/op/relu.hpp>

namespace espalier::op {

/// y = activation(x * w + bias), the cross-correlation that deep learning calls convolution.
/// Shapes    x [N, H, W, in], w [kh, kw, in / groups, out], bias [out] or absent, y [N, H', W', out].
/// Channels  dense: the inputs are read, the outputs are new. In groups: channels at equal places of
///           the groups share weight slices and are tied together. Depthwise: channels pass through,
///           each with its own filter; with several filters a channel, those are tied to it.
struct Conv2d {
  Index stride_h = 1, stride_w = 1;
  Index pad_h = 0, pad_w = 0;
  Index groups = 1;
  bool depthwise = false;  // as many groups as input channels, however many those are
  Activation activation = Activation::none;

  static constexpr std::string_view name = "conv2d";
  template <Backend B> struct Saved {};

  /// The sizes of one application. Throws ShapeError if they do not fit.
  ConvShape sizes(const Shape& x, const Shape& w) const {
    if (x.rank() != 4) throw ShapeError(str("conv2d: the input has shape ", x, "; needed are four axes, [N, H, W, channels]"));
    const ConvShape s{.n = x[0], .h = x[1], .w = x[2], .in = x[3], .out = w[3], .kernel_h = w[0], .kernel_w = w[1],
                      .stride_h = stride_h, .stride_w = stride_w, .pad_h = pad_h, .pad_w = pad_w,
                      .groups = depthwise ? x[3] : groups};
    if (s.groups < 1 || s.in % s.groups != 0 || s.out % s.groups != 0)
      throw ShapeError(str("conv2d: ", s.in, " input and ", s.out, " output channels cannot be split into ", s.groups, " groups"));
    if (s.in / s.groups != w[2])
      throw ShapeError(str("conv2d: the input has ", s.in, " channels, the weight expects ", w[2] * s.groups,
                           ". Was only one side of a residual group shrunk? Print plan(net, policy)."));
    if (s.h + 2 * pad_h < s.kernel_h || s.w + 2 * pad_w < s.kernel_w)
      throw ShapeError(str("conv2d: a map of ", s.h, "x", s.w, " with padding ", pad_h, ",", pad_w, " is smaller than the ", s.kernel_h, "x",
                           s.kernel_w, " kernel; use a larger image or fewer poolings"));
    return s;
  }

  Shape shape(const Shapes& in) const {
    const ConvShape s = sizes(in[0], in[1]);
    return {s.n, s.out_h(), s.out_w(), s.out};
  }

  template <Backend B>
  typename B::PreparedConv prepare(B& b, const Inputs<B>& in) const {
    return b.prepare_conv(sizes(in[0].shape(), in[1].shape()), in[1].data());
  }

  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    const ConvShape s = sizes(in[0].shape(), in[1].shape());
    auto y = Tensor<B>::empty(b, {s.n, s.out_h(), s.out_w(), s.out});
    Epilogue<B> epilogue{.activation = activation};
    if (in.size() > 2) epilogue.bias = in[2].data();
    b.conv_forward(s, in[0].data(), in[1].data(), y.data(), epilogue, in.prepared);
    return y;
  }

  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>& y, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    Tensor<B> masked;
    if (activation != Activation::none) masked = before_activation(b, activation, y, dy);
    const Tensor<B>& g = activation != Activation::none ? masked : dy;
    const ConvShape s = sizes(in[0].shape(), in[1].shape());
    if (d.wants(1)) {
      auto [dw, store] = d.target(1);
      b.conv_backward_weights(s, in[0].data(), g.data(), dw.data(), store);
    }
    if (in.size() > 2 && d.wants(2)) {
      auto [dbias, store] = d.target(2);
      b.column_sums(g.shape().rows(), s.out, g.data(), dbias.data(), store);
    }
    if (d.wants(0)) {
      auto [dx, store] = d.target(0);
      b.conv_backward_input(s, g.data(), in[1].data(), dx.data(), store);
    }
  }

  void channels(ChannelFlow& flow) const {
    const Index in = flow.shape(0).channels(), out = flow.shape(1)[3];
    if (depthwise) {
      Channels channels;
      for (Index o = 0; o < out; ++o) channels.push_back(flow.in(0)[static_cast<std::size_t>(o / (out / in))]);
      flow.out(std::move(channels));
      flow.follow(1, ChannelRole::filter);
    } else {
      flow.read(0, 1, in / groups);
      flow.produce(1, out, out / groups);
    }
    if (flow.operand_count() > 2) flow.follow(2, ChannelRole::shift);
  }
  OpCost cost(const Shapes& in, const Shape& y) const {
    return {.multiply_adds = sizes(in[0], in[1]).multiply_adds(), .bias_adds = in.size() > 2 ? y.count() : 0,
            .relu_elements = activation == Activation::relu ? y.count() : 0};
  }
};

}  // namespace espalier::op
