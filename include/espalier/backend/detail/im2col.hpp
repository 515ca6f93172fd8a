// SPDX-License-Identifier: Apache-2.0
// Convolution as a product, for any kernel, stride, padding and groups: rows of the input's windows
// are written out a cache-sized block of output pixels at a time and multiplied by the weights.
#pragma once

#include <algorithm>

#include <espalier/backend/detail/gemm.hpp>
#include <espalier/backend/detail/pack.hpp>
#include <espalier/backend/detail/tile.hpp>

namespace espalier::detail {

/// The sizes of one group of a convolution, seen as a product [pixels, taps * in] * [taps * in, out].
struct ConvSizes {
  Index in, out, row, k, pixels, out_h, out_w;
  explicit ConvSizes(const ConvShape& s)
      : in(s.in / s.groups), out(s.out / s.groups), row(s.kernel_w * in), k(s.kernel_h * row),
        pixels(s.n * s.out_h() * s.out_w()), out_h(s.out_h()), out_w(s.out_w()) {}
};

/// Writes the windows of output pixels [first, first + count), kernel rows [kh0, kh1), of one group: one
/// row of (kh1 - kh0) * kernel_w * in floats for each, `stride` apart. Pixels outside the map are zero.
inline void gather_windows(const ConvShape& s, const float* x, Index group, Index first, Index count, Index kh0, Index kh1,
                           float* out, Index stride) {
  const ConvSizes z(s);
  for (Index q = first; q < first + count; ++q, out += stride) {
    const Index image = q / (z.out_h * z.out_w), oy = q / z.out_w % z.out_h, ox = q % z.out_w;
    const Index left = ox * s.stride_w - s.pad_w;
    const Index kw0 = std::clamp<Index>(-left, 0, s.kernel_w), kw1 = std::clamp<Index>(s.w - left, kw0, s.kernel_w);
    float* to = out;
    for (Index kh = kh0; kh < kh1; ++kh, to += z.row) {
      const Index y = oy * s.stride_h - s.pad_h + kh;
      if (y < 0 || y >= s.h) {
        std::fill_n(to, z.row, 0.0f);
        continue;
      }
      const float* from = x + ((image * s.h + y) * s.w + left) * s.in + group * z.in;
      std::fill_n(to, kw0 * z.in, 0.0f);
      if (s.groups == 1)
        std::copy_n(from + kw0 * z.in, (kw1 - kw0) * z.in, to + kw0 * z.in);
      else
        for (Index kw = kw0; kw < kw1; ++kw) std::copy_n(from + kw * s.in, z.in, to + kw * z.in);
      std::fill_n(to + kw1 * z.in, (s.kernel_w - kw1) * z.in, 0.0f);
    }
  }
}

/// The distance between rows of gathered windows; never a multiple of a page, so that the rows of a
/// tile do not fall on the same lines of the cache.
inline Index window_stride(Index k) { return simd::padded(k) + (simd::padded(k) % 256 == 0 ? simd::lanes : 0); }

inline void pack_conv_panels(ThreadPool& pool, const ConvShape& s, const float* w, float* panels) {
  const ConvSizes z(s);
  const Index step = round_up(std::max<Index>(1, 16384 / std::max<Index>(1, z.k)), tile_columns);
  const Index blocks = ceil_div(z.out, step);
  pool.run(s.groups * blocks, [&](Index block, int) {
    const Index group = block / blocks, j = block % blocks * step;
    pack_b_panels(w + group * z.out + j, s.out, 1, z.k, std::min(step, z.out - j),
                  panels + group * packed_size(z.k, z.out) + j * z.k);
  });
}

/// y = epilogue(x * w); `panels` holds the weights of each group, packed.
inline void im2col_forward(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* x, const float* panels, float* y,
                           const Epilogue& epilogue) {
  const ConvSizes z(s);
  GemmShape product;
  product.m = z.pixels, product.n = z.out, product.k = z.k;
  const GemmBlocks cut(product);
  const Index row_blocks = ceil_div(z.pixels, cut.block_rows), column_blocks = ceil_div(z.out, cut.block_columns);
  const Index stride = window_stride(z.k);
  // Windows that several blocks of columns read are gathered once, for all.
  float* all = column_blocks > 1 ? ws.shared<float>(3, s.groups * z.pixels * stride) : nullptr;
  if (all != nullptr)
    pool.run(s.groups * z.pixels, [&](Index i, int) {
      gather_windows(s, x, i / z.pixels, i % z.pixels, 1, 0, s.kernel_h, all + i * stride, stride);
    });
  pool.run(row_blocks * s.groups * column_blocks, [&](Index block, int worker) {
    const Index j0 = block % column_blocks * cut.block_columns, group = block / column_blocks % s.groups;
    const Index first = block / column_blocks / s.groups * cut.block_rows;
    const Index rows = std::min(cut.block_rows, z.pixels - first);
    float* windows = nullptr;
    if (all != nullptr) {
      windows = all + (group * z.pixels + first) * stride;
    } else {
      windows = ws.get<float>(worker, 2, rows * stride);
      gather_windows(s, x, group, first, rows, 0, s.kernel_h, windows, stride);
    }
    GemmShape part = product;
    part.m = rows, part.lda = stride;
    Epilogue shifted = epilogue;
    if (shifted.bias != nullptr) shifted.bias += group * z.out;
    gemm_block(ws, worker, part, windows, BSource{panels + group * packed_size(z.k, z.out), nullptr, 0},
               y + first * s.out + group * z.out, s.out, 0, rows, j0, std::min(cut.block_columns, z.out - j0), 0, z.k,
               std::max<Index>(1, z.k), false, shifted);
  });
}

/// dx (+)= the windows' gradients, scattered back; one image at a time.
inline void im2col_backward_input(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* dy, const float* w,
                                  float* dx, Store store) {
  const ConvSizes z(s);
  float* panels = ws.shared<float>(0, s.groups * packed_size(z.out, z.k));
  pool.run(s.groups, [&](Index group, int) {
    pack_b_panels(w + group * z.out, 1, s.out, z.out, z.k, panels + group * packed_size(z.out, z.k));
  });
  const Index pixels = z.out_h * z.out_w, most = std::min<Index>(pixels, 8 * tile_rows);
  const Index stride = window_stride(z.k);
  pool.run(s.n * s.groups, [&](Index block, int worker) {
    const Index image = block / s.groups, group = block % s.groups;
    float* to = dx + image * s.h * s.w * s.in + group * z.in;
    if (store == Store::assign)
      for (Index q = 0; q < s.h * s.w; ++q) std::fill_n(to + q * s.in, z.in, 0.0f);
    float* windows = ws.get<float>(worker, 2, most * stride);
    for (Index first = 0; first < pixels; first += most) {
      GemmShape part;
      part.m = std::min(most, pixels - first), part.n = z.k, part.k = z.out, part.lda = s.out;
      gemm_block(ws, worker, part, dy + (image * pixels + first) * s.out + group * z.out,
                 BSource{panels + group * packed_size(z.out, z.k), nullptr, 0}, windows, stride, 0, part.m, 0, part.n, 0, part.k,
                 std::max<Index>(1, part.k), false, {});
      for (Index q = 0; q < part.m; ++q) {
        const Index oy = (first + q) / z.out_w, ox = (first + q) % z.out_w;
        const float* from = windows + q * stride;
        for (Index kh = 0; kh < s.kernel_h; ++kh)
          for (Index kw = 0; kw < s.kernel_w; ++kw, from += z.in) {
            const Index row = oy * s.stride_h - s.pad_h + kh, column = ox * s.stride_w - s.pad_w + kw;
            if (row < 0 || row >= s.h || column < 0 || column >= s.w) continue;
            float* sum = to + (row * s.w + column) * s.in;
            for (Index c = 0; c < z.in; ++c) sum[c] += from[c];
          }
      }
    }
  });
}

/// dw (+)= windows^T * dy: a fixed number of runs of pixels is summed apart, then added in order.
inline void im2col_backward_weights(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* x, const float* dy,
                                    float* dw, Store store) {
  const ConvSizes z(s);
  const Index count = s.weight_count(), step = 8 * tile_rows;
  const Index most = std::max<Index>(1, std::min<Index>(16, (Index{4} << 20) / std::max<Index>(1, count)));
  const Pieces runs{z.pixels, std::clamp<Index>(z.pixels / 256, 1, most)};
  float* partial = runs.pieces > 1 ? ws.shared<float>(1, runs.pieces * count) : nullptr;
  const Index stride = window_stride(z.row);
  const bool add = partial == nullptr && store == Store::add;
  pool.run(runs.pieces * s.groups * s.kernel_h, [&](Index block, int worker) {
    const Index kh = block % s.kernel_h, group = block / s.kernel_h % s.groups, run = block / s.kernel_h / s.groups;
    float* to = (partial != nullptr ? partial + run * count : dw) + kh * z.row * s.out + group * z.out;
    float* windows = ws.get<float>(worker, 2, step * stride);
    float* panels = ws.get<float>(worker, 1, packed_size(step, z.out));
    const Pieces heights = Pieces::at_most(z.row, tile_rows);
    const Index begin = runs.begin(run), end = begin + runs.size(run);
    for (Index first = begin; first == begin || first < end; first += step) {
      const Index pixels = std::min(step, end - first);
      gather_windows(s, x, group, first, pixels, kh, kh + 1, windows, stride);
      pack_b_panels(dy + first * s.out + group * z.out, s.out, 1, pixels, z.out, panels);
      for (Index j = 0; j < z.out; j += tile_columns)
        for (Index i = 0; i < heights.pieces; ++i) {
          Tile t;
          t.a = windows + heights.begin(i), t.a_stride = stride;
          t.b = panels + j * pixels, t.b_stride = panel_width(z.out, j);
          t.c = to + heights.begin(i) * s.out + j, t.c_stride = s.out;
          t.k = pixels, t.columns = std::min<Index>(tile_columns, z.out - j);
          t.add = add || first > begin;
          tile_kernel<ALayout::columns>(heights.size(i), t.columns)(t);
        }
    }
  });
  if (partial != nullptr) add_partials(pool, partial, runs.pieces, z.k, s.out, dw, s.out, store, {});
}

}  // namespace espalier::detail
