// SPDX-License-Identifier: Apache-2.0
// Products of row-major matrices, single, batched, and with a B packed beforehand. The work is cut
// into blocks that depend on the shape alone, and long sums are split and added in a fixed order, so
// every number of threads gives the same bits.
#pragma once

#include <algorithm>

#include <espalier/backend/detail/gemm_blocks.hpp>
#include <espalier/backend/detail/pack.hpp>
#include <espalier/backend/detail/simd.hpp>
#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/backend/detail/tile.hpp>
#include <espalier/backend/detail/workspace.hpp>
#include <espalier/backend/geometry.hpp>

namespace espalier::detail {

/// B in panels, packed once and used by many products of the same k and n. Move-only.
class PackedB {
 public:
  PackedB() = default;
  PackedB(Index k, Index n) : k_(k), n_(n), panels_(packed_size(k, n)) {}
  Index k() const { return k_; }
  Index n() const { return n_; }
  float* data() { return panels_.data(); }
  const float* data() const { return panels_.data(); }

 private:
  Index k_ = 0, n_ = 0;
  AlignedFloats panels_;
};

/// Packs the B of products of this shape; `m` is not looked at.
inline PackedB pack_b(const GemmShape& s, const float* b) {
  PackedB packed(s.k, s.n);
  const bool turned = s.b == Transpose::yes;
  pack_b_panels(b, turned ? 1 : s.ldb, turned ? s.ldb : 1, s.k, s.n, packed.data());
  return packed;
}

/// Where the inner kernel reads B: packed panels, or the matrix itself but for a last, partial panel.
struct BSource {
  const float* panels = nullptr;
  const float* in_place = nullptr;
  Index stride = 0;

  void point(Tile& t, Index k, Index n, Index p, Index j) const {
    t.columns = std::min<Index>(tile_columns, n - j);
    if (in_place != nullptr && t.columns == tile_columns) {
      t.b = in_place + p * stride + j;
      t.b_stride = stride;
    } else {
      t.b_stride = panel_width(n, j);
      t.b = panels + (in_place != nullptr ? 0 : j * k) + p * t.b_stride;
    }
  }
};

/// Rows of A, packed: panels of at most tile_rows rows, those of one step of the sum side by side.
struct PackedA {
  float* panels = nullptr;
  Index panel = 0, step = 0;  // floats from one panel to the next, and from one step to the next

