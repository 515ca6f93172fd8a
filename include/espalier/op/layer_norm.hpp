// SPDX-License-Identifier: Apache-2.0
// Layer normalisation over the last axis.
#pragma once

#include <espalier/autograd/op.hpp>

namespace espalier::op {

/// y = (x - mean) / sqrt(var + eps) * gamma + beta, each row by its own mean and biased variance
/// (Ba, Kiros & Hinton 2016).
/// Operands  x [..., C], gamma [C], beta [C].
/// Channels  pass through, and must stay: removing one changes the statistics of all others.
struct LayerNorm {
  double eps = 1e-5;

  static constexpr std::string_view name = "layer_norm";
  template <Backend B> struct Saved {
    Tensor<B> mean, inv_std;
  };

  Shape shape(const Shapes& in) const {
    if (in[0].channels() != in[1].count())
      throw ShapeError(str("layer_norm: the input has ", in[0].channels(), " channels, the layer ", in[1].count()));
    return in[0];
  }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>& saved) const {
    const Shape s = shape(in.shapes());
    auto y = Tensor<B>::empty(b, s);
    saved.mean = Tensor<B>::empty(b, {s.rows()});
    saved.inv_std = Tensor<B>::empty(b, {s.rows()});
    b.layer_norm_forward(s.rows(), s.channels(), eps, in[0].data(), in[1].data(), in[2].data(), y.data(), saved.mean.data(), saved.inv_std.data());
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>& saved, const Tensor<B>& dy, Gradients<B>& d) const {
    const Shape& s = in[0].shape();
    auto dx = Tensor<B>::empty(b, s);
    auto dgamma = Tensor<B>::empty(b, in[1].shape());
    auto dbeta = Tensor<B>::empty(b, in[2].shape());
    b.layer_norm_backward(s.rows(), s.channels(), in[0].data(), in[1].data(), saved.mean.data(), saved.inv_std.data(), dy.data(), dx.data(),
                          dgamma.data(), dbeta.data());
    if (d.wants(0)) d.give(0, std::move(dx));
    if (d.wants(1)) d.give(1, std::move(dgamma));
    if (d.wants(2)) d.give(2, std::move(dbeta));
  }
  void channels(ChannelFlow& flow) const {
    flow.freeze(0, "layer norm mixes its channels: removing one changes the statistics of the others");
    flow.through();
  }
  OpCost cost(const Shapes&, const Shape& y) const { return {.norm_elements = y.count()}; }
};

}  // namespace espalier::op
