// SPDX-License-Identifier: Apache-2.0
// The one inner kernel of products and convolutions: a tile of C kept in registers while A and B
// stream by. Its operands are described by strides, so that packed panels, matrices in place, and
// the rows of an image are all the same case.
#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include <espalier/backend/detail/simd.hpp>
#include <espalier/backend/geometry.hpp>

namespace espalier::detail {

/// Applied before a result is stored: c = activation(result + bias[column]). With Store::add the sum
/// with the old content comes first.
struct Epilogue {
  const float* bias = nullptr;
  Activation activation = Activation::none;
};

/// Rows and columns of the register tile: as many accumulators as the registers hold beside the
/// operands (32 registers with AVX-512 and Arm, else 16).
#if defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int tile_rows = 14;
#else
inline constexpr int tile_rows = 6;
#endif
inline constexpr int tile_vectors = 2;
inline constexpr int tile_columns = tile_vectors * simd::lanes;

/// Whether row i, step p of A is at a[i * a_stride + p] or at a[p * a_stride + i].
enum class ALayout { rows, columns };

/// One tile: c[i, j] (+)= sum over r < runs, p < k of A_r[i, p] * B_r[p, j], where A_r and B_r start
/// a_run and b_run elements after A_(r-1) and B_(r-1), and B_r[p, j] is at b[p * b_stride + j].
/// B is read in whole vectors; `columns` of C are written.
struct Tile {
  const float* a = nullptr;
  const float* b = nullptr;
  float* c = nullptr;
  Index a_stride = 0, a_run = 0;
  Index b_stride = 0, b_run = 0;
  Index c_stride = 0;
  Index k = 0, runs = 1;
  Index columns = 0;
  bool add = false;
  Epilogue epilogue{};
};

template <ALayout layout, int rows, int vectors>
void compute_tile(const Tile& t) {
  using simd::Vec, simd::lanes;
  Vec sum[rows][vectors];
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) sum[i][j] = Vec{};
  }
  const float* a_run = t.a;
  const float* b_run = t.b;
  const Index a_stride = t.a_stride, b_stride = t.b_stride, k = t.k;
  for (Index r = 0; r < t.runs; ++r, a_run += t.a_run, b_run += t.b_run) {
    const float* a = a_run;
    const float* b = b_run;
    for (Index p = 0; p < k; ++p, b += b_stride) {
      Vec column[vectors];
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j) column[j] = simd::load(b + j * lanes);
#pragma GCC unroll 16
      for (int i = 0; i < rows; ++i) {
        const Vec x = simd::splat(layout == ALayout::rows ? a[i * a_stride] : a[i]);
#pragma GCC unroll 4
        for (int j = 0; j < vectors; ++j) sum[i][j] = sum[i][j] + x * column[j];
      }
      a += layout == ALayout::rows ? 1 : a_stride;
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < vectors; ++j) {
    const Index width = std::clamp<Index>(t.columns - j * lanes, 0, lanes);
    float* c = t.c + j * lanes;
    Vec bias{};
    if (t.epilogue.bias != nullptr) bias = simd::load_n(t.epilogue.bias + j * lanes, width);
    const bool cut = t.epilogue.activation == Activation::relu;
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i, c += t.c_stride) {
      Vec v = sum[i][j];
      if (t.add) v = simd::load_n(c, width) + v;
      v = v + bias;
      if (cut) v = simd::relu(v);
      simd::store_n(c, v, width);
    }
  }
}

using TileKernel = void (*)(const Tile&);

template <ALayout layout, int vectors, std::size_t... I>
constexpr std::array<TileKernel, sizeof...(I)> tile_kernels(std::index_sequence<I...>) {
  return {&compute_tile<layout, static_cast<int>(I) + 1, vectors>...};
}

/// The kernel for a number of rows in [1, tile_rows] and of columns in [1, tile_columns].
template <ALayout layout>
inline TileKernel tile_kernel(Index rows, Index columns) {
  static constexpr auto narrow = tile_kernels<layout, 1>(std::make_index_sequence<tile_rows>{});
  static constexpr auto wide = tile_kernels<layout, tile_vectors>(std::make_index_sequence<tile_rows>{});
  const auto i = static_cast<std::size_t>(rows - 1);
  return columns <= simd::lanes ? narrow[i] : wide[i];
}

constexpr Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }
constexpr Index round_up(Index a, Index b) { return ceil_div(a, b) * b; }

/// `count` things in `pieces` runs whose sizes differ by at most one.
struct Pieces {
  Index count = 0, pieces = 1;
  static constexpr Pieces at_most(Index n, Index size) { return {n, std::max<Index>(1, ceil_div(n, size))}; }
  constexpr Index begin(Index i) const { return count / pieces * i + std::min(i, count % pieces); }
  constexpr Index size(Index i) const { return count / pieces + (i < count % pieces ? 1 : 0); }
};

}  // namespace espalier::detail
