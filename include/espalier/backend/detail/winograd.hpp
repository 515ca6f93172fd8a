// SPDX-License-Identifier: Apache-2.0
// 3 x 3 convolutions of stride 1 by Winograd's minimal filtering: tiles of the map are transformed, each of
// the transform's points becomes a product over channels, and the results are transformed back. Takes
// 2.25 (F2) or 4 (F4) times fewer products than the definition.
#pragma once

#include <algorithm>

#include <espalier/backend/detail/pack.hpp>
#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/backend/detail/tile.hpp>
#include <espalier/backend/detail/winograd_transform.hpp>
#include <espalier/backend/detail/workspace.hpp>

namespace espalier::detail {

constexpr bool winograd_applies(const ConvShape& s) {
  return s.kernel_h == 3 && s.kernel_w == 3 && s.stride_h == 1 && s.stride_w == 1 && s.groups == 1 && s.pad_h <= 2 &&
         s.pad_w <= 2 && s.out_h() > 0 && s.out_w() > 0;
}

/// One map cut into tiles of o x o; tile t of the batch covers rows from y(t), columns from x(t) of the output.
template <int o>
struct TileGrid {
  Index h, w, rows, columns, count;
  TileGrid(Index n, Index map_h, Index map_w)
      : h(map_h), w(map_w), rows(ceil_div(map_h, o)), columns(ceil_div(map_w, o)), count(n * rows * columns) {}
  Index image(Index t) const { return t / (rows * columns); }
  Index y(Index t) const { return t / columns % rows * o; }
  Index x(Index t) const { return t % columns * o; }
};

/// At least n floats, an odd number of cache lines: rows and planes so far apart spread over the whole cache.
constexpr Index spread(Index n) { return (ceil_div(n, 16) | 1) * 16; }

/// Asks for the o x o pixels at (y, x) of an image [h, w, channels] ahead of their use, so that the wait for memory
/// passes while products are computed. (Inlined always: g++ drops calls of functions that only prefetch.)
template <int o, bool write>
[[gnu::always_inline]] inline void prefetch_tile(const float* image, Index h, Index w, Index channels, Index y, Index x) {
  const Index floats = std::min<Index>(o, w - x) * channels;
  for (Index i = y; i < std::min(h, y + o); ++i) {
    const float* row = image + (i * w + x) * channels;
    for (Index c = 0; c < floats; c += 16) __builtin_prefetch(row + c, write ? 1 : 0, 3);
  }
}

/// Reads the size x size pixels whose corner is (y, x) of an image [h, w, channels], zeros outside, applies F, and writes
/// point i of the transform to out + i * plane.
template <int size, int points, void (*F)(const simd::Vec*, simd::Vec*)>
void transform_tile(const float* image, Index h, Index w, Index channels, Index y, Index x, const float* zeros, float* out,
                    Index plane) {
  const float* pixel[size][size];
  for (Index i = 0; i < size; ++i)
    for (Index j = 0; j < size; ++j)
      pixel[i][j] = y + i < 0 || y + i >= h || x + j < 0 || x + j >= w ? zeros : image + ((y + i) * w + x + j) * channels;
  const Index whole = channels / simd::lanes * simd::lanes;
  for (Index c = 0; c < whole; c += simd::lanes)
    transform_square<size, points, F>(
        [&](int i, int j) { return simd::load(pixel[i][j] + c); },
        [&](int i, int j, simd::Vec value) { simd::store(out + (i * points + j) * plane + c, value); });
  if (whole < channels)
    transform_square<size, points, F>(
        [&](int i, int j) { return simd::load_n(pixel[i][j] + whole, channels - whole); },
        [&](int i, int j, simd::Vec value) { simd::store(out + (i * points + j) * plane + whole, value); });
}

/// Transforms back the tile whose points are at m + i * plane and writes what lies inside the map [h, w, channels].
template <int o>
void write_tile(const float* m, Index plane, float* image, Index h, Index w, Index channels, Index y, Index x,
                const Epilogue& epilogue, bool add) {
  constexpr int size = Winograd<o>::size;
  const Index rows = std::min<Index>(o, h - y), columns = std::min<Index>(o, w - x);
  const bool cut = epilogue.activation == Activation::relu;
  for (Index c = 0; c < channels; c += simd::lanes) {
    const Index width = std::min<Index>(simd::lanes, channels - c);
    const simd::Vec bias = epilogue.bias != nullptr ? simd::load_n(epilogue.bias + c, width) : simd::Vec{};
    float* corner = image + (y * w + x) * channels + c;
    transform_square<size, o, Winograd<o>::output_>(
        [&](int i, int j) { return simd::load(m + (i * size + j) * plane + c); },
        [&](int i, int j, simd::Vec value) {
          if (i >= rows || j >= columns) return;
          float* to = corner + (i * w + j) * channels;
          if (add) value = simd::load_n(to, width) + value;
          value = value + bias;
          if (cut) value = simd::relu(value);
          simd::store_n(to, value, width);
        });
  }
}

/// The convolution that a Winograd product computes: forward from x to y, or backward from dy to dx.
struct WinogradMap {
  Index n, in_h, in_w, in, out_h, out_w, out, pad_h, pad_w;
  static WinogradMap forward(const ConvShape& s) {
    return {s.n, s.h, s.w, s.in, s.out_h(), s.out_w(), s.out, s.pad_h, s.pad_w};
  }
  static WinogradMap backward(const ConvShape& s) {
    return {s.n, s.out_h(), s.out_w(), s.out, s.h, s.w, s.in, 2 - s.pad_h, 2 - s.pad_w};
  }
};

/// Floats that transformed weights take.
template <int o>
constexpr Index winograd_weights_size(Index k, Index n) {
  return Winograd<o>::size * Winograd<o>::size * spread(packed_size(k, n));
}

/// Transforms weights [3, 3, in, out] and packs each point as the B of a product: [in, out] for the forward
/// direction, else [out, in] of the kernel turned by half a turn.
template <int o>
void pack_winograd_weights(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* w, bool forward, float* u) {
  constexpr int size = Winograd<o>::size;
  constexpr Index lanes = simd::lanes;
  const Index k = forward ? s.in : s.out, n = forward ? s.out : s.in, plane = spread(packed_size(k, n));
  const auto transform = [&](Index in, Index out, float* to, Index to_plane) {
    const Index width = std::min<Index>(lanes, s.out - out);
    transform_square<3, size, Winograd<o>::weight>(
        [&](int i, int j) {
          const int tap = forward ? i * 3 + j : 8 - (i * 3 + j);
          return simd::load_n(w + (tap * s.in + in) * s.out + out, width);
        },
        [&](int i, int j, simd::Vec value) { simd::store(to + (i * size + j) * to_plane, value); });
  };
  if (forward) {
    const Index step = std::max<Index>(1, 2048 / std::max<Index>(1, s.out));
    pool.run(ceil_div(s.in, step), [&](Index block, int) {
      for (Index in = block * step; in < std::min(s.in, (block + 1) * step); ++in)
        for (Index out = 0; out < s.out; out += lanes) {
          const Index panel = out / tile_columns * tile_columns;
          transform(in, out, u + panel * k + in * panel_width(n, panel) + (out - panel), plane);
        }
    });
  } else {
    pool.run(ceil_div(s.in, lanes), [&](Index block, int worker) {
      float* square = ws.get<float>(worker, 1, size * size * lanes * lanes);
      const Index in = block * lanes, rows = std::min<Index>(lanes, s.in - in);
      for (Index out = 0; out < s.out; out += lanes) {
        for (Index r = 0; r < rows; ++r) transform(in + r, out, square + r * lanes, lanes * lanes);
        const Index panel = in / tile_columns * tile_columns, width = panel_width(n, panel);
        for (int i = 0; i < size * size; ++i)
          transpose_block(square + i * lanes * lanes, lanes, rows, std::min<Index>(lanes, s.out - out),
                          u + i * plane + panel * k + out * width + (in - panel), width);
      }
    });
  }
}

/// rows x k times packed k x n.
inline void multiply_panels(const float* a, Index a_stride, Index rows, const float* panels, Index k, Index n, float* c,
                            Index c_stride) {
  const Pieces pieces = Pieces::at_most(rows, tile_rows);
  Tile t;
  t.a_stride = a_stride, t.c_stride = c_stride, t.k = k;
  for (Index j = 0; j < n; j += tile_columns) {
    t.b = panels + j * k, t.b_stride = panel_width(n, j);
    t.columns = t.b_stride;
    for (Index r = 0; r < pieces.pieces; ++r) {
      t.a = a + pieces.begin(r) * a_stride;
      t.c = c + pieces.begin(r) * c_stride + j;
      tile_kernel<ALayout::rows>(pieces.size(r), t.columns)(t);
    }
  }
}

/// y (+)= epilogue(x * w) for transformed weights `u`. Many tiles: each block takes its tiles through all three
/// steps, in cache. Few tiles: one step after the other over all of them, so that the weights are read once.
template <int o>
void winograd_convolve(ThreadPool& pool, Workspace& ws, const WinogradMap& s, const float* x, const float* u, float* y,
                       const Epilogue& epilogue, Store store) {
  constexpr int size = Winograd<o>::size, points = size * size;
  const TileGrid<o> grid(s.n, s.out_h, s.out_w);
  const Index v_stride = spread(s.in), m_stride = spread(s.out), u_plane = spread(packed_size(s.in, s.out));
  float* zeros = ws.shared<float>(2, simd::padded(s.in));
  std::fill_n(zeros, simd::padded(s.in), 0.0f);
  const auto in = [&](Index t, float* v, Index plane) {
    transform_tile<size, size, Winograd<o>::input>(x + grid.image(t) * s.in_h * s.in_w * s.in, s.in_h, s.in_w, s.in,
                                                   grid.y(t) - s.pad_h, grid.x(t) - s.pad_w, zeros, v, plane);
  };
  const auto out = [&](Index t, const float* m, Index plane) {
    write_tile<o>(m, plane, y + grid.image(t) * s.out_h * s.out_w * s.out, s.out_h, s.out_w, s.out, grid.y(t), grid.x(t), epilogue,
                  store == Store::add);
  };
  constexpr Index chunk = round_up(24, tile_rows);  // 14 to 56 measured alike
  const bool apart = grid.count >= 16 * chunk;
  const Index together = apart ? chunk : grid.count;
  const Index v_plane = spread(together * v_stride), m_plane = spread(together * m_stride);
  if (apart) {
    const Index chunks = ceil_div(grid.count, chunk), step = std::clamp<Index>(chunks / 32, 1, 8) * chunk;
    pool.run(ceil_div(grid.count, step), [&](Index block, int worker) {
      float* v = ws.get<float>(worker, 2, points * v_plane);
      float* m = ws.get<float>(worker, 3, points * m_plane);
      const Index end = std::min(grid.count, (block + 1) * step);
      for (Index first = block * step; first < end; first += chunk) {
        const Index tiles = std::min(chunk, end - first);
        for (Index t = 0; t < tiles; ++t) in(first + t, v + t * v_stride, v_plane);
        for (int p = 0; p < points; ++p) {
          for (Index t = first + p; t < first + tiles; t += points) {
            prefetch_tile<o, true>(y + grid.image(t) * s.out_h * s.out_w * s.out, s.out_h, s.out_w, s.out, grid.y(t), grid.x(t));
            if (const Index n = t + chunk; n < end)
              prefetch_tile<o, false>(x + grid.image(n) * s.in_h * s.in_w * s.in, s.in_h, s.in_w, s.in, grid.y(n), grid.x(n));
          }
          multiply_panels(v + p * v_plane, v_stride, tiles, u + p * u_plane, s.in, s.out, m + p * m_plane, m_stride);
        }
        for (Index t = 0; t < tiles; ++t) out(first + t, m + t * m_stride, m_plane);
      }
    });
    return;
  }
  float* v = ws.shared<float>(3, points * v_plane);
  float* m = ws.shared<float>(4, points * m_plane);
  pool.run(grid.count, [&](Index t, int) { in(t, v + t * v_stride, v_plane); });
  pool.run(points, [&](Index p, int) {
    multiply_panels(v + p * v_plane, v_stride, grid.count, u + p * u_plane, s.in, s.out,
                    m + p * m_plane, m_stride);
  });
  pool.run(grid.count, [&](Index t, int) { out(t, m + t * m_stride, m_plane); });
}

}  // namespace espalier::detail
