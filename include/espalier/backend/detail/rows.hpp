// SPDX-License-Identifier: Apache-2.0
// Layer norm, softmax and cross entropy of rows by themselves, by Eigen's vectorised functions. Rows are dealt out in
// blocks that depend on the sizes alone.
#pragma once

// Eigen must neither thread nor split its work by itself: that would change bits with the threads.
#ifndef EIGEN_DONT_PARALLELIZE
#define EIGEN_DONT_PARALLELIZE
#endif
#if defined(__GNUC__) && !defined(__clang__)  // g++ 12 warns of its own AVX-512 header, which Eigen brings in
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <Eigen/Core>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include <cmath>
#include <cstdint>

#include <espalier/backend/detail/norm.hpp>

namespace espalier::detail {

using Row = Eigen::Map<const Eigen::ArrayXf>;
using MutableRow = Eigen::Map<Eigen::ArrayXf>;

/// f(row) for every row.
template <class F>
void for_each_row(ThreadPool& pool, Index rows, Index c, F f) {
  const RowBlocks blocks(rows, c);
  pool.run(blocks.count, [&](Index block, int) {
    for (Index i = blocks.begin(block); i < blocks.end(block); ++i) f(i);
  });
}

inline void layer_norm_forward(ThreadPool& pool, Index rows, Index c, double eps, const float* x, const float* gamma, const float* beta, float* y, float* mean,
                               float* inv_std) {
  const Row scale(gamma, c), shift(beta, c);
  for_each_row(pool, rows, c, [&](Index i) {
    const Row in(x + i * c, c);
    const float centre = in.mean();
    const float inverse = static_cast<float>(1 / std::sqrt(static_cast<double>((in - centre).square().mean()) + eps));
    MutableRow(y + i * c, c) = (in - centre) * inverse * scale + shift;
    mean[i] = centre;
    inv_std[i] = inverse;
  });
}

/// The parameters' gradients are column sums of dy * xhat and dy; dx is used for the first on the way.
inline void layer_norm_backward(ThreadPool& pool, Workspace& ws, Index rows, Index c, const float* x, const float* gamma, const float* mean, const float* inv_std,
                                const float* dy, float* dx, float* dgamma, float* dbeta) {
  for_each_row(pool, rows, c, [&](Index i) {
    MutableRow(dx + i * c, c) = Row(dy + i * c, c) * (Row(x + i * c, c) - mean[i]) * inv_std[i];
  });
  column_sums(pool, ws, rows, c, dx, dgamma, false);
  column_sums(pool, ws, rows, c, dy, dbeta, false);
  const Row scale(gamma, c);
  for_each_row(pool, rows, c, [&](Index i) {
    const Row g(dy + i * c, c), in(x + i * c, c);
    const float first = (g * scale).mean();
    const float second = (g * scale * (in - mean[i])).mean() * inv_std[i];
    MutableRow(dx + i * c, c) = (g * scale - first - (in - mean[i]) * (inv_std[i] * second)) * inv_std[i];
  });
}

inline void softmax_forward(ThreadPool& pool, Index rows, Index c, const float* x, float* y) {
  for_each_row(pool, rows, c, [&](Index i) {
    const Row in(x + i * c, c);
    MutableRow out(y + i * c, c);
    out = (in - in.maxCoeff()).exp();
    out *= 1 / out.sum();
  });
}
inline void softmax_backward(ThreadPool& pool, Index rows, Index c, const float* y, const float* dy, float* dx) {
  for_each_row(pool, rows, c, [&](Index i) {
    const Row p(y + i * c, c), g(dy + i * c, c);
    MutableRow(dx + i * c, c) = p * (g - (p * g).sum());
  });
}

inline void cross_entropy_forward(ThreadPool& pool, Index rows, Index c, const float* logits, const std::int32_t* labels, float* probabilities, float* losses) {
  for_each_row(pool, rows, c, [&](Index i) {
    const Row in(logits + i * c, c);
    MutableRow out(probabilities + i * c, c);
    const float largest = in.maxCoeff();
    out = (in - largest).exp();
    const float total = out.sum();
    out *= 1 / total;
    losses[i] = std::log(total) + largest - in[labels[i]];
  });
}
inline void cross_entropy_backward(ThreadPool& pool, Index rows, Index c, const float* probabilities, const std::int32_t* labels, const float* scale, float* dlogits) {
  for_each_row(pool, rows, c, [&](Index i) {
    MutableRow out(dlogits + i * c, c);
    out = Row(probabilities + i * c, c) * *scale;
    out[labels[i]] -= *scale;
  });
}

}  // namespace espalier::detail
