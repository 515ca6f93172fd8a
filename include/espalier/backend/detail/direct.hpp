// SPDX-License-Identifier: Apache-2.0
// Convolution straight from the map: with channels last, the pixels under one row of a kernel are a run
// of kernel_w * in floats, so the inner kernel reads windows in place, out of a strip of rows that
// was copied once with its zeros around it. For maps wide enough to fill a tile.
#pragma once

#include <algorithm>

#include <espalier/backend/detail/gemm.hpp>
#include <espalier/backend/detail/im2col.hpp>
#include <espalier/backend/detail/pack.hpp>
#include <espalier/backend/detail/tile.hpp>

namespace espalier::detail {

/// Strips of `rows` rows of output, each from one image and one group.
struct Strips {
  Index rows, per_image, images, row_floats, input_rows;
  explicit Strips(const ConvShape& s) {
    const ConvSizes z(s);
    row_floats = (s.w + 2 * s.pad_w) * z.in;
    constexpr Index cached = 24 * 1024;  // floats
    const Index for_cache = cached / std::max<Index>(1, s.stride_h * row_floats);
    const Index for_threads = s.n * s.groups * z.out_h / 16;
    const Pieces pieces = Pieces::at_most(z.out_h, std::max<Index>(1, std::min(for_cache, for_threads)));
    rows = pieces.size(0);
    per_image = ceil_div(z.out_h, rows);
    images = s.n;
    input_rows = (rows - 1) * s.stride_h + s.kernel_h;
  }
  Index count() const { return images * per_image; }
  Index image(Index i) const { return i / per_image; }
  Index first_row(Index i) const { return i % per_image * rows; }
  Index rows_of(Index i, Index out_h) const { return std::min(rows, out_h - first_row(i)); }
};

/// Whether rows fill a tile, there are strips for several threads, and each reads the weights for enough pixels.
inline bool direct_applies(const ConvShape& s) {
  const Strips strips(s);
  const ConvSizes z(s);
  return z.out_w >= 6 && strips.count() * s.groups >= 8 && z.row >= 8 &&
         (strips.rows * z.out_w >= 2 * tile_rows || z.k * z.out <= 32768);
}

/// Copies the input rows under output rows [row, row + rows) of one image and group, zeros around them.
inline void copy_strip(const ConvShape& s, const Strips& strips, const float* x, Index image, Index group, Index row, Index rows,
                       float* out) {
  const Index in = s.in / s.groups, count = (rows - 1) * s.stride_h + s.kernel_h, top = row * s.stride_h - s.pad_h;
  for (Index r = 0; r < count; ++r, out += strips.row_floats) {
    const Index y = top + r;
    if (y < 0 || y >= s.h) {
      std::fill_n(out, strips.row_floats, 0.0f);
      continue;
    }
    std::fill_n(out, s.pad_w * in, 0.0f);
    const float* from = x + (image * s.h + y) * s.w * s.in + group * in;
    if (s.groups == 1)
      std::copy_n(from, s.w * in, out + s.pad_w * in);
    else
      for (Index q = 0; q < s.w; ++q) std::copy_n(from + q * s.in, in, out + (s.pad_w + q) * in);
    std::fill_n(out + (s.pad_w + s.w) * in, s.pad_w * in, 0.0f);
  }
}

/// y = epilogue(x * w); `panels` holds the weights of each group, packed.
inline void direct_forward(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* x, const float* panels, float* y,
                           const Epilogue& epilogue) {
  const ConvSizes z(s);
  const Strips strips(s);
  const Pieces pieces = Pieces::at_most(z.out_w, tile_rows);
  pool.run(strips.count() * s.groups, [&](Index block, int worker) {
    const Index group = block % s.groups, strip = block / s.groups;
    const Index image = strips.image(strip), row = strips.first_row(strip), rows = strips.rows_of(strip, z.out_h);
    float* map = ws.get<float>(worker, 2, strips.input_rows * strips.row_floats);
    copy_strip(s, strips, x, image, group, row, rows, map);
    Tile t;
    t.a_stride = s.stride_w * z.in, t.a_run = strips.row_floats;
    t.k = z.row, t.runs = s.kernel_h, t.c_stride = s.out;
    t.epilogue = epilogue;
    for (Index j = 0; j < z.out; j += tile_columns) {
      t.b = panels + group * packed_size(z.k, z.out) + j * z.k;
      t.b_stride = panel_width(z.out, j), t.b_run = z.row * t.b_stride;
      t.columns = std::min<Index>(tile_columns, z.out - j);
      if (epilogue.bias != nullptr) t.epilogue.bias = epilogue.bias + group * z.out + j;
      for (Index r = 0; r < rows; ++r)
        for (Index p = 0; p < pieces.pieces; ++p) {
          t.a = map + r * s.stride_h * strips.row_floats + pieces.begin(p) * t.a_stride;
          t.c = y + ((image * z.out_h + row + r) * z.out_w + pieces.begin(p)) * s.out + group * z.out + j;
          tile_kernel<ALayout::rows>(pieces.size(p), t.columns)(t);
        }
    }
  });
}

/// dw (+)= sum over pixels: a fixed number of runs of strips is summed apart, then added in order.
inline void direct_backward_weights(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* x, const float* dy,
                                    float* dw, Store store) {
  const ConvSizes z(s);
  const Strips strips(s);
  const Index count = s.weight_count();
  const Index most = std::max<Index>(1, std::min<Index>(16, (Index{4} << 20) / std::max<Index>(1, count)));
  const Pieces runs{strips.count(), std::clamp<Index>(strips.count() / 4, 1, most)};
  float* partial = ws.shared<float>(1, runs.pieces * count);
  const bool in_place = z.out % simd::lanes == 0;
  const Pieces heights = Pieces::at_most(z.row, tile_rows);
  pool.run(runs.pieces * s.groups, [&](Index block, int worker) {
    const Index group = block % s.groups, run = block / s.groups;
    float* map = ws.get<float>(worker, 2, strips.input_rows * strips.row_floats);
    float* packed = in_place ? nullptr : ws.get<float>(worker, 1, packed_size(strips.rows * z.out_w, z.out));
    float* to = partial + run * count + group * z.out;
    for (Index strip = runs.begin(run); strip < runs.begin(run) + runs.size(run); ++strip) {
      const Index image = strips.image(strip), row = strips.first_row(strip), rows = strips.rows_of(strip, z.out_h);
      const Index pixels = rows * z.out_w;
      copy_strip(s, strips, x, image, group, row, rows, map);
      const float* gradient = dy + (image * z.out_h + row) * z.out_w * s.out + group * z.out;
      if (!in_place) pack_b_panels(gradient, s.out, 1, pixels, z.out, packed);
      Tile t;
      t.a_stride = s.stride_w * z.in, t.a_run = s.stride_h * strips.row_floats;
      t.k = z.out_w, t.runs = rows, t.c_stride = s.out;
      t.add = strip > runs.begin(run);
      for (Index j = 0; j < z.out; j += tile_columns) {
        t.b = in_place ? gradient + j : packed + j * pixels;
        t.b_stride = in_place ? s.out : panel_width(z.out, j);
        t.b_run = z.out_w * t.b_stride;
        t.columns = std::min<Index>(tile_columns, z.out - j);
        for (Index kh = 0; kh < s.kernel_h; ++kh)
          for (Index i = 0; i < heights.pieces; ++i) {
            t.a = map + kh * strips.row_floats + heights.begin(i);
            t.c = to + (kh * z.row + heights.begin(i)) * s.out + j;
            tile_kernel<ALayout::columns>(heights.size(i), t.columns)(t);
          }
      }
    }
  });
  add_partials(pool, partial, runs.pieces, z.k, s.out, dw, s.out, store, {});
}

}  // namespace espalier::detail
