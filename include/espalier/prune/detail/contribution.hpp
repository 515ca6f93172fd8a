// SPDX-License-Identifier: Apache-2.0
// What a channel that does not change with the input gives to the outputs that read it: one number that a bias can
// take, or several, as at the border of a map where a convolution pads with zeros.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <espalier/autograd/parameter.hpp>
#include <espalier/prune/detail/dependence.hpp>

namespace espalier::detail {

struct Contribution {
  double value = 0;
  bool uniform = true;  // the same wherever the row computes
  bool flat = true;     // as is what it reads
};

// The taps over one place of a map; what lies outside of it is zero.
inline double tap_sum(const ConvShape& s, const float* taps, const std::vector<double>& plane, Index y, Index x) {
  double sum = 0;
  for (Index ky = 0; ky < s.kernel_h; ++ky)
    for (Index kx = 0; kx < s.kernel_w; ++kx) {
      const Index in_y = y * s.stride_h + ky - s.pad_h, in_x = x * s.stride_w + kx - s.pad_w;
      if (in_y < 0 || in_y >= s.h || in_x < 0 || in_x >= s.w) continue;
      sum += static_cast<double>(taps[ky * s.kernel_w + kx]) * plane[static_cast<std::size_t>(in_y * s.w + in_x)];
    }
  return sum;
}

// What a row gets from a slice in each application of the weight w, if that is one number; `uses` are the readings of w.
inline Contribution contribution(const HostTensor& w, const std::vector<ChannelReading>& readings, const std::vector<int>& uses, Index row, Index slice) {
  double low = std::numeric_limits<double>::infinity(), high = -low, tolerance = 0;
  Contribution all;
  for (const int use : uses) {
    const ChannelReading& r = readings[static_cast<std::size_t>(use)];
    const auto constant = r.constants.find(r.linear ? r.position(row, slice) : -1);
    if (constant == r.constants.end()) return {.uniform = false, .flat = false};
    const std::vector<double>& plane = constant->second;
    const ConvShape& s = r.sizes;
    const float* taps = w.values.data() + (row * r.slices() + slice) * s.kernel_h * s.kernel_w;
    double magnitude = 0;
    for (Index tap = 0; tap < s.kernel_h * s.kernel_w; ++tap) magnitude += std::abs(static_cast<double>(taps[tap]));
    tolerance = std::max(tolerance, constant_tolerance * r.scale * magnitude);
    const auto [least, most] = std::minmax_element(plane.begin(), plane.end());
    all.flat = all.flat && *most - *least <= constant_tolerance * r.scale;
    if (*least == *most && (*least == 0 || (s.pad_h == 0 && s.pad_w == 0))) {
      double sum = 0;
      for (Index tap = 0; tap < s.kernel_h * s.kernel_w; ++tap) sum += static_cast<double>(taps[tap]) * *least;
      low = std::min(low, sum), high = std::max(high, sum);
      continue;
    }
    for (Index y = 0; y < s.out_h() && !(high - low > tolerance); ++y)
      for (Index x = 0; x < s.out_w(); ++x) {
        const double sum = tap_sum(s, taps, plane, y, x);
        low = std::min(low, sum), high = std::max(high, sum);
      }
  }
  all.uniform = high - low <= tolerance;
  all.value = low == high ? low : (low + high) / 2;
  return all;
}

}  // namespace espalier::detail
