// SPDX-License-Identifier: Apache-2.0
// Losses: softmax cross-entropy with class labels, and the mean squared error.
#pragma once

#include <espalier/autograd/op.hpp>

namespace espalier::op {

/// loss = mean over rows of -log softmax(logits)[label]; reduction: divided by the number of rows.
/// Shapes    logits [N, classes], labels [N] with values in [0, classes), loss [1].
/// Channels  the classes must stay.
/// The labels must outlive the backward pass.
template <Backend B>
struct CrossEntropy {
  const Ids<B>* labels = nullptr;

  static constexpr std::string_view name = "cross_entropy";
  template <Backend> struct Saved {
    Tensor<B> probabilities;
  };
  using T = typename B::Scalar;
  struct Divide {
    T rows;
    ESPALIER_HD T operator()(Index, const T& loss) const { return loss / rows; }
  };
  struct Scale {
    T rows;
    ESPALIER_HD void operator()(Index, T& scale, const T& dy) const { scale = dy / rows; }
  };

  Shape shape(const Shapes& in) const {
    if (in[0].rank() != 2 || in[0][0] != labels->count())
      throw ShapeError(str("cross_entropy: logits of shape ", in[0], " and ", labels->count(), " labels; needed are [N, classes] and N labels"));
    return {1};
  }
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>& saved) const {
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    const Index rows = in[0].shape()[0], c = in[0].shape()[1];
    saved.probabilities = Tensor<B>::empty(b, in[0].shape());
    auto losses = Tensor<B>::empty(b, {rows});
    b.cross_entropy_forward(rows, c, in[0].data(), labels->data(), saved.probabilities.data(), losses.data());
    b.sum(rows, Divide{static_cast<T>(rows)}, y.data(), std::as_const(losses).data());
    return y;
  }
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>& saved, const Tensor<B>& dy, Gradients<B>& d) const {
    if (!d.wants(0)) return;
    const Index rows = in[0].shape()[0], c = in[0].shape()[1];
    auto scale = Tensor<B>::empty(b, {1});
    b.each(1, Scale{static_cast<T>(rows)}, scale.data(), dy.data());
    auto dx = Tensor<B>::empty(b, in[0].shape());
    b.cross_entropy_backward(rows, c, saved.probabilities.data(), labels->data(), std::as_const(scale).data(), dx.data());
    d.give(0, std::move(dx));
  }
  void channels(ChannelFlow& flow) const {
    flow.freeze(0, "the classes of a cross-entropy");
    flow.barrier(1, "a loss");
  }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }
};

/// loss = mean over all elements of (a - b)^2; reduction: divided by the number of elements.
/// Shapes  a, b: any, equal; loss [1].   Channels  must stay.
struct MeanSquaredError {
  static constexpr std::string_view name = "mean_squared_error";
  template <Backend B> struct Saved {};
  template <class T> struct Term {
    T count;
    ESPALIER_HD T operator()(Index, const T& a, const T& b) const { return (a - b) * (a - b) / count; }
  };
  template <class T> struct Scale {
    T count;
    ESPALIER_HD void operator()(Index, T& scale, const T& dy) const { scale = 2 * dy / count; }
  };
  template <class T> struct Difference {  // g holds the scale before and the gradient after
    ESPALIER_HD void operator()(Index, T& g, const T& a, const T& b) const { g *= a - b; }
  };

  Shape shape(const Shapes& in) const {
    if (in[0] != in[1]) throw ShapeError(str("mean_squared_error: the operands have shapes ", in[0], " and ", in[1], "; they must be equal"));
    return {1};
  }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    using T = typename B::Scalar;
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    b.sum(in[0].count(), Term<T>{static_cast<T>(in[0].count())}, y.data(), in[0].data(), in[1].data());
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    using T = typename B::Scalar;
    const Index c = in[0].shape().channels();
    const StridedCopy everywhere{.extents = {in[0].shape().rows(), c}, .from_strides = {0, 0}, .to_strides = {c, 1}};
    auto scale = Tensor<B>::empty(b, {1});  // stays where dy is: the host never waits for it
    b.each(1, Scale<T>{static_cast<T>(in[0].count())}, scale.data(), dy.data());
    for (int i = 0; i < 2; ++i) {
      if (!d.wants(i)) continue;
      auto g = Tensor<B>::empty(b, in[0].shape());
      b.strided_copy(everywhere, std::as_const(scale).data(), g.data(), Store::assign);
      b.each(g.count(), Difference<T>{}, g.data(), in[i].data(), in[1 - i].data());
      d.give(i, std::move(g));
    }
  }
  void channels(ChannelFlow& flow) const {
    flow.freeze(0, "a squared error's operand");
    flow.freeze(1, "a squared error's operand");
    flow.barrier(1, "a loss");
  }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }
};

}  // namespace espalier::op
