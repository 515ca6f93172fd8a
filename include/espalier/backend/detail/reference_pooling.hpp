// SPDX-License-Identifier: Apache-2.0
// Maximum and average pooling of the reference backend: what happens in one window, and one loop over all windows.
#pragma once

#include <algorithm>
#include <cstdint>

#include <espalier/backend/geometry.hpp>

namespace espalier::detail {

/// A part of BasicReference<T>: obvious loops, sums in double.
template <class T>
class ReferencePooling {
 public:
  // argmax[i] is the position h * w_extent + w inside the image; the first maximum wins.
  void max_pool_forward(const PoolShape& s, const T* x, T* y, std::int32_t* argmax) {
    for_each_window(s, [&](Index out, Index n, Index c, Index y0, Index y1, Index x0, Index x1) {
      Index best = -1;
      for (Index iy = y0; iy < y1; ++iy)
        for (Index ix = x0; ix < x1; ++ix)
          if (const Index here = iy * s.w + ix; best < 0 || x[(n * s.h * s.w + here) * s.c + c] > x[(n * s.h * s.w + best) * s.c + c]) best = here;
      y[out] = x[(n * s.h * s.w + best) * s.c + c];
      argmax[out] = static_cast<std::int32_t>(best);
    });
  }
  void max_pool_backward(const PoolShape& s, const T* dy, const std::int32_t* argmax, T* dx) {
    std::fill_n(dx, s.n * s.h * s.w * s.c, T{0});
    for_each_window(s, [&](Index out, Index n, Index c, Index, Index, Index, Index) {
      dx[(n * s.h * s.w + argmax[out]) * s.c + c] += dy[out];
    });
  }
  // Padding counts in the divisor, as in PyTorch's default.
  void avg_pool_forward(const PoolShape& s, const T* x, T* y) {
    for_each_window(s, [&](Index out, Index n, Index c, Index y0, Index y1, Index x0, Index x1) {
      double total = 0;
      for (Index iy = y0; iy < y1; ++iy)
        for (Index ix = x0; ix < x1; ++ix) total += static_cast<double>(x[((n * s.h + iy) * s.w + ix) * s.c + c]);
      y[out] = static_cast<T>(total / static_cast<double>(s.kernel_h * s.kernel_w));
    });
  }
  void avg_pool_backward(const PoolShape& s, const T* dy, T* dx) {
    std::fill_n(dx, s.n * s.h * s.w * s.c, T{0});
    for_each_window(s, [&](Index out, Index n, Index c, Index y0, Index y1, Index x0, Index x1) {
      for (Index iy = y0; iy < y1; ++iy)
        for (Index ix = x0; ix < x1; ++ix)
          dx[((n * s.h + iy) * s.w + ix) * s.c + c] += dy[out] / static_cast<T>(s.kernel_h * s.kernel_w);
    });
  }

 private:
  // f(output offset, image, channel, y range, x range), the ranges cut to the image.
  template <class F> static void for_each_window(const PoolShape& s, F f) {
    for (Index n = 0; n < s.n; ++n)
      for (Index oy = 0; oy < s.out_h(); ++oy)
        for (Index ox = 0; ox < s.out_w(); ++ox)
          for (Index c = 0; c < s.c; ++c) {
            const Index y0 = oy * s.stride_h - s.pad_h, x0 = ox * s.stride_w - s.pad_w;
            f(((n * s.out_h() + oy) * s.out_w() + ox) * s.c + c, n, c, std::max<Index>(y0, 0), std::min(y0 + s.kernel_h, s.h),
              std::max<Index>(x0, 0), std::min(x0 + s.kernel_w, s.w));
          }
  }
};

}  // namespace espalier::detail
