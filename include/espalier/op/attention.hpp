// SPDX-License-Identifier: Apache-2.0
// What a transformer encoder needs: embedding, attention scores (a value of their own, for layer-wise
// distillation), row softmax, and the weighted sum of values.
#pragma once

#include <cmath>

#include <espalier/autograd/op.hpp>

namespace espalier::op {

/// y[i] = table[ids[i]].
/// Shapes    table [V, D], ids [...] with values in [0, V), y [..., D].
/// Channels  must stay (embeddings are pruned by distillation, not here).
/// The ids must outlive the backward pass.
template <Backend B>
struct Embedding {
  const Ids<B>* ids = nullptr;

  static constexpr std::string_view name = "embedding";
  template <Backend> struct Saved {};

  Shape shape(const Shapes& in) const {
    if (in[0].rank() != 2) throw ShapeError(str("embedding: the table has shape ", in[0], "; needed are two axes, [vocabulary, width]"));
    std::array<Index, Shape::max_rank> extents{};
    const int rank = ids->shape().rank();
    if (rank + 1 > Shape::max_rank) throw ShapeError("embedding: the ids have too many axes");
    for (int i = 0; i < rank; ++i) extents[static_cast<std::size_t>(i)] = ids->shape()[i];
    extents[static_cast<std::size_t>(rank)] = in[0][1];
    return Shape(std::span<const Index>(extents.data(), static_cast<std::size_t>(rank) + 1));
  }
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    b.gather_rows(ids->count(), y.shape().channels(), in[0].data(), ids->data(), y.data());
    return y;
  }
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    if (!d.wants(0)) return;
    auto [dtable, store] = d.target(0);
    if (store == Store::assign) b.fill(dtable.data(), dtable.count(), typename B::Scalar{0});
    b.scatter_add_rows(ids->count(), in[0].shape()[1], dy.data(), ids->data(), dtable.data());
  }
  void channels(ChannelFlow& flow) const { flow.barrier(flow.shape(0)[1], "an embedding's width"); }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }
};

namespace detail {

// The sizes of attention over x [N, T, D] with `heads` heads.
struct HeadSizes {
  Index n, t, width, heads, head_width;
  static HeadSizes of(const Shape& x, Index heads, std::string_view name) {
    if (x.rank() != 3 || heads < 1 || x[2] % heads != 0)
      throw ShapeError(str(name, ": the input has shape ", x, " for ", heads, " heads; needed are three axes, [N, T, width], with width divisible by the heads"));
    return {x[0], x[1], x[2], heads, x[2] / heads};
  }
};

template <class T>
struct ScaleBy {
  T factor;
  ESPALIER_HD void operator()(Index, T& x) const { x *= factor; }
};

inline constexpr std::string_view heads_stay = "attention heads are removed whole, not by channel";

}  // namespace detail

/// scores[n, a, i, j] = q_a[n, i] . k_a[n, j] / sqrt(D / heads) + key_bias[n, j]   (Vaswani et al. 2017, 3.2.1):
/// the scores before the softmax, as TinyBERT compares them.
/// Shapes    q, k [N, T, D], key_bias [N, T] (0 for a token, very negative for padding; may be null),
///           scores [N, heads, T, T].
/// Channels  must stay.
template <Backend B>
struct AttentionScores {
  Index heads = 1;
  const Tensor<B>* key_bias = nullptr;

  static constexpr std::string_view name = "attention_scores";
  template <Backend> struct Saved {};
  using T = typename B::Scalar;

  Shape shape(const Shapes& in) const {
    const auto s = detail::HeadSizes::of(in[0], heads, name);
    if (in[1] != in[0]) throw ShapeError(str("attention_scores: queries have shape ", in[0], ", keys ", in[1], "; they must be equal"));
    if (key_bias != nullptr && key_bias->shape() != Shape{s.n, s.t})
      throw ShapeError(str("attention_scores: the key bias has shape ", key_bias->shape(), "; needed is ", Shape{s.n, s.t}));
    return {s.n, s.heads, s.t, s.t};
  }
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    const auto s = detail::HeadSizes::of(in[0].shape(), heads, name);
    for (Index n = 0; n < s.n; ++n)
      b.gemm_batched({.m = s.t, .n = s.t, .k = s.head_width, .b = Transpose::yes, .lda = s.width, .ldb = s.width, .ldc = s.t}, s.heads,
                     in[0].data() + n * s.t * s.width, s.head_width, in[1].data() + n * s.t * s.width, s.head_width,
                     y.data() + n * s.heads * s.t * s.t, s.t * s.t, Store::assign);
    b.each(y.count(), detail::ScaleBy<T>{scale(s)}, y.data());
    if (key_bias != nullptr)
      b.strided_copy({.extents = y.shape(), .from_strides = {s.t, 0, 0, 1}, .to_strides = {s.heads * s.t * s.t, s.t * s.t, s.t, 1}},
                     key_bias->data(), y.data(), Store::add);
    return y;
  }
  // dq = dscores k / sqrt(d),  dk = dscores^T q / sqrt(d), head by head.
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    const auto s = detail::HeadSizes::of(in[0].shape(), heads, name);
    for (int i = 0; i < 2; ++i) {
      if (!d.wants(i)) continue;
      auto g = Tensor<B>::empty(b, in[0].shape());
      for (Index n = 0; n < s.n; ++n)
        b.gemm_batched({.m = s.t, .n = s.head_width, .k = s.t, .a = i == 0 ? Transpose::no : Transpose::yes, .lda = s.t, .ldb = s.width, .ldc = s.width},
                       s.heads, dy.data() + n * s.heads * s.t * s.t, s.t * s.t, in[1 - i].data() + n * s.t * s.width, s.head_width,
                       g.data() + n * s.t * s.width, s.head_width, Store::assign);
      b.each(g.count(), detail::ScaleBy<T>{scale(s)}, g.data());
      d.give(i, std::move(g));
    }
  }
  void channels(ChannelFlow& flow) const {
    flow.freeze(0, detail::heads_stay);
    flow.freeze(1, detail::heads_stay);
    flow.barrier(flow.shape(0)[1], detail::heads_stay);
  }
  OpCost cost(const Shapes& in, const Shape& y) const { return {.multiply_adds = y.count() * in[0].channels() / heads}; }

 private:
  static T scale(const detail::HeadSizes& s) { return static_cast<T>(1 / std::sqrt(static_cast<double>(s.head_width))); }
};

