// SPDX-License-Identifier: Apache-2.0
// Batch norm and column sums over row-major rows of c channels, vectorised over the
// channels. Rows are cut into blocks that depend on the sizes alone; statistics are merged in block
// order in double, so that the bits do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cmath>

#include <espalier/backend/detail/simd.hpp>
#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/backend/detail/workspace.hpp>

namespace espalier::detail {

/// Blocks of rows of about 64 KiB.
struct RowBlocks {
  Index rows, step, count;
  RowBlocks(Index rows_, Index c) : rows(rows_), step(std::max<Index>(1, 16384 / std::max<Index>(c, 1))), count((rows_ + step - 1) / step) {}
  Index begin(Index block) const { return block * step; }
  Index end(Index block) const { return std::min(rows, (block + 1) * step); }
};

/// f(first channel, channels) over c in whole vectors, then the rest.
template <class F>
[[gnu::always_inline]] inline void for_each_lane_group(Index c, F f) {
  Index j = 0;
  for (; j + simd::lanes <= c; j += simd::lanes) f(j, std::true_type{});
  if (j < c) f(j, std::false_type{});
}

[[gnu::always_inline]] inline simd::Vec load_lanes(const float* p, Index, std::true_type) { return simd::load(p); }
[[gnu::always_inline]] inline simd::Vec load_lanes(const float* p, Index n, std::false_type) { return simd::load_n(p, n); }
[[gnu::always_inline]] inline void store_lanes(float* p, simd::Vec v, Index, std::true_type) { simd::store(p, v); }
[[gnu::always_inline]] inline void store_lanes(float* p, simd::Vec v, Index n, std::false_type) { simd::store_n(p, v, n); }

/// out[j] (+)= sum over rows of x[i, j].
inline void column_sums(ThreadPool& pool, Workspace& ws, Index rows, Index c, const float* x, float* out, bool add) {
  const RowBlocks blocks(rows, c);
  const Index stride = simd::padded(c);
  float* partial = ws.shared<float>(7, std::max<Index>(1, blocks.count * stride));
  pool.run(blocks.count, [&](Index block, int) {
    for_each_lane_group(c, [&](Index j, auto whole) {
      simd::Vec sum{};
      for (Index i = blocks.begin(block); i < blocks.end(block); ++i) sum += load_lanes(x + i * c + j, c - j, whole);
      simd::store(partial + block * stride + j, sum);
    });
  });
  for (Index j = 0; j < c; ++j) {
    double total = add ? static_cast<double>(out[j]) : 0.0;
    for (Index block = 0; block < blocks.count; ++block) total += static_cast<double>(partial[block * stride + j]);
    out[j] = static_cast<float>(total);
  }
}

/// mean[j] and biased var[j] of x's columns, in one pass over memory: each block's own mean and sum of
/// squared deviations, merged pairwise (Chan, Golub & LeVeque 1983).
inline void column_moments(ThreadPool& pool, Workspace& ws, Index rows, Index c, const float* x, float* mean, float* var) {
  const RowBlocks blocks(rows, c);
  const Index stride = simd::padded(c);
  float* partial = ws.shared<float>(7, std::max<Index>(1, 2 * blocks.count * stride));
  pool.run(blocks.count, [&](Index block, int) {
    const Index from = blocks.begin(block), to = blocks.end(block);
    const simd::Vec share = simd::splat(1.0f / static_cast<float>(to - from));
    for_each_lane_group(c, [&](Index j, auto whole) {
      simd::Vec sum{}, squares{};
      for (Index i = from; i < to; ++i) sum += load_lanes(x + i * c + j, c - j, whole);
      const simd::Vec centre = sum * share;
      for (Index i = from; i < to; ++i) {
        const simd::Vec d = load_lanes(x + i * c + j, c - j, whole) - centre;
        squares += d * d;
      }
      simd::store(partial + 2 * block * stride + j, centre);
      simd::store(partial + (2 * block + 1) * stride + j, squares);
    });
  });
  for (Index j = 0; j < c; ++j) {
    double count = 0, centre = 0, squares = 0;
    for (Index block = 0; block < blocks.count; ++block) {
      const auto n = static_cast<double>(blocks.end(block) - blocks.begin(block));
      const double d = static_cast<double>(partial[2 * block * stride + j]) - centre;
      squares += static_cast<double>(partial[(2 * block + 1) * stride + j]) + d * d * count * n / (count + n);
      centre += d * n / (count + n);
      count += n;
    }
    mean[j] = static_cast<float>(centre);
    var[j] = static_cast<float>(squares / static_cast<double>(rows));
  }
}

/// y = act(x * scale + shift + residual) with scale = gamma / sqrt(var + eps), shift = beta - mean * scale.
inline void batch_norm_apply(ThreadPool& pool, Workspace& ws, Index rows, Index c, double eps, const float* x, const float* gamma, const float* beta,
                             const float* mean, const float* var, float* y, const float* residual, bool relu) {
  const RowBlocks blocks(rows, c);
  const Index stride = simd::padded(c);
  float* scale = ws.shared<float>(6, 2 * stride);
  float* shift = scale + stride;
  for (Index j = 0; j < c; ++j) {
    const double s = static_cast<double>(gamma[j]) / std::sqrt(static_cast<double>(var[j]) + eps);
    scale[j] = static_cast<float>(s);
    shift[j] = static_cast<float>(static_cast<double>(beta[j]) - static_cast<double>(mean[j]) * s);
  }
  pool.run(blocks.count, [&](Index block, int) {
    for_each_lane_group(c, [&](Index j, auto whole) {
      const simd::Vec a = load_lanes(scale + j, c - j, whole), b = load_lanes(shift + j, c - j, whole);
      for (Index i = blocks.begin(block); i < blocks.end(block); ++i) {
        simd::Vec v = load_lanes(x + i * c + j, c - j, whole) * a + b;
        if (residual != nullptr) v += load_lanes(residual + i * c + j, c - j, whole);
        store_lanes(y + i * c + j, relu ? simd::relu(v) : v, c - j, whole);
      }
    });
  });
}

/// See BasicReference::batch_norm_backward. `y` is read only if relu.
inline void batch_norm_backward(ThreadPool& pool, Workspace& ws, Index rows, Index c, double eps, bool batch_statistics, const float* x, const float* gamma,
                                const float* mean, const float* var, const float* y, bool relu, const float* dy, float* dx, float* dgamma,
                                float* dbeta, float* dresidual) {
  const RowBlocks blocks(rows, c);
  const Index stride = simd::padded(c);
  float* partial = ws.shared<float>(7, std::max<Index>(1, 2 * blocks.count * stride));
  const auto passed = [&](Index at, Index n, auto whole) {
    const simd::Vec g = load_lanes(dy + at, n, whole);
    if (!relu) return g;
    const simd::Vec zero{};
    return load_lanes(y + at, n, whole) > zero ? g : zero;
  };
  pool.run(blocks.count, [&](Index block, int) {
    for_each_lane_group(c, [&](Index j, auto whole) {
      const simd::Vec centre = load_lanes(mean + j, c - j, whole);
      simd::Vec sum{}, dot{};
      for (Index i = blocks.begin(block); i < blocks.end(block); ++i) {
        const simd::Vec g = passed(i * c + j, c - j, whole);
        sum += g;
        dot += g * (load_lanes(x + i * c + j, c - j, whole) - centre);
      }
      simd::store(partial + 2 * block * stride + j, sum);
      simd::store(partial + (2 * block + 1) * stride + j, dot);
    });
  });
  // dx = a g - k1 - k2 (x - mean): the three coefficients of each channel.
  float* coefficient = ws.shared<float>(6, 3 * stride);
  for (Index j = 0; j < c; ++j) {
    double sum = 0, dot = 0;
    for (Index block = 0; block < blocks.count; ++block) {
      sum += static_cast<double>(partial[2 * block * stride + j]);
      dot += static_cast<double>(partial[(2 * block + 1) * stride + j]);
    }
    const double inv_std = 1 / std::sqrt(static_cast<double>(var[j]) + eps), a = static_cast<double>(gamma[j]) * inv_std;
    const double n = static_cast<double>(rows);
    dgamma[j] = static_cast<float>(dot * inv_std);
    dbeta[j] = static_cast<float>(sum);
    coefficient[j] = static_cast<float>(a);
    coefficient[stride + j] = batch_statistics ? static_cast<float>(a * sum / n) : 0.0f;
    coefficient[2 * stride + j] = batch_statistics ? static_cast<float>(a * dot * inv_std * inv_std / n) : 0.0f;
  }
  pool.run(blocks.count, [&](Index block, int) {
    for_each_lane_group(c, [&](Index j, auto whole) {
      const simd::Vec centre = load_lanes(mean + j, c - j, whole), a = load_lanes(coefficient + j, c - j, whole),
                      k1 = load_lanes(coefficient + stride + j, c - j, whole), k2 = load_lanes(coefficient + 2 * stride + j, c - j, whole);
      for (Index i = blocks.begin(block); i < blocks.end(block); ++i) {
        const simd::Vec g = passed(i * c + j, c - j, whole);
        if (dresidual != nullptr) store_lanes(dresidual + i * c + j, g, c - j, whole);
        store_lanes(dx + i * c + j, g * a - k1 - (load_lanes(x + i * c + j, c - j, whole) - centre) * k2, c - j, whole);
      }
    });
  });
}

}  // namespace espalier::detail