  /// Panels for `rows` rows. Packing a panel overwrites up to a vector behind it.
  static PackedA of(Index rows, Index k_step) { return {nullptr, tile_rows * k_step, ceil_div(rows, tile_rows) * tile_rows * k_step + simd::lanes}; }
  float* at(Index p, Index r) const { return panels + p * step + r * panel; }
};

/// Whether the kernel reads A where it is. Rows a page apart would share lines of the cache.
inline bool reads_in_place(const GemmShape& s) { return s.a == Transpose::no && s.lda % 256 != 0; }

/// Packs rows [i0, i0 + rows) of A at [p, p + k) of the sum as step `step` of `packed`.
inline void pack_a(const GemmShape& s, const float* a, Index i0, Index rows, Index p, Index k, const PackedA& packed, Index step) {
  const bool turned = s.a == Transpose::yes;
  const Pieces pieces = Pieces::at_most(rows, tile_rows);
  for (Index r = 0; r < pieces.pieces; ++r) {
    const Index i = i0 + pieces.begin(r);
    pack_a_panel(turned ? a + p * s.lda + i : a + i * s.lda + p, turned ? 1 : s.lda, turned ? s.lda : 1, pieces.size(r), k,
                 packed.at(step, r));
  }
}

/// Asks for piece i of n of the B that a later tile will read, while this one computes.
inline void fetch_b(const Tile& later, Index i, Index n) {
  constexpr Index line = 16;  // floats
  for (Index p = later.k * i / n; p < later.k * (i + 1) / n; ++p)
    for (Index j = 0; j < later.columns; j += line) __builtin_prefetch(later.b + p * later.b_stride + j, 0, 2);
}

/// The block of C that has its origin at row i0, column j0, over [p0, p0 + k) of the sum. `ready` holds its rows of A in
/// steps of k_step, if they were packed before. One worker.
inline void gemm_block(Workspace& ws, int worker, const GemmShape& s, const float* a, const BSource& b, float* c, Index c_stride,
                       Index i0, Index rows, Index j0, Index columns, Index p0, Index k, Index k_step, bool add,
                       const Epilogue& epilogue, const PackedA& ready = {}) {
  const Pieces row_pieces = Pieces::at_most(rows, tile_rows);
  const bool in_place = reads_in_place(s), pack_here = !in_place && ready.panels == nullptr;
  const bool far_away = s.n * s.k >= Index{1} << 20;  // a B of 4 MiB is not in the second-level cache; a smaller one gains nothing
  PackedA packed = pack_here ? PackedA::of(rows, std::min(k, k_step)) : ready;
  if (pack_here) packed.panels = ws.get<float>(worker, 0, packed.step);
  for (Index p = 0; p == 0 || p < k; p += k_step) {
    const Index steps = std::min(k_step, k - p);
    if (pack_here) pack_a(s, a, i0, rows, p0 + p, steps, packed, 0);
    Tile t, later;
    t.c_stride = c_stride;
    t.k = later.k = steps;
    t.add = add || p > 0;
    const bool last = p + k_step >= k;
    if (last) t.epilogue = epilogue;
    for (Index j = j0; j < j0 + columns; j += tile_columns) {
      b.point(t, s.k, s.n, p0 + p, j);
      if (last && epilogue.bias != nullptr) t.epilogue.bias = epilogue.bias + j;
      const bool fetch = far_away && j + tile_columns < j0 + columns;
      if (fetch) b.point(later, s.k, s.n, p0 + p, j + tile_columns);
      for (Index r = 0; r < row_pieces.pieces; ++r) {
        const Index i = row_pieces.begin(r), height = row_pieces.size(r);
        t.c = c + (i0 + i) * c_stride + j;
        if (fetch) {
          for (Index q = 0; q < height; ++q) __builtin_prefetch(t.c + q * c_stride, 1);
          fetch_b(later, r, row_pieces.pieces);
        }
        if (in_place) {
          t.a = a + (i0 + i) * s.lda + p0 + p;
          t.a_stride = s.lda;
          tile_kernel<ALayout::rows>(height, t.columns)(t);
        } else {
          t.a = packed.at(pack_here ? 0 : p / k_step, r);
          t.a_stride = height;
          tile_kernel<ALayout::columns>(height, t.columns)(t);
        }
      }
    }
  }
}

/// c[i, j] = (add ? c[i, j] : 0) + sum over s of partial[s][i, j], in the order of s, then the epilogue.
inline void add_partials(ThreadPool& pool, const float* partial, Index splits, Index m, Index n, float* c, Index c_stride,
                         Store store, const Epilogue& epilogue) {
  const Index step = std::max<Index>(1, 16384 / std::max<Index>(1, n * splits));
  pool.run((m + step - 1) / step, [&](Index block, int) {
    for (Index i = block * step; i < std::min(m, (block + 1) * step); ++i)
      for (Index j = 0; j < n; j += simd::lanes) {
        const Index width = std::min<Index>(simd::lanes, n - j);
        simd::Vec sum = store == Store::add ? simd::load_n(c + i * c_stride + j, width) : simd::Vec{};
        for (Index s = 0; s < splits; ++s) sum = sum + simd::load_n(partial + (s * m + i) * n + j, width);
        if (epilogue.bias != nullptr) sum = sum + simd::load_n(epilogue.bias + j, width);
        if (epilogue.activation == Activation::relu) sum = simd::relu(sum);
        simd::store_n(c + i * c_stride + j, sum, width);
      }
  });
}

inline void gemm_with_b(ThreadPool& pool, Workspace& ws, const GemmShape& s, const float* a, const BSource& b, float* c,
                        Store store, const Epilogue& epilogue) {
  const GemmBlocks cut = gemm_blocks(s);
  const Index row_blocks = ceil_div(s.m, cut.block_rows), column_blocks = ceil_div(s.n, cut.block_columns);
  const Pieces sums{s.k, cut.splits};
  float* partial = cut.splits > 1 ? ws.shared<float>(1, cut.splits * s.m * s.n) : nullptr;
  const Index steps = ceil_div(sums.size(0), cut.k_step);  // of the longest piece of the sum
  PackedA all;
  if (column_blocks > 1 && !reads_in_place(s)) {
    all = PackedA::of(cut.block_rows, cut.k_step);
    all.panels = ws.shared<float>(2, row_blocks * cut.splits * steps * all.step);
    pool.run(row_blocks * cut.splits * steps, [&](Index at, int) {
      const Index p = at % steps * cut.k_step, split = at / steps % cut.splits, i0 = at / steps / cut.splits * cut.block_rows;
      const Index k = std::min(cut.k_step, sums.size(split) - p);
      if (k > 0) pack_a(s, a, i0, std::min(cut.block_rows, s.m - i0), sums.begin(split) + p, k, all, at);
    });
  }
  pool.run(row_blocks * column_blocks * cut.splits, [&](Index block, int worker) {
    const Index split = block / (row_blocks * column_blocks), j0 = block % column_blocks * cut.block_columns;
    const Index row_block = block / column_blocks % row_blocks, i0 = row_block * cut.block_rows;
    const Index rows = std::min(cut.block_rows, s.m - i0), columns = std::min(cut.block_columns, s.n - j0);
    PackedA ready = all;
    if (ready.panels != nullptr) ready.panels = all.at((row_block * cut.splits + split) * steps, 0);
    if (partial != nullptr)
      gemm_block(ws, worker, s, a, b, partial + split * s.m * s.n, s.n, i0, rows, j0, columns, sums.begin(split),
                 sums.size(split), cut.k_step, false, {}, ready);
    else
      gemm_block(ws, worker, s, a, b, c, s.ldc, i0, rows, j0, columns, 0, s.k, cut.k_step, store == Store::add, epilogue, ready);
  });
  if (partial != nullptr) add_partials(pool, partial, cut.splits, s.m, s.n, c, s.ldc, store, epilogue);
}

/// One row of A: B is read once, where it is.
template <int vectors>
void multiply_row(const GemmShape& s, const float* a, Index a_stride, const float* b, float* c, Index last, Store store,
                  const float* bias, Activation activation) {
  using simd::Vec, simd::lanes;
  Vec sum[vectors];
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) sum[v] = Vec{};
  for (Index p = 0; p < s.k; ++p, a += a_stride, b += s.ldb) {
    const Vec x = simd::splat(*a);
#pragma GCC unroll 8
    for (int v = 0; v < vectors - 1; ++v) sum[v] = sum[v] + x * simd::load(b + v * lanes);
    sum[vectors - 1] = sum[vectors - 1] + x * simd::load_n(b + (vectors - 1) * lanes, last);
  }
#pragma GCC unroll 8
  for (int v = 0; v < vectors; ++v) {
    const Index width = v < vectors - 1 ? lanes : last;
    Vec value = sum[v];
    if (store == Store::add) value = simd::load_n(c + v * lanes, width) + value;
    if (bias != nullptr) value = value + simd::load_n(bias + v * lanes, width);
    if (activation == Activation::relu) value = simd::relu(value);
    simd::store_n(c + v * lanes, value, width);
  }
}

