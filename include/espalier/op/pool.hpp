// SPDX-License-Identifier: Apache-2.0
// Max, average and global average pooling.
#pragma once

#include <optional>

#include <espalier/autograd/op.hpp>

namespace espalier::op {

/// A pooling window. The stride is the kernel's size unless given.
struct Window {
  Index kernel = 2;
  std::optional<Index> stride{};
  Index pad = 0;

  PoolShape over(const Shape& x, std::string_view name) const {
    if (x.rank() != 4) throw ShapeError(str(name, ": the input has shape ", x, "; needed are four axes, [N, H, W, channels]"));
    const Index step = stride.value_or(kernel);
    if (x[1] + 2 * pad < kernel || x[2] + 2 * pad < kernel)
      throw ShapeError(str(name, ": a ", kernel, "x", kernel, " window does not fit a map of ", x[1], "x", x[2], "; use a larger image or fewer poolings"));
    return {.n = x[0], .h = x[1], .w = x[2], .c = x[3], .kernel_h = kernel, .kernel_w = kernel, .stride_h = step, .stride_w = step, .pad_h = pad, .pad_w = pad};
  }
  bool operator==(const Window&) const = default;
};

/// y = the largest of each window; padding never wins; the first maximum takes the gradient.
/// Shapes  x [N, H, W, C], y [N, H', W', C].   Channels  pass through.
struct MaxPool {
  Window window{};

  static constexpr std::string_view name = "max_pool";
  template <Backend B> struct Saved {
    Ids<B> argmax;
  };
  Shape shape(const Shapes& in) const {
    const PoolShape s = window.over(in[0], name);
    return {s.n, s.out_h(), s.out_w(), s.c};
  }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>& saved) const {
    const Shape out = shape(in.shapes());
    auto y = Tensor<B>::empty(b, out);
    saved.argmax = Ids<B>::empty(b, out);
    b.max_pool_forward(window.over(in[0].shape(), name), in[0].data(), y.data(), saved.argmax.data());
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>& saved, const Tensor<B>& dy, Gradients<B>& d) const {
    if (!d.wants(0)) return;
    auto dx = Tensor<B>::empty(b, in[0].shape());
    b.max_pool_backward(window.over(in[0].shape(), name), dy.data(), saved.argmax.data(), dx.data());
    d.give(0, std::move(dx));
  }
  void channels(ChannelFlow& flow) const { flow.through(); }
  OpCost cost(const Shapes&, const Shape& y) const { return {.pool_reads = y.count() * window.kernel * window.kernel}; }
};

/// y = the mean of each window; padding counts in the divisor (PyTorch's default).
/// Shapes  x [N, H, W, C], y [N, H', W', C].   Channels  pass through.
struct AvgPool {
  Window window{};

  static constexpr std::string_view name = "avg_pool";
  template <Backend B> struct Saved {};
  Shape shape(const Shapes& in) const {
    const PoolShape s = window.over(in[0], name);
    return {s.n, s.out_h(), s.out_w(), s.c};
  }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    b.avg_pool_forward(window.over(in[0].shape(), name), in[0].data(), y.data());
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    if (!d.wants(0)) return;
    auto dx = Tensor<B>::empty(b, in[0].shape());
    b.avg_pool_backward(window.over(in[0].shape(), name), dy.data(), dx.data());
    d.give(0, std::move(dx));
  }
  void channels(ChannelFlow& flow) const { flow.through(); }
  OpCost cost(const Shapes&, const Shape& y) const { return {.pool_reads = y.count() * window.kernel * window.kernel}; }
};

/// y = the mean of each channel's map.   Shapes  x [N, H, W, C], y [N, C].   Channels  pass through.
struct GlobalAvgPool {
  static constexpr std::string_view name = "global_avg_pool";
  template <Backend B> struct Saved {};

  static PoolShape over(const Shape& x) {
    if (x.rank() != 4) throw ShapeError(str("global_avg_pool: the input has shape ", x, "; needed are four axes, [N, H, W, channels]"));
    return {.n = x[0], .h = x[1], .w = x[2], .c = x[3], .kernel_h = x[1], .kernel_w = x[2], .stride_h = x[1], .stride_w = x[2]};
  }
  Shape shape(const Shapes& in) const { return {over(in[0]).n, in[0].channels()}; }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    b.avg_pool_forward(over(in[0].shape()), in[0].data(), y.data());
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    if (!d.wants(0)) return;
    auto dx = Tensor<B>::empty(b, in[0].shape());
    b.avg_pool_backward(over(in[0].shape()), dy.data(), dx.data());
    d.give(0, std::move(dx));
  }
  void channels(ChannelFlow& flow) const { flow.through(); }
  OpCost cost(const Shapes& in, const Shape&) const { return {.pool_reads = in[0].count()}; }
};

}  // namespace espalier::op
