// SPDX-License-Identifier: Apache-2.0
// The gradient of the weights by Winograd's filtering, the adjoint of the forward direction: the
// gradient of each transformed weight is a product over tiles, du = v^T (A dy A^T), and dw = G^T du G.
#pragma once

#include <algorithm>

#include <espalier/backend/detail/winograd.hpp>

namespace espalier::detail {

/// du[i, j] (+)= sum over tiles of v[tile, i] * m[tile, j] for rows [first, first + rows) of du.
inline void multiply_tiles(const float* v, Index v_stride, Index first, Index rows, const float* m, Index m_stride, Index columns,
                           Index tiles, float* du, bool add) {
  const Pieces pieces = Pieces::at_most(rows, tile_rows);
  Tile t;
  t.a_stride = v_stride, t.b_stride = m_stride, t.c_stride = simd::padded(columns), t.k = tiles, t.add = add;
  for (Index j = 0; j < columns; j += tile_columns) {
    t.b = m + j;
    t.columns = panel_width(columns, j);
    for (Index r = 0; r < pieces.pieces; ++r) {
      const Index i = first + pieces.begin(r);
      t.a = v + i;
      t.c = du + i * t.c_stride + j;
      tile_kernel<ALayout::columns>(pieces.size(r), t.columns)(t);
    }
  }
}

/// dw (+)= the gradient of weights [3, 3, in, out]. Where a sum over all points fits in cache, a fixed number of runs of
/// tiles is summed apart and added in order; else the points are shared out, chunk after chunk of tiles.
template <int o>
void winograd_backward_weights(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* x, const float* dy, float* dw,
                               Store store) {
  constexpr int size = Winograd<o>::size, points = size * size;
  const TileGrid<o> grid(s.n, s.out_h(), s.out_w());
  const Index v_stride = spread(s.in), m_stride = spread(s.out), columns = simd::padded(s.out);
  const Index plane = spread(s.in * columns), channels = std::max(simd::padded(s.in), columns);
  float* zeros = ws.shared<float>(2, channels);
  std::fill_n(zeros, channels, 0.0f);
  const auto in = [&](Index t, float* v, Index v_plane, float* m, Index m_plane) {
    transform_tile<size, size, Winograd<o>::input>(x + grid.image(t) * s.h * s.w * s.in, s.h, s.w, s.in, grid.y(t) - s.pad_h,
                                                   grid.x(t) - s.pad_w, zeros, v, v_plane);
    transform_tile<o, size, Winograd<o>::output_adjoint>(dy + grid.image(t) * s.out_h() * s.out_w() * s.out, s.out_h(), s.out_w(),
                                                         s.out, grid.y(t), grid.x(t), zeros, m, m_plane);
  };
  const bool apart = s.in * s.out <= 128 * 128;
  const Pieces runs{grid.count, apart ? std::clamp<Index>(grid.count / 112, 1, 8) : 1};
  float* du = ws.shared<float>(1, runs.pieces * points * plane);
  if (apart) {
    constexpr Index chunk = 56;
    const Index v_plane = spread(chunk * v_stride), m_plane = spread(chunk * m_stride);
    pool.run(runs.pieces, [&](Index run, int worker) {
      float* v = ws.get<float>(worker, 2, points * v_plane);
      float* m = ws.get<float>(worker, 3, points * m_plane);
      const Index begin = runs.begin(run), end = begin + runs.size(run);
      for (Index first = begin; first == begin || first < end; first += chunk) {
        const Index tiles = std::min(chunk, end - first);
        for (Index t = 0; t < tiles; ++t) in(first + t, v + t * v_stride, v_plane, m + t * m_stride, m_plane);
        for (int p = 0; p < points; ++p) {
          for (Index t = first + chunk + p; t < std::min(end, first + 2 * chunk); t += points) {
            prefetch_tile<o, false>(x + grid.image(t) * s.h * s.w * s.in, s.h, s.w, s.in, grid.y(t), grid.x(t));
            prefetch_tile<o, false>(dy + grid.image(t) * s.out_h() * s.out_w() * s.out, s.out_h(), s.out_w(), s.out, grid.y(t), grid.x(t));
          }
          multiply_tiles(v + p * v_plane, v_stride, 0, s.in, m + p * m_plane, m_stride, s.out, tiles,
                         du + (run * points + p) * plane, first > begin);
        }
      }
    });
  } else {
    const Index chunk = std::clamp<Index>((Index{5} << 20) / (points * (v_stride + m_stride)), 56, std::max<Index>(56, grid.count));
    const Index v_plane = spread(chunk * v_stride), m_plane = spread(chunk * m_stride);
    float* v = ws.shared<float>(3, points * v_plane);
    float* m = ws.shared<float>(4, points * m_plane);
    for (Index first = 0; first == 0 || first < grid.count; first += chunk) {
      const Index tiles = std::min(chunk, grid.count - first);
      pool.run(tiles, [&](Index t, int) { in(first + t, v + t * v_stride, v_plane, m + t * m_stride, m_plane); });
      pool.run(points, [&](Index p, int) {
        multiply_tiles(v + p * v_plane, v_stride, 0, s.in, m + p * m_plane, m_stride, s.out, tiles, du + p * plane,
                       first > 0);
      });
    }
  }
  pool.run(s.in, [&](Index i, int) {
    for (Index j = 0; j < s.out; j += simd::lanes) {
      const Index width = std::min<Index>(simd::lanes, s.out - j);
      transform_square<size, 3, Winograd<o>::weight_adjoint>(
          [&](int a, int b) {
            const float* from = du + (a * size + b) * plane + i * columns + j;
            simd::Vec total = simd::load(from);
            for (Index r = 1; r < runs.pieces; ++r) total = total + simd::load(from + r * points * plane);
            return total;
          },
          [&](int a, int b, simd::Vec value) {
            float* to = dw + ((a * 3 + b) * s.in + i) * s.out + j;
            if (store == Store::add) value = simd::load_n(to, width) + value;
            simd::store_n(to, value, width);
          });
    }
  });
}

}  // namespace espalier::detail
