// SPDX-License-Identifier: Apache-2.0
// Maximum and average pooling over channels-last maps, a vector of channels at a time. The first
// maximum of a window wins, a NaN wins over everything; padding counts in an average's divisor.
#pragma once

#include <algorithm>
#include <cstdint>

#include <espalier/backend/detail/simd.hpp>
#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/backend/geometry.hpp>

namespace espalier::detail {

using LaneIds __attribute__((vector_size(simd::bytes))) = std::int32_t;

[[gnu::always_inline]] inline LaneIds load_ids(const std::int32_t* p, Index n) {
  LaneIds ids{};
  __builtin_memcpy(&ids, p, static_cast<std::size_t>(n) * sizeof *p);
  return ids;
}
[[gnu::always_inline]] inline void store_ids(std::int32_t* p, LaneIds ids, Index n) {
  if (n == simd::lanes)
    __builtin_memcpy(p, &ids, sizeof ids);
  else
    __builtin_memcpy(p, &ids, static_cast<std::size_t>(n) * sizeof *p);
}

/// The part of the window of output (oy, ox) that lies inside the map.
struct PoolWindow {
  Index y0, y1, x0, x1;
  PoolWindow(const PoolShape& s, Index oy, Index ox)
      : y0(oy * s.stride_h - s.pad_h), y1(std::min(y0 + s.kernel_h, s.h)), x0(ox * s.stride_w - s.pad_w),
        x1(std::min(x0 + s.kernel_w, s.w)) {
    y0 = std::max<Index>(0, y0);
    x0 = std::max<Index>(0, x0);
  }
};

/// f(image, oy) for every row of outputs, several rows to a block.
template <class F>
void for_each_pool_row(ThreadPool& pool, const PoolShape& s, F f) {
  const Index rows = s.n * s.out_h();
  const Index step = std::max<Index>(1, 8192 / std::max<Index>(1, s.out_w() * s.c));
  pool.run((rows + step - 1) / step, [&](Index block, int) {
    for (Index row = block * step; row < std::min(rows, (block + 1) * step); ++row) f(row / s.out_h(), row % s.out_h());
  });
}

/// y = the maximum of each window; argmax, unless null, says where it was: row * w + column in its image.
inline void max_pool_forward(ThreadPool& pool, const PoolShape& s, const float* x, float* y, std::int32_t* argmax) {
  for_each_pool_row(pool, s, [&](Index image, Index oy) {
    for (Index ox = 0; ox < s.out_w(); ++ox) {
      const PoolWindow window(s, oy, ox);
      const float* map = x + image * s.h * s.w * s.c;
      const Index to = ((image * s.out_h() + oy) * s.out_w() + ox) * s.c;
      for (Index c = 0; c < s.c; c += simd::lanes) {
        const Index width = std::min<Index>(simd::lanes, s.c - c);
        auto here = static_cast<std::int32_t>(window.y0 * s.w + window.x0);
        simd::Vec best = simd::load_n(map + here * s.c + c, width);
        LaneIds best_at = LaneIds{} + here;
        for (Index iy = window.y0; iy < window.y1; ++iy)
          for (Index ix = window.x0; ix < window.x1; ++ix) {
            here = static_cast<std::int32_t>(iy * s.w + ix);
            const simd::Vec v = simd::load_n(map + here * s.c + c, width);
            const LaneIds better = (v > best) | (v != v);
            best = better ? v : best;
            best_at = better ? LaneIds{} + here : best_at;
          }
        simd::store_n(y + to + c, best, width);
        if (argmax != nullptr) store_ids(argmax + to + c, best_at, width);
      }
    }
  });
}

/// dx = dy, carried back to where the maxima were; 0 elsewhere.
inline void max_pool_backward(ThreadPool& pool, const PoolShape& s, const float* dy, const std::int32_t* argmax, float* dx) {
  pool.run(s.n, [&](Index image, int) {
    float* map = dx + image * s.h * s.w * s.c;
    std::fill_n(map, s.h * s.w * s.c, 0.0f);
    for (Index oy = 0; oy < s.out_h(); ++oy)
      for (Index ox = 0; ox < s.out_w(); ++ox) {
        const PoolWindow window(s, oy, ox);
        const Index from = ((image * s.out_h() + oy) * s.out_w() + ox) * s.c;
        for (Index c = 0; c < s.c; c += simd::lanes) {
          const Index width = std::min<Index>(simd::lanes, s.c - c);
          const simd::Vec gradient = simd::load_n(dy + from + c, width);
          const LaneIds at = width == simd::lanes ? load_ids(argmax + from + c, simd::lanes) : load_ids(argmax + from + c, width);
          for (Index iy = window.y0; iy < window.y1; ++iy)
            for (Index ix = window.x0; ix < window.x1; ++ix) {
              const Index here = iy * s.w + ix;
              float* sum = map + here * s.c + c;
              const LaneIds hit = at == LaneIds{} + static_cast<std::int32_t>(here);
              simd::store_n(sum, simd::load_n(sum, width) + (hit ? gradient : simd::Vec{}), width);
            }
        }
      }
  });
}

/// y = the sum of each window divided by kernel_h * kernel_w.
inline void avg_pool_forward(ThreadPool& pool, const PoolShape& s, const float* x, float* y) {
  const simd::Vec share = simd::splat(1.0f / static_cast<float>(s.kernel_h * s.kernel_w));
  for_each_pool_row(pool, s, [&](Index image, Index oy) {
    for (Index ox = 0; ox < s.out_w(); ++ox) {
      const PoolWindow window(s, oy, ox);
      for (Index c = 0; c < s.c; c += simd::lanes) {
        const Index width = std::min<Index>(simd::lanes, s.c - c);
        simd::Vec sum{};
        for (Index iy = window.y0; iy < window.y1; ++iy)
          for (Index ix = window.x0; ix < window.x1; ++ix)
            sum = sum + simd::load_n(x + ((image * s.h + iy) * s.w + ix) * s.c + c, width);
        simd::store_n(y + ((image * s.out_h() + oy) * s.out_w() + ox) * s.c + c, sum * share, width);
      }
    }
  });
}

/// dx = dy / (kernel_h * kernel_w), summed over the windows that saw a pixel.
inline void avg_pool_backward(ThreadPool& pool, const PoolShape& s, const float* dy, float* dx) {
  const simd::Vec share = simd::splat(1.0f / static_cast<float>(s.kernel_h * s.kernel_w));
  pool.run(s.n, [&](Index image, int) {
    float* map = dx + image * s.h * s.w * s.c;
    std::fill_n(map, s.h * s.w * s.c, 0.0f);
    for (Index oy = 0; oy < s.out_h(); ++oy)
      for (Index ox = 0; ox < s.out_w(); ++ox) {
        const PoolWindow window(s, oy, ox);
        for (Index c = 0; c < s.c; c += simd::lanes) {
          const Index width = std::min<Index>(simd::lanes, s.c - c);
          const simd::Vec part = simd::load_n(dy + ((image * s.out_h() + oy) * s.out_w() + ox) * s.c + c, width) * share;
          for (Index iy = window.y0; iy < window.y1; ++iy)
            for (Index ix = window.x0; ix < window.x1; ++ix) {
              float* sum = map + (iy * s.w + ix) * s.c + c;
              simd::store_n(sum, simd::load_n(sum, width) + part, width);
            }
        }
      }
  });
}

}  // namespace espalier::detail
