// SPDX-License-Identifier: Apache-2.0
// Copies operands of products into the order in which the inner kernel reads them: B in panels of
// `tile_columns` columns, A in panels of at most `tile_rows` rows, both step by step.
#pragma once

#include <algorithm>

#include <espalier/backend/detail/simd.hpp>
#include <espalier/backend/detail/tile.hpp>
#include <espalier/backend/geometry.hpp>

namespace espalier::detail {

/// Floats that k rows and n columns take in panels; the last panel is padded with zeros to whole vectors.
constexpr Index packed_size(Index k, Index n) { return k * simd::padded(n); }

/// The width of the panel that starts at column j of n, in floats.
constexpr Index panel_width(Index n, Index j) { return std::min<Index>(tile_columns, simd::padded(n - j)); }

/// Turns rows [0, lanes) of a block around: out[p * out_stride + i] = in[i * in_stride + p] for p < steps <= lanes;
/// rows from `rows` on count as zero, whole vectors are written.
inline void transpose_block(const float* in, Index in_stride, Index rows, Index steps, float* out, Index out_stride) {
  for (Index p = 0; p < steps; ++p)
    for (Index i = 0; i < simd::lanes; ++i) out[p * out_stride + i] = i < rows ? in[i * in_stride + p] : 0.0f;
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

/// Packs `rows` rows of A, whose element (i, p) is a[i * row_stride + p * column_stride], step by step.
inline void pack_a_panel(const float* a, Index row_stride, Index column_stride, Index rows, Index k, float* out) {
  if (row_stride == 1) {
    for (Index p = 0; p < k; ++p)
      for (Index i = 0; i < rows; ++i) out[p * rows + i] = a[p * column_stride + i];
  } else {
    for (Index i = 0; i < rows; ++i)
      for (Index p = 0; p < k; ++p) out[p * rows + i] = a[i * row_stride + p * column_stride];
  }
}

}  // namespace espalier::detail
