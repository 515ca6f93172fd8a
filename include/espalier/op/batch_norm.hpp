// SPDX-License-Identifier: Apache-2.0
// Batch normalisation over all axes but the channels, for vectors (1-D) and maps (2-D) alike.
#pragma once

#include <espalier/autograd/op.hpp>

namespace espalier::op {

/// y = activation((x - mean) / sqrt(var + eps) * gamma + beta + residual)   (Ioffe & Szegedy 2015).
/// Operands  x [..., C], gamma [C], beta [C], and a residual of x's shape or none.
/// With batch statistics: mean and the biased variance of the batch; the running ones become
/// (1 - momentum) running + momentum * batch, with the unbiased variance (PyTorch's convention).
/// Otherwise the running statistics are used and not touched.
/// Channels  pass through; gamma, beta and the statistics belong to them; the residual's are tied to them.
template <Backend B>
struct BatchNorm {
  double eps = 1e-5;
  double momentum = 0.1;
  Statistics statistics = Statistics::running;
  Activation activation = Activation::none;
  const Buffer<B>* running_mean = nullptr;
  const Buffer<B>* running_var = nullptr;
  Buffer<B>* update_mean = nullptr;  // with batch statistics: the running ones to update, or null
  Buffer<B>* update_var = nullptr;

  static constexpr std::string_view name = "batch_norm";
  template <Backend> struct Saved {
    Tensor<B> mean, var;
  };
  using T = typename B::Scalar;

  struct Blend {
    T momentum, correction;
    ESPALIER_HD void operator()(Index, T& running, const T& batch) const { running += momentum * (batch * correction - running); }
  };

  Shape shape(const Shapes& in) const {
    if (in[0].channels() != in[1].count())
      throw ShapeError(str("batch_norm: the input has ", in[0].channels(), " channels, the layer ", in[1].count(),
                           ". Was only one of two coupled layers shrunk?"));
    if (in.size() > 3 && in[3] != in[0])
      throw ShapeError(str("batch_norm: the residual has shape ", in[3], ", the normalised input ", in[0], "; they are added and must be equal"));
    return in[0];
  }

  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>& saved) const {
    const Shape s = shape(in.shapes());
    const Index rows = s.rows(), c = s.channels();
    auto y = Tensor<B>::empty(b, s);
    if (statistics == Statistics::running) {
      b.batch_norm_apply(rows, c, eps, in[0].data(), in[1].data(), in[2].data(), running_mean->value.data(), running_var->value.data(),
                         y.data(), after(in));
      return y;
    }
    if (rows < 2) throw ShapeError(str("batch_norm: batch statistics need at least two values a channel, the input has shape ", s, "; use a larger batch or evaluate"));
    saved.mean = Tensor<B>::empty(b, {c});
    saved.var = Tensor<B>::empty(b, {c});
    b.batch_norm_train(rows, c, eps, in[0].data(), in[1].data(), in[2].data(), y.data(), saved.mean.data(), saved.var.data(), after(in));
    if (update_mean != nullptr) {
      const T rate = static_cast<T>(momentum);
      b.each(c, Blend{rate, T{1}}, update_mean->value.data(), std::as_const(saved.mean).data());
      b.each(c, Blend{rate, static_cast<T>(static_cast<double>(rows) / static_cast<double>(rows - 1))}, update_var->value.data(),
             std::as_const(saved.var).data());
    }
    return y;
  }

  void backward(B& b, const Inputs<B>& in, const Tensor<B>& y, const Saved<B>& saved, const Tensor<B>& dy, Gradients<B>& d) const {
    const Shape& s = in[0].shape();
    const Tensor<B>& mean = statistics == Statistics::batch ? saved.mean : running_mean->value;
    const Tensor<B>& var = statistics == Statistics::batch ? saved.var : running_var->value;
    auto dx = Tensor<B>::empty(b, s);
    Tensor<B> dresidual;
    Maybe<typename Tensor<B>::Pointer> dresidual_at;
    if (in.size() > 3 && d.wants(3)) {
      dresidual = Tensor<B>::empty(b, s);
      dresidual_at = dresidual.data();
    }
    auto dgamma = Tensor<B>::empty(b, in[1].shape());
    auto dbeta = Tensor<B>::empty(b, in[2].shape());
    b.batch_norm_backward(s.rows(), s.channels(), eps, statistics, in[0].data(), in[1].data(), mean.data(), var.data(), y.data(), after(in),
                          dy.data(), dx.data(), dgamma.data(), dbeta.data(), dresidual_at);
    if (d.wants(0)) d.give(0, std::move(dx));
    if (d.wants(1)) d.give(1, std::move(dgamma));
    if (d.wants(2)) d.give(2, std::move(dbeta));
    if (dresidual_at) d.give(3, std::move(dresidual));
  }

  void channels(ChannelFlow& flow) const {
    flow.through();
    if (flow.operand_count() > 3) flow.couple(0, 3);
    flow.follow(1, ChannelRole::scale);
    flow.follow(2, ChannelRole::shift);
    flow.follow(running_mean, ChannelRole::statistic);
    flow.follow(running_var, ChannelRole::statistic);
  }
  OpCost cost(const Shapes&, const Shape& y) const {
    return {.norm_elements = y.count(), .relu_elements = activation == Activation::relu ? y.count() : 0};
  }

 private:
  AfterNorm<B> after(const Inputs<B>& in) const {
    AfterNorm<B> after{.activation = activation};
    if (in.size() > 3) after.residual = in[3].data();
    return after;
  }
};

}  // namespace espalier::op