inline void gemm_row(ThreadPool& pool, const GemmShape& s, const float* a, const float* b, float* c, Store store,
                     const Epilogue& epilogue) {
  using Kernel = void (*)(const GemmShape&, const float*, Index, const float*, float*, Index, Store, const float*, Activation);
  static constexpr Kernel kernels[] = {multiply_row<1>, multiply_row<2>, multiply_row<3>, multiply_row<4>,
                                       multiply_row<5>, multiply_row<6>, multiply_row<7>, multiply_row<8>};
  const Pieces blocks = Pieces::at_most(ceil_div(s.n, simd::lanes), 8);
  const Index a_stride = s.a == Transpose::yes ? s.lda : 1;
  const Index together = std::max<Index>(1, blocks.pieces * 16384 / std::max<Index>(1, s.n * s.k));
  pool.run(ceil_div(blocks.pieces, together), [&](Index block, int) {
    for (Index i = block * together; i < std::min(blocks.pieces, (block + 1) * together); ++i) {
      const Index j = blocks.begin(i) * simd::lanes, end = std::min(s.n, j + blocks.size(i) * simd::lanes);
      kernels[blocks.size(i) - 1](s, a, a_stride, b + j, c + j, end - j - (blocks.size(i) - 1) * simd::lanes, store,
                                  epilogue.bias != nullptr ? epilogue.bias + j : nullptr, epilogue.activation);
    }
  });
}

