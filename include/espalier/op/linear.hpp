// SPDX-License-Identifier: Apache-2.0
// The product of rows with a weight matrix.
#pragma once

#include <espalier/op/relu.hpp>

namespace espalier::op {

/// y = activation(x W + bias).
/// Shapes    x [..., in], W [in, out], bias [out] or absent, y [..., out].
/// Channels  the inputs are read, the outputs are new, written by the weight's output rows.
struct Linear {
  Activation activation = Activation::none;

  static constexpr std::string_view name = "linear";
  template <Backend B> struct Saved {};

  Shape shape(const Shapes& in) const {
    if (in[0].channels() != in[1][0])
      throw ShapeError(str("linear: the input has ", in[0].channels(), " channels, the weight expects ", in[1][0],
                           ". Was only one of two coupled layers shrunk?"));
    return in[0].with(-1, in[1][1]);
  }

  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    Epilogue<B> epilogue{.activation = activation};
    if (in.size() > 2) epilogue.bias = in[2].data();
    const Index rows = in[0].shape().rows(), k = in[1].shape()[0], n = in[1].shape()[1];
    b.gemm({.m = rows, .n = n, .k = k, .lda = k, .ldb = n, .ldc = n}, in[0].data(), in[1].data(), y.data(), Store::assign, epilogue);
    return y;
  }

  // dx = g W^T,  dW = x^T g,  dbias = column sums of g, with g = dy where the activation let y through.
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>& y, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    Tensor<B> masked;
    if (activation != Activation::none) masked = before_activation(b, activation, y, dy);
    const Tensor<B>& g = activation != Activation::none ? masked : dy;
    const Index rows = in[0].shape().rows(), k = in[1].shape()[0], n = in[1].shape()[1];
    if (d.wants(1)) {
      auto [dw, store] = d.target(1);
      b.gemm({.m = k, .n = n, .k = rows, .a = Transpose::yes, .lda = k, .ldb = n, .ldc = n}, in[0].data(), g.data(), dw.data(), store);
    }
    if (in.size() > 2 && d.wants(2)) {
      auto [dbias, store] = d.target(2);
      b.column_sums(rows, n, g.data(), dbias.data(), store);
    }
    if (d.wants(0)) {
      auto [dx, store] = d.target(0);
      b.gemm({.m = rows, .n = k, .k = n, .b = Transpose::yes, .lda = n, .ldb = n, .ldc = k}, g.data(), in[1].data(), dx.data(), store);
    }
  }

  void channels(ChannelFlow& flow) const {
    flow.read(0, 1, flow.shape(1)[0]);
    flow.produce(1, flow.shape(1)[1], flow.shape(1)[1]);
    if (flow.operand_count() > 2) flow.follow(2, ChannelRole::shift);
  }
  OpCost cost(const Shapes& in, const Shape& y) const {
    return {.multiply_adds = y.count() * in[1][0], .bias_adds = in.size() > 2 ? y.count() : 0,
            .relu_elements = activation == Activation::relu ? y.count() : 0};
  }
};

}  // namespace espalier::op
