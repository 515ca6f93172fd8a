// SPDX-License-Identifier: Apache-2.0
// Products of row-major matrices, single, batched, and with a B packed beforehand. The work is cut
// into blocks that depend on the shape alone, and long sums are split and added in a fixed order, so
// every number of threads gives the same bits.
#pragma once

#include <algorithm>

#include <espalier/backend/detail/pack.hpp>
#include <espalier/backend/detail/simd.hpp>
#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/backend/detail/tile.hpp>
#include <espalier/backend/detail/workspace.hpp>
#include <espalier/backend/geometry.hpp>

namespace espalier::detail {

/// How a product is cut: blocks of C, pieces of the sum for each, and steps of the sum in cache at once.
struct GemmBlocks {
  Index block_rows = 0, block_columns = 0;
  Index splits = 1;
  Index k_step = 0;

  explicit GemmBlocks(const GemmShape& s) {
    constexpr Index wanted = 16;                                        // blocks, to keep 8 threads busy
    const Index affordable = 1 + s.m * s.n * s.k / 65536;               // a block should outlast its start
    const Index most = std::min(wanted, affordable);
    block_rows = std::clamp(round_up(ceil_div(s.m, most), tile_rows), Index{tile_rows}, Index{8 * tile_rows});
    const Index row_blocks = ceil_div(s.m, block_rows);
    block_columns = round_up(ceil_div(s.n, ceil_div(most, row_blocks)), tile_columns);
    const Index blocks = row_blocks * ceil_div(s.n, block_columns);
    if (blocks < most && s.k >= 1024) splits = std::min(ceil_div(most, blocks), s.k / 512);
    k_step = std::max<Index>(1, Pieces::at_most(ceil_div(s.k, splits), 384).size(0));
  }
};

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

/// The block of C that has its origin at row i0, column j0, over steps [p0, p0 + k) of the sum; panels of B
/// cover the whole sum. One worker.
inline void gemm_block(Workspace& ws, int worker, const GemmShape& s, const float* a, const float* panels, float* c,
                       Index c_stride, Index i0, Index rows, Index j0, Index columns, Index p0, Index k, Index k_step,
                       bool add, const Epilogue& epilogue) {
  const bool turned = s.a == Transpose::yes;
  const Pieces row_pieces = Pieces::at_most(rows, tile_rows);
  float* packed = nullptr;
  const bool in_place = !turned && s.lda % 256 != 0;
  if (!in_place) packed = ws.get<float>(worker, 0, rows * std::min(k, k_step));
  for (Index p = 0; p == 0 || p < k; p += k_step) {
    const Index steps = std::min(k_step, k - p);
    if (!in_place)
      for (Index r = 0; r < row_pieces.pieces; ++r) {
        const Index i = i0 + row_pieces.begin(r);
        pack_a_panel(turned ? a + (p0 + p) * s.lda + i : a + i * s.lda + p0 + p, turned ? 1 : s.lda,
                     turned ? s.lda : 1, row_pieces.size(r), steps, packed + row_pieces.begin(r) * steps);
      }
    for (Index j = j0; j < j0 + columns; j += tile_columns) {
      Tile t;
      const Index width = panel_width(s.n, j);
      t.b = panels + j * s.k + (p0 + p) * width;
      t.b_stride = width;
      t.c_stride = c_stride;
      t.k = steps;
      t.columns = std::min<Index>(tile_columns, s.n - j);
      t.add = add || p > 0;
      if (p + k_step >= k) {
        t.epilogue = epilogue;
        if (epilogue.bias != nullptr) t.epilogue.bias += j;
      }
      for (Index r = 0; r < row_pieces.pieces; ++r) {
        const Index i = row_pieces.begin(r), height = row_pieces.size(r);
        t.c = c + (i0 + i) * c_stride + j;
        if (in_place) {
          t.a = a + (i0 + i) * s.lda + p0 + p;
          t.a_stride = s.lda;
          tile_kernel<ALayout::rows>(height, t.columns)(t);
        } else {
          t.a = packed + i * steps;
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

inline void gemm_with_panels(ThreadPool& pool, Workspace& ws, const GemmShape& s, const float* a, const float* panels,
                             float* c, Store store, const Epilogue& epilogue) {
  const GemmBlocks cut(s);
  const Index row_blocks = ceil_div(s.m, cut.block_rows);
  const Index column_blocks = ceil_div(s.n, cut.block_columns);
  const Pieces sums{s.k, cut.splits};
  float* partial = cut.splits > 1 ? ws.shared<float>(1, cut.splits * s.m * s.n) : nullptr;
  pool.run(row_blocks * column_blocks * cut.splits, [&](Index block, int worker) {
    const Index split = block % cut.splits, j0 = block / cut.splits % column_blocks * cut.block_columns;
    const Index i0 = block / cut.splits / column_blocks * cut.block_rows;
    const Index rows = std::min(cut.block_rows, s.m - i0), columns = std::min(cut.block_columns, s.n - j0);
    if (partial != nullptr)
      gemm_block(ws, worker, s, a, panels, partial + split * s.m * s.n, s.n, i0, rows, j0, columns, sums.begin(split),
                 sums.size(split), cut.k_step, false, {});
    else
      gemm_block(ws, worker, s, a, panels, c, s.ldc, i0, rows, j0, columns, 0, s.k, cut.k_step, store == Store::add, epilogue);
  });
  if (partial != nullptr) add_partials(pool, partial, cut.splits, s.m, s.n, c, s.ldc, store, epilogue);
}

/// C (+)= op(A) op(B), then the epilogue.
/// Shapes   as GemmShape says; bias holds n values.
inline void gemm(ThreadPool& pool, Workspace& ws, const GemmShape& s, const float* a, const float* b, float* c, Store store,
                 const Epilogue& epilogue = {}) {
  if (s.m <= 0 || s.n <= 0) return;
  float* panels = ws.shared<float>(0, packed_size(s.k, s.n));
  const bool turned = s.b == Transpose::yes;
  const Index row_stride = turned ? 1 : s.ldb, column_stride = turned ? s.ldb : 1;
  const Index step = round_up(std::max<Index>(1, 16384 / std::max<Index>(1, s.k)), tile_columns);
  pool.run(ceil_div(s.n, step), [&](Index block, int) {
    const Index j = block * step;
    pack_b_panels(b + j * column_stride, row_stride, column_stride, s.k, std::min(step, s.n - j), panels + j * s.k);
  });
  gemm_with_panels(pool, ws, s, a, panels, c, store, epilogue);
}

/// The same with a B that `pack_b` has packed; s.b and s.ldb are not looked at.
inline void gemm(ThreadPool& pool, Workspace& ws, const GemmShape& s, const float* a, const PackedB& b, float* c, Store store,
                 const Epilogue& epilogue = {}) {
  if (s.m <= 0 || s.n <= 0) return;
  gemm_with_panels(pool, ws, s, a, b.data(), c, store, epilogue);
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
      gemm_block(ws, worker, s, a + i * stride_a, panels, c + i * stride_c, s.ldc, i0, std::min<Index>(8 * tile_rows, s.m - i0),
                 0, s.n, 0, s.k, std::min<Index>(384, std::max<Index>(1, s.k)), store == Store::add, epilogue);
  });
}

}  // namespace espalier::detail