/// C (+)= op(A) op(B), then the epilogue.
/// Shapes   as GemmShape says; bias holds n values.
inline void gemm(ThreadPool& pool, Workspace& ws, const GemmShape& s, const float* a, const float* b, float* c, Store store,
                 const Epilogue& epilogue = {}) {
  if (s.m <= 0 || s.n <= 0) return;
  const bool turned = s.b == Transpose::yes;
  if (s.m == 1 && !turned) return gemm_row(pool, s, a, b, c, store, epilogue);
  const Index row_stride = turned ? 1 : s.ldb, column_stride = turned ? s.ldb : 1;
  BSource source;
  if (!turned && s.m <= 5 * tile_rows) {  // too few rows to pay for a copy of B
    const Index whole = s.n / tile_columns * tile_columns;
    float* rest = ws.shared<float>(0, s.k * tile_columns);
    pack_b_panels(b + whole, s.ldb, 1, s.k, s.n - whole, rest);
    source = {rest, b, s.ldb};
  } else {
    float* panels = ws.shared<float>(0, packed_size(s.k, s.n));
    const Index step = round_up(std::max<Index>(1, 16384 / std::max<Index>(1, s.k)), tile_columns);
    pool.run(ceil_div(s.n, step), [&](Index block, int) {
      const Index j = block * step;
      pack_b_panels(b + j * column_stride, row_stride, column_stride, s.k, std::min(step, s.n - j), panels + j * s.k);
    });
    source.panels = panels;
  }
  gemm_with_b(pool, ws, s, a, source, c, store, epilogue);
}

/// The same with a B that `pack_b` has packed; s.b and s.ldb are not looked at.
inline void gemm(ThreadPool& pool, Workspace& ws, const GemmShape& s, const float* a, const PackedB& b, float* c, Store store,
                 const Epilogue& epilogue = {}) {
  if (s.m <= 0 || s.n <= 0) return;
  gemm_with_b(pool, ws, s, a, BSource{b.data(), nullptr, 0}, c, store, epilogue);
}

/// `batch` products of one shape; matrix i of each operand starts i strides behind the first. A stride
/// may be 0 for a and b.
inline void gemm_batched(ThreadPool& pool, Workspace& ws, const GemmShape& s, Index batch, const float* a, Index stride_a,
                         const float* b, Index stride_b, float* c, Index stride_c, Store store, const Epilogue& epilogue = {}) {
  if (s.m <= 0 || s.n <= 0) return;
  const bool turned = s.b == Transpose::yes;
  pool.run(batch, [&](Index i, int worker) {
    float* panels = ws.get<float>(worker, 1, packed_size(s.k, s.n));
    pack_b_panels(b + i * stride_b, turned ? 1 : s.ldb, turned ? s.ldb : 1, s.k, s.n, panels);
    for (Index i0 = 0; i0 < s.m; i0 += 8 * tile_rows)
      gemm_block(ws, worker, s, a + i * stride_a, BSource{panels, nullptr, 0}, c + i * stride_c, s.ldc, i0, std::min<Index>(8 * tile_rows, s.m - i0),
                 0, s.n, 0, s.k, std::min<Index>(384, std::max<Index>(1, s.k)), store == Store::add, epilogue);
  });
}

}  // namespace espalier::detail
