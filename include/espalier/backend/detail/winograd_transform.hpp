// SPDX-License-Identifier: Apache-2.0
// The small transforms of Winograd's minimal filtering, F(2x2, 3x3) and F(4x4, 3x3), as arithmetic on
// vectors of channels. One dimension each; the two-dimensional form applies them to columns, then rows.
// Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, section 4.
#pragma once

#include <espalier/backend/detail/simd.hpp>

namespace espalier::detail {

/// Matrices of F(output, 3): a tile of `output` results comes from `size` inputs. The members multiply by
/// B^T (`input`), A^T (`output_`), A (`output_adjoint`), G (`weight`) and G^T (`weight_adjoint`).
template <int output>
struct Winograd;

template <>
struct Winograd<2> {
  static constexpr int output = 2, size = 4;
  using Vec = simd::Vec;

  static void input(const Vec* d, Vec* v) {
    v[0] = d[0] - d[2];
    v[1] = d[1] + d[2];
    v[2] = d[2] - d[1];
    v[3] = d[1] - d[3];
  }
  static void output_(const Vec* m, Vec* y) {
    y[0] = m[0] + m[1] + m[2];
    y[1] = m[1] - m[2] - m[3];
  }
  static void output_adjoint(const Vec* y, Vec* m) {
    m[0] = y[0];
    m[1] = y[0] + y[1];
    m[2] = y[0] - y[1];
    m[3] = -y[1];
  }
  static void weight(const Vec* g, Vec* u) {
    const Vec half = simd::splat(0.5f), even = half * (g[0] + g[2]), odd = half * g[1];
    u[0] = g[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = g[2];
  }
  static void weight_adjoint(const Vec* u, Vec* g) {
    const Vec half = simd::splat(0.5f), sum = half * (u[1] + u[2]);
    g[0] = u[0] + sum;
    g[1] = half * (u[1] - u[2]);
    g[2] = sum + u[3];
  }
};

template <>
struct Winograd<4> {
  static constexpr int output = 4, size = 6;
  using Vec = simd::Vec;

  static void input(const Vec* d, Vec* v) {
    const Vec two = simd::splat(2.0f), four = simd::splat(4.0f), five = simd::splat(5.0f);
    const Vec a = d[4] - four * d[2], b = d[3] - four * d[1], c = d[4] - d[2], e = two * (d[3] - d[1]);
    v[0] = four * d[0] - five * d[2] + d[4];
    v[1] = a + b;
    v[2] = a - b;
    v[3] = c + e;
    v[4] = c - e;
    v[5] = four * d[1] - five * d[3] + d[5];
  }
  static void output_(const Vec* m, Vec* y) {
    const Vec two = simd::splat(2.0f), four = simd::splat(4.0f), eight = simd::splat(8.0f);
    const Vec a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], d = m[3] - m[4];
    y[0] = m[0] + a + c;
    y[1] = b + two * d;
    y[2] = a + four * c;
    y[3] = b + eight * d + m[5];
  }
  static void output_adjoint(const Vec* y, Vec* m) {
    const Vec two = simd::splat(2.0f), four = simd::splat(4.0f);
    const Vec a = y[0] + y[2], b = y[1] + y[3], c = y[0] + four * y[2], d = two * (y[1] + four * y[3]);
    m[0] = y[0];
    m[1] = a + b;
    m[2] = a - b;
    m[3] = c + d;
    m[4] = c - d;
    m[5] = y[3];
  }
  static void weight(const Vec* g, Vec* u) {
    const Vec sixth = simd::splat(1.0f / 6), twelfth = simd::splat(1.0f / 12), quarter = simd::splat(0.25f);
    const Vec a = -sixth * (g[0] + g[2]), b = sixth * g[1], c = sixth * (quarter * g[0] + g[2]), d = twelfth * g[1];
    u[0] = quarter * g[0];
    u[1] = a - b;
    u[2] = a + b;
    u[3] = c + d;
    u[4] = c - d;
    u[5] = g[2];
  }
  static void weight_adjoint(const Vec* u, Vec* g) {
    const Vec sixth = simd::splat(1.0f / 6), twelfth = simd::splat(1.0f / 12), quarter = simd::splat(0.25f);
    const Vec a = u[1] + u[2], b = u[2] - u[1], c = u[3] + u[4], d = u[3] - u[4];
    g[0] = quarter * u[0] + sixth * (quarter * c - a);
    g[1] = sixth * b + twelfth * d;
    g[2] = sixth * (c - a) + u[5];
  }
};

/// Applies a one-dimensional transform F from n to m values to the columns, then the rows, of an n x n block whose
/// vectors `load(i, j)` gives; `put(i, j, vector)` takes the m x m results.
template <int n, int m, void (*F)(const simd::Vec*, simd::Vec*), class Load, class Put>
[[gnu::always_inline]] inline void transform_square(Load load, Put put) {
  simd::Vec half[m][n];
#pragma GCC unroll 8
  for (int j = 0; j < n; ++j) {
    simd::Vec column[n], result[m];
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) column[i] = load(i, j);
    F(column, result);
#pragma GCC unroll 8
    for (int i = 0; i < m; ++i) half[i][j] = result[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < m; ++i) {
    simd::Vec result[m];
    F(half[i], result);
#pragma GCC unroll 8
    for (int j = 0; j < m; ++j) put(i, j, result[j]);
  }
}

}  // namespace espalier::detail
