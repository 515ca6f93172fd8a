// SPDX-License-Identifier: Apache-2.0
// The contract of a backend: where memory lives and who runs the kernels. The level is chosen so
// that a backend can be fast (whole products, convolutions, normalisations), and small enough that
// `Reference` says in obvious loops what every line means.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <optional>
#include <span>

#include <espalier/backend/geometry.hpp>
#include <espalier/backend/shape.hpp>

namespace espalier {

/// A value or none. As std::optional, but the value always exists: g++ 12 takes reads of an optional
/// pointer for reads of uninitialised memory and says so in every user's build.
template <class T>
class Maybe {
 public:
  Maybe() = default;
  Maybe(T value) : value_(value), present_(true) {}
  explicit operator bool() const { return present_; }
  const T& operator*() const { return value_; }

 private:
  T value_{};
  bool present_ = false;
};

/// Applied to a product or convolution before it is stored: y = activation(result + bias[channel]).
/// With Store::add the sum with the old content comes first.
template <class B>
struct Epilogue {
  Maybe<typename B::template Pointer<const typename B::Scalar>> bias{};
  Activation activation = Activation::none;
};

/// Applied after a normalisation: y = activation(normalised + residual).
template <class B>
struct AfterNorm {
  Maybe<typename B::template Pointer<const typename B::Scalar>> residual{};
  Activation activation = Activation::none;
};

/// A general copy between two strided arrays of the same extents (rank at most Shape::max_rank):
/// to[sum_i index_i * to_strides_i] (+)= from[sum_i index_i * from_strides_i].
struct StridedCopy {
  Shape extents;
  std::array<Index, Shape::max_rank> from_strides{};
  std::array<Index, Shape::max_rank> to_strides{};
};

/// The same copy without axes of one element, and with axes joined that follow each other in both arrays: a map of one
/// channel is flattened by a plain copy.
inline StridedCopy simplified(const StridedCopy& c) {
  StridedCopy s;
  std::array<Index, Shape::max_rank> extents{};
  std::size_t rank = 0;
  for (std::size_t axis = 0; axis < static_cast<std::size_t>(c.extents.rank()); ++axis) {
    const Index extent = c.extents[static_cast<int>(axis)], from = c.from_strides[axis], to = c.to_strides[axis];
    if (extent == 1) continue;
    if (rank > 0 && s.from_strides[rank - 1] == from * extent && s.to_strides[rank - 1] == to * extent) {
      extents[rank - 1] *= extent;
    } else {
      extents[rank++] = extent;
    }
    s.from_strides[rank - 1] = from;
    s.to_strides[rank - 1] = to;
  }
  s.extents = Shape(std::span<const Index>(extents.data(), rank));
  return s;
}

/// A Backend says where memory lives and runs the kernels.
///
/// Meaning. A backend is a move-only value built from an options aggregate. Everything that computes
/// takes it by reference. Tensors keep their memory alive, but belong to the thread of their backend.
///
/// Memory
///   B::Scalar                    the element type of weights, activations and gradients
///   B::Compute                   the type that products are computed in; may be narrower (bf16)
///   B::Pointer<T>                a place in the backend's memory: regular, `p + n`, converts to
///                                Pointer<const T>; the host must not look through it
///   B::Buffer<T>                 owns `size()` elements at `data()`; copying copies the elements
///   allocate<T>(n)               a Buffer of n *uninitialised* elements, 64-byte aligned
///   upload(span, p), download(p, span), copy(from, to, n), fill(p, n, value)
/// Element-wise, with named functors whose call operator is ESPALIER_HD
///   each(n, f, p...)             f(i, p[i]...) for i in [0, n), in any order; arguments by reference
///   sum(n, f, out, p...)         *out = sum over i of f(i, p[i]...), accumulated in double
///   strided_copy(c, from, to, store)
///   column_sums(rows, cols, x, out, store)             out[c] (+)= sum over r of x[r, c]
/// Products (row-major; see GemmShape)
///   gemm(shape, a, b, c, store, epilogue)
///   gemm_batched(shape, batch, a, stride_a, b, stride_b, c, stride_c, store)
/// Convolutions (x, y channels-last; weights [kernel_h, kernel_w, in / groups, out])
///   conv_forward(shape, x, w, y, epilogue, prepared)    `prepared` may be null
///   conv_backward_input(shape, dy, w, dx, store)
///   conv_backward_weights(shape, x, dy, dw, store)
///   B::PreparedConv, prepare_conv(shape, w)             weights packed once, for inference
/// Normalisation over `rows` rows of c channels; variances are the biased ones
///   batch_norm_train(rows, c, eps, x, gamma, beta, y, mean, var, after)
///   batch_norm_apply(rows, c, eps, x, gamma, beta, mean, var, y, after)
///   batch_norm_backward(rows, c, eps, statistics, x, gamma, mean, var, y, after, dy, dx, dgamma, dbeta, dresidual)
///   layer_norm_forward(rows, c, eps, x, gamma, beta, y, mean, inv_std)
///   layer_norm_backward(rows, c, x, gamma, mean, inv_std, dy, dx, dgamma, dbeta)
/// Rows
///   softmax_forward(rows, c, x, y), softmax_backward(rows, c, y, dy, dx)
///   cross_entropy_forward(rows, c, logits, labels, probabilities, losses)
///   cross_entropy_backward(rows, c, probabilities, labels, scale, dlogits)
///   gather_rows(n, c, table, ids, out), scatter_add_rows(n, c, dout, ids, dtable)
/// Pooling
///   max_pool_forward(shape, x, y, argmax), max_pool_backward(shape, dy, argmax, dx)
///   avg_pool_forward(shape, x, y), avg_pool_backward(shape, dy, dx)
///
/// Laws. Every result agrees with BasicReference<double> within the tolerances of
/// tests/conformance/backend.hpp, which is the suite that a new backend must pass. Equal inputs give
/// equal bits, for any number of threads.
///
/// Not required: that memory is readable by the host, or that calls have finished when they return;
/// `download` is where the host waits.
///
/// Models      BasicReference<T>, EigenCpu.        Archetype   tests/archetypes/opaque_backend.hpp
template <class B>
concept Backend = std::movable<B> && !std::copyable<B> &&
    requires(B& b, Index n, typename B::Scalar value,
             typename B::template Pointer<typename B::Scalar> out,
             typename B::template Pointer<const typename B::Scalar> in,
             typename B::template Pointer<std::int32_t> out_ids,
             typename B::template Pointer<const std::int32_t> ids,
             std::span<const typename B::Scalar> from_host, std::span<typename B::Scalar> to_host,
             GemmShape gemm, ConvShape conv, PoolShape pool, StridedCopy strided, Store store, Statistics statistics, double eps,
             Epilogue<B> epilogue, AfterNorm<B> after, const typename B::PreparedConv* prepared) {
      typename B::Compute;
      { b.template allocate<typename B::Scalar>(n).data() } -> std::convertible_to<decltype(out)>;
      { out + n } -> std::convertible_to<decltype(in)>;
      b.upload(from_host, out);
      b.download(in, to_host);
      b.copy(in, out, n);
      b.fill(out, n, value);
      b.strided_copy(strided, in, out, store);
      b.column_sums(n, n, in, out, store);
      b.gemm(gemm, in, in, out, store, epilogue);
      b.gemm_batched(gemm, n, in, n, in, n, out, n, store);
      b.conv_forward(conv, in, in, out, epilogue, prepared);
      b.conv_backward_input(conv, in, in, out, store);
      b.conv_backward_weights(conv, in, in, out, store);
      { b.prepare_conv(conv, in) } -> std::same_as<typename B::PreparedConv>;
      b.batch_norm_train(n, n, eps, in, in, in, out, out, out, after);
      b.batch_norm_apply(n, n, eps, in, in, in, in, in, out, after);
      b.batch_norm_backward(n, n, eps, statistics, in, in, in, in, in, after, in, out, out, out, Maybe{out});
      b.layer_norm_forward(n, n, eps, in, in, in, out, out, out);
      b.layer_norm_backward(n, n, in, in, in, in, in, out, out, out);
      b.softmax_forward(n, n, in, out);
      b.softmax_backward(n, n, in, in, out);
      b.cross_entropy_forward(n, n, in, ids, out, out);
      b.cross_entropy_backward(n, n, in, ids, in, out);
      b.gather_rows(n, n, in, ids, out);
      b.scatter_add_rows(n, n, in, ids, out);
      b.max_pool_forward(pool, in, out, out_ids);
      b.max_pool_backward(pool, in, ids, out);
      b.avg_pool_forward(pool, in, out);
      b.avg_pool_backward(pool, in, out);
    };

}  // namespace espalier
