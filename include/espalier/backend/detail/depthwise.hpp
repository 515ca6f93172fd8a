// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution: every channel has one filter of its own, so that nothing is a product and
// everything is a sum over the window, a vector of channels at a time.
#pragma once

#include <algorithm>

#include <espalier/backend/detail/gemm.hpp>
#include <espalier/backend/detail/simd.hpp>
#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/backend/detail/tile.hpp>
#include <espalier/backend/detail/workspace.hpp>

namespace espalier::detail {

constexpr bool is_depthwise(const ConvShape& s) { return s.groups == s.in && s.in == s.out && s.in > 1; }

inline void depthwise_forward(ThreadPool& pool, const ConvShape& s, const float* x, const float* w, float* y,
                              const Epilogue& epilogue) {
  const Index out_h = s.out_h(), out_w = s.out_w(), channels = s.in;
  pool.run(s.n * out_h, [&](Index block, int) {
    const Index image = block / out_h, top = block % out_h * s.stride_h - s.pad_h;
    const Index kh0 = std::max<Index>(0, -top), kh1 = std::min(s.kernel_h, s.h - top);
    for (Index ox = 0; ox < out_w; ++ox) {
      const Index left = ox * s.stride_w - s.pad_w;
      const Index kw0 = std::max<Index>(0, -left), kw1 = std::min(s.kernel_w, s.w - left);
      for (Index c = 0; c < channels; c += simd::lanes) {
        const Index width = std::min<Index>(simd::lanes, channels - c);
        simd::Vec sum{};
        for (Index kh = kh0; kh < kh1; ++kh)
          for (Index kw = kw0; kw < kw1; ++kw)
            sum = sum + simd::load_n(x + ((image * s.h + top + kh) * s.w + left + kw) * channels + c, width) *
                            simd::load_n(w + (kh * s.kernel_w + kw) * channels + c, width);
        if (epilogue.bias != nullptr) sum = sum + simd::load_n(epilogue.bias + c, width);
        if (epilogue.activation == Activation::relu) sum = simd::relu(sum);
        simd::store_n(y + (block * out_w + ox) * channels + c, sum, width);
      }
    }
  });
}

inline void depthwise_backward_input(ThreadPool& pool, const ConvShape& s, const float* dy, const float* w, float* dx,
                                     Store store) {
  const Index out_h = s.out_h(), out_w = s.out_w(), channels = s.in;
  pool.run(s.n * s.h, [&](Index block, int) {
    const Index image = block / s.h, row = block % s.h;
    for (Index column = 0; column < s.w; ++column)
      for (Index c = 0; c < channels; c += simd::lanes) {
        const Index width = std::min<Index>(simd::lanes, channels - c);
        float* to = dx + (block * s.w + column) * channels + c;
        simd::Vec sum = store == Store::add ? simd::load_n(to, width) : simd::Vec{};
        for (Index kh = 0; kh < s.kernel_h; ++kh) {
          const Index y = row + s.pad_h - kh;
          if (y < 0 || y % s.stride_h != 0 || y / s.stride_h >= out_h) continue;
          for (Index kw = 0; kw < s.kernel_w; ++kw) {
            const Index q = column + s.pad_w - kw;
            if (q < 0 || q % s.stride_w != 0 || q / s.stride_w >= out_w) continue;
            sum = sum + simd::load_n(dy + ((image * out_h + y / s.stride_h) * out_w + q / s.stride_w) * channels + c, width) *
                            simd::load_n(w + (kh * s.kernel_w + kw) * channels + c, width);
          }
        }
        simd::store_n(to, sum, width);
      }
  });
}

inline void depthwise_backward_weights(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* x, const float* dy,
                                       float* dw, Store store) {
  const Index out_h = s.out_h(), out_w = s.out_w(), channels = s.in, taps = s.kernel_h * s.kernel_w;
  const Pieces runs{s.n * out_h, std::clamp<Index>(s.n * out_h / 8, 1, 16)};
  float* partial = ws.shared<float>(1, runs.pieces * taps * channels);
  pool.run(runs.pieces, [&](Index run, int) {
    float* to = partial + run * taps * channels;
    std::fill_n(to, taps * channels, 0.0f);
    for (Index row = runs.begin(run); row < runs.begin(run) + runs.size(run); ++row) {
      const Index image = row / out_h, top = row % out_h * s.stride_h - s.pad_h;
      for (Index kh = std::max<Index>(0, -top); kh < std::min(s.kernel_h, s.h - top); ++kh)
        for (Index kw = 0; kw < s.kernel_w; ++kw)
          for (Index c = 0; c < channels; c += simd::lanes) {
            const Index width = std::min<Index>(simd::lanes, channels - c);
            simd::Vec sum{};
            for (Index ox = 0; ox < out_w; ++ox) {
              const Index column = ox * s.stride_w - s.pad_w + kw;
              if (column < 0 || column >= s.w) continue;
              sum = sum + simd::load_n(x + ((image * s.h + top + kh) * s.w + column) * channels + c, width) *
                              simd::load_n(dy + (row * out_w + ox) * channels + c, width);
            }
            float* cell = to + (kh * s.kernel_w + kw) * channels + c;
            simd::store_n(cell, simd::load_n(cell, width) + sum, width);
          }
    }
  });
  add_partials(pool, partial, runs.pieces, taps, channels, dw, channels, store, {});
}

}  // namespace espalier::detail