/// y = softmax over the last axis.   Shapes  x, y: any, equal.   Channels  must stay: each depends on all.
struct Softmax {
  static constexpr std::string_view name = "softmax";
  template <Backend B> struct Saved {};

  Shape shape(const Shapes& in) const { return in[0]; }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, in[0].shape());
    b.softmax_forward(y.shape().rows(), y.shape().channels(), in[0].data(), y.data());
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>& y, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    if (!d.wants(0)) return;
    auto dx = Tensor<B>::empty(b, in[0].shape());
    b.softmax_backward(y.shape().rows(), y.shape().channels(), y.data(), dy.data(), dx.data());
    d.give(0, std::move(dx));
  }
  void channels(ChannelFlow& flow) const {
    flow.freeze(0, "a softmax over the channels depends on all of them");
    flow.barrier(flow.shape(0).channels(), "a softmax over the channels depends on all of them");
  }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }
};

/// y_a[n, i] = sum over j of probabilities[n, a, i, j] v_a[n, j].
/// Shapes  probabilities [N, heads, T, T], v [N, T, D], y [N, T, D].   Channels  must stay.
struct AttentionApply {
  Index heads = 1;

  static constexpr std::string_view name = "attention_apply";
  template <Backend B> struct Saved {};

  Shape shape(const Shapes& in) const {
    const auto s = detail::HeadSizes::of(in[1], heads, name);
    if (in[0] != Shape{s.n, s.heads, s.t, s.t})
      throw ShapeError(str("attention_apply: the probabilities have shape ", in[0], "; needed is ", Shape{s.n, s.heads, s.t, s.t}));
    return in[1];
  }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    product(b, in[0], Transpose::no, in[1], y);
    return y;
  }
  // dprobabilities = dy v^T,  dv = probabilities^T dy, head by head.
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    const auto s = detail::HeadSizes::of(in[1].shape(), heads, name);
    if (d.wants(0)) {
      auto g = Tensor<B>::empty(b, in[0].shape());
      for (Index n = 0; n < s.n; ++n)
        b.gemm_batched({.m = s.t, .n = s.t, .k = s.head_width, .b = Transpose::yes, .lda = s.width, .ldb = s.width, .ldc = s.t}, s.heads,
                       dy.data() + n * s.t * s.width, s.head_width, in[1].data() + n * s.t * s.width, s.head_width,
                       g.data() + n * s.heads * s.t * s.t, s.t * s.t, Store::assign);
      d.give(0, std::move(g));
    }
    if (d.wants(1)) {
      auto g = Tensor<B>::empty(b, in[1].shape());
      product(b, in[0], Transpose::yes, dy, g);
      d.give(1, std::move(g));
    }
  }
  void channels(ChannelFlow& flow) const {
    flow.freeze(1, detail::heads_stay);
    flow.barrier(flow.shape(1).channels(), detail::heads_stay);
  }
  OpCost cost(const Shapes& in, const Shape& y) const { return {.multiply_adds = y.count() * in[1][1]}; }

 private:
  template <Backend B>
  void product(B& b, const Tensor<B>& probabilities, Transpose transpose, const Tensor<B>& v, Tensor<B>& y) const {
    const auto s = detail::HeadSizes::of(v.shape(), heads, name);
    for (Index n = 0; n < s.n; ++n)
      b.gemm_batched({.m = s.t, .n = s.head_width, .k = s.t, .a = transpose, .lda = s.t, .ldb = s.width, .ldc = s.width}, s.heads,
                     probabilities.data() + n * s.heads * s.t * s.t, s.t * s.t, v.data() + n * s.t * s.width, s.head_width,
                     y.data() + n * s.t * s.width, s.head_width, Store::assign);
  }
};

}  // namespace espalier::op
