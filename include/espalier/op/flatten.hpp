// SPDX-License-Identifier: Apache-2.0
// Ops that only move values: flatten, concat, channel padding (ResNet's shortcut A), row selection.
#pragma once

#include <espalier/autograd/op.hpp>

namespace espalier::op {

/// y[n, (c H + h) W + w] = x[n, h, w, c]: the order in which PyTorch flattens N C H W.
/// Shapes    x [N, H, W, C], y [N, C H W].
/// Channels  each channel becomes H W consecutive features, all tied to it.
struct Flatten {
  static constexpr std::string_view name = "flatten";
  template <Backend B> struct Saved {};

  Shape shape(const Shapes& in) const {
    if (in[0].rank() != 4) throw ShapeError(str("flatten: the input has shape ", in[0], "; needed are four axes, [N, H, W, channels]"));
    return {in[0][0], in[0].count() / std::max<Index>(in[0][0], 1)};
  }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    b.strided_copy(copy(in[0].shape(), true), in[0].data(), y.data(), Store::assign);
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    if (!d.wants(0)) return;
    auto [dx, store] = d.target(0);
    b.strided_copy(copy(in[0].shape(), false), dy.data(), dx.data(), store);
  }
  void channels(ChannelFlow& flow) const {
    const Index area = flow.shape(0)[1] * flow.shape(0)[2];
    Channels features;
    for (int channel : flow.in(0)) features.insert(features.end(), static_cast<std::size_t>(area), channel);
    flow.out(std::move(features));
  }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }

 private:
  static StridedCopy copy(const Shape& x, bool forward) {
    const Index h = x[1], w = x[2], c = x[3];
    StridedCopy move{.extents = {x[0], h, w, c}, .from_strides = {h * w * c, w * c, c, 1}, .to_strides = {c * h * w, w, 1, h * w}};
    if (!forward) std::swap(move.from_strides, move.to_strides);
    return move;
  }
};

/// y = the operands side by side along the channels.
/// Shapes  [..., C_1], [..., C_2], ... -> [..., C_1 + C_2 + ...].   Channels  side by side.
struct Concat {
  static constexpr std::string_view name = "concat";
  template <Backend B> struct Saved {};

  Shape shape(const Shapes& in) const {
    Index channels = 0;
    for (int i = 0; i < in.size(); ++i) {
      if (in[i].with(-1, 1) != in[0].with(-1, 1))
        throw ShapeError(str("concat: operand ", i, " has shape ", in[i], ", the first ", in[0], "; all axes but the channels must be equal"));
      channels += in[i].channels();
    }
    return in[0].with(-1, channels);
  }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    Index at = 0;
    for (int i = 0; i < in.size(); ++i) {
      const Index c = in[i].shape().channels();
      b.strided_copy({.extents = {y.shape().rows(), c}, .from_strides = {c, 1}, .to_strides = {y.shape().channels(), 1}}, in[i].data(),
                     y.data() + at, Store::assign);
      at += c;
    }
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>& y, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    Index at = 0;
    for (int i = 0; i < in.size(); ++i) {
      const Index c = in[i].shape().channels();
      if (d.wants(i)) {
        auto [dx, store] = d.target(i);
        b.strided_copy({.extents = {y.shape().rows(), c}, .from_strides = {y.shape().channels(), 1}, .to_strides = {c, 1}}, dy.data() + at,
                       dx.data(), store);
      }
      at += c;
    }
  }
  void channels(ChannelFlow& flow) const {
    Channels all;
    for (int i = 0; i < flow.operand_count(); ++i) all.insert(all.end(), flow.in(i).begin(), flow.in(i).end());
    flow.out(std::move(all));
  }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }
};

/// The parameterless shortcut of CIFAR ResNets (He et al. 2016, option A): every `stride`-th pixel,
/// zero channels before and after.
/// Shapes  x [N, H, W, C], y [N, ceil(H / stride), ceil(W / stride), before + C + after].
/// Channels  pass through; the zero channels are channels too, and are counted by the extents.
struct PadChannels {
  Index stride = 1;
  const Extent* before = nullptr;
  const Extent* after = nullptr;

  static constexpr std::string_view name = "pad_channels";
  template <Backend B> struct Saved {};

  Shape shape(const Shapes& in) const {
    return {in[0][0], (in[0][1] + stride - 1) / stride, (in[0][2] + stride - 1) / stride, before->value + in[0][3] + after->value};
  }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::zeros(b, shape(in.shapes()));
    b.strided_copy(copy(in[0].shape(), y.shape(), true), in[0].data(), y.data() + before->value, Store::assign);
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>& y, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    if (!d.wants(0)) return;
    auto dx = Tensor<B>::zeros(b, in[0].shape());
    b.strided_copy(copy(in[0].shape(), y.shape(), false), dy.data() + before->value, dx.data(), Store::assign);
    d.give(0, std::move(dx));
  }
  void channels(ChannelFlow& flow) const {
    Channels all = flow.zeros(before);
    all.insert(all.end(), flow.in(0).begin(), flow.in(0).end());
    const Channels last = flow.zeros(after);
    all.insert(all.end(), last.begin(), last.end());
    flow.out(std::move(all));
  }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }

 private:
  StridedCopy copy(const Shape& x, const Shape& y, bool forward) const {
    const Index c = x[3], w = x[2];
    StridedCopy move{.extents = {x[0], y[1], y[2], c},
                     .from_strides = {x[1] * w * c, stride * w * c, stride * c, 1},
                     .to_strides = {y[1] * y[2] * y[3], y[2] * y[3], y[3], 1}};
    if (!forward) std::swap(move.from_strides, move.to_strides);
    return move;
  }
};

/// y[n] = x[n, position]: BERT's [CLS] state.   Shapes  x [N, T, C], y [N, C].   Channels  pass through.
struct SelectRow {
  Index position = 0;

  static constexpr std::string_view name = "select_row";
  template <Backend B> struct Saved {};

  Shape shape(const Shapes& in) const {
    if (in[0].rank() != 3 || position >= in[0][1])
      throw ShapeError(str("select_row: position ", position, " of shape ", in[0], "; needed are three axes, [N, T, channels], with T above the position"));
    return {in[0][0], in[0][2]};
  }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    const Shape& x = in[0].shape();
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    b.strided_copy({.extents = {x[0], x[2]}, .from_strides = {x[1] * x[2], 1}, .to_strides = {x[2], 1}}, in[0].data() + position * x[2],
                   y.data(), Store::assign);
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    if (!d.wants(0)) return;
    const Shape& x = in[0].shape();
    auto dx = Tensor<B>::zeros(b, x);
    b.strided_copy({.extents = {x[0], x[2]}, .from_strides = {x[2], 1}, .to_strides = {x[1] * x[2], 1}}, dy.data(),
                   dx.data() + position * x[2], Store::assign);
    d.give(0, std::move(dx));
  }
  void channels(ChannelFlow& flow) const { flow.through(); }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }
};

}  // namespace espalier::op
