// SPDX-License-Identifier: Apache-2.0
// Copies operands of products into the order in which the inner kernel reads them: B in panels of
// `tile_columns` columns, A in panels of at most `tile_rows` rows, both step by step.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include <espalier/backend/detail/simd.hpp>
#include <espalier/backend/detail/tile.hpp>
#include <espalier/backend/geometry.hpp>
#include <espalier/config.hpp>

namespace espalier::detail {

/// Floats that k rows and n columns take in panels; the last panel is padded with zeros to whole vectors.
constexpr Index packed_size(Index k, Index n) { return k * simd::padded(n); }

/// The width of the panel that starts at column j of n, in floats.
constexpr Index panel_width(Index n, Index j) { return std::min<Index>(tile_columns, simd::padded(n - j)); }

template <int offset, std::size_t... I>
[[gnu::always_inline]] inline simd::Vec interleave(simd::Vec a, simd::Vec b, std::index_sequence<I...>) {
#if ESPALIER_NVCC  // nvcc cannot pass a pack to the builtin
  return simd::Vec{(I % 2 == 0 ? a : b)[I / 2 + offset]...};
#else
  return __builtin_shufflevector(a, b, static_cast<int>(I % 2 * simd::lanes + I / 2 + offset)...);
#endif
}

/// Turns a square of vectors into its transpose: log2(lanes) perfect shuffles of the rows.
[[gnu::always_inline]] inline void transpose_square(simd::Vec (&rows)[simd::lanes]) {
  constexpr auto order = std::make_index_sequence<simd::lanes>{};
#pragma GCC unroll 8
  for (int stage = 1; stage < simd::lanes; stage *= 2) {
    simd::Vec next[simd::lanes];
#pragma GCC unroll 16
    for (int i = 0; i < simd::lanes / 2; ++i) {
      next[2 * i] = interleave<0>(rows[i], rows[i + simd::lanes / 2], order);
      next[2 * i + 1] = interleave<simd::lanes / 2>(rows[i], rows[i + simd::lanes / 2], order);
    }
#pragma GCC unroll 16
    for (int i = 0; i < simd::lanes; ++i) rows[i] = next[i];
  }
}

/// out[p * out_stride + i] = in[i * in_stride + p] for p < steps <= lanes. Rows from `rows` on count as zero; whole
/// vectors are written, p after p, so that a stride below `lanes` is filled rightly.
inline void transpose_block(const float* in, Index in_stride, Index rows, Index steps, float* out, Index out_stride) {
  simd::Vec block[simd::lanes];
  for (Index i = 0; i < simd::lanes; ++i) {
    if (i >= rows)
      block[i] = simd::Vec{};
    else
      block[i] = steps == simd::lanes ? simd::load(in + i * in_stride) : simd::load_n(in + i * in_stride, steps);
  }
  transpose_square(block);
  for (Index p = 0; p < steps; ++p) simd::store(out + p * out_stride, block[p]);
}

/// Packs B, whose element (p, j) is b[p * row_stride + j * column_stride], into panels. Panel j starts
/// at out + j * k.
inline void pack_b_panels(const float* b, Index row_stride, Index column_stride, Index k, Index n, float* out) {
  for (Index j = 0; j < n; j += tile_columns) {
    const Index width = panel_width(n, j);
    for (Index v = 0; v < width; v += simd::lanes) {
      const Index columns = std::min<Index>(simd::lanes, n - j - v);
      const float* from = b + (j + v) * column_stride;
      float* to = out + j * k + v;
      if (column_stride == 1) {
        for (Index p = 0; p < k; ++p) simd::store(to + p * width, simd::load_n(from + p * row_stride, columns));
      } else if (row_stride == 1) {
        for (Index p = 0; p < k; p += simd::lanes)
          transpose_block(from + p, column_stride, columns, std::min<Index>(simd::lanes, k - p), to + p * width, width);
      } else {
        for (Index p = 0; p < k; ++p)
          for (Index c = 0; c < simd::lanes; ++c)
            to[p * width + c] = c < columns ? from[p * row_stride + c * column_stride] : 0.0f;
      }
    }
  }
}

/// Packs `rows` rows of A, whose element (i, p) is a[i * row_stride + p * column_stride], step by step. One of the
/// strides is 1. Up to `lanes` floats behind the panel are overwritten.
inline void pack_a_panel(const float* a, Index row_stride, Index column_stride, Index rows, Index k, float* out) {
  constexpr Index lanes = simd::lanes;
  if (row_stride == 1) {
    for (Index p = 0; p < k; ++p)
      for (Index i = 0; i < rows; i += lanes)
        simd::store(out + p * rows + i, simd::load_n(a + p * column_stride + i, std::min(lanes, rows - i)));
  } else if (rows <= lanes) {
    for (Index p = 0; p < k; p += lanes)
      transpose_block(a + p, row_stride, rows, std::min(lanes, k - p), out + p * rows, rows);
  } else {
    for (Index i = 0; i < rows; ++i)
      for (Index p = 0; p < k; ++p) out[p * rows + i] = a[i * row_stride + p];
  }
}

}  // namespace espalier::detail
