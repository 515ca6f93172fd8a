// SPDX-License-Identifier: Apache-2.0
// What the kernel tests share: random data, and errors measured against sums in double whose scale is
// the sum of the absolute products, so that a tolerance means rounding errors and nothing else.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <espalier/backend/geometry.hpp>
#include <espalier/error.hpp>

namespace kernels_test {

using espalier::Index;

/// Reproducible numbers in [-1, 1) of a 64-bit generator (splitmix64).
inline std::vector<float> random_floats(Index count, std::uint64_t seed) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) {
    seed += 0x9e3779b97f4a7c15u;
    std::uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    value = static_cast<float>(static_cast<double>(z >> 40) / 8388608.0 - 1.0);
  }
  return values;
}

/// A result in double beside the root of the sum of its squared products.
struct Expected {
  std::vector<double> value, scale;
  explicit Expected(Index count) : value(static_cast<std::size_t>(count)), scale(static_cast<std::size_t>(count)) {}
  void add(Index at, double a, double b) {
    value[static_cast<std::size_t>(at)] += a * b;
    scale[static_cast<std::size_t>(at)] += a * a * b * b;
  }
};

/// The largest error as a share of the scale: a value's own, or the root mean square of all if that is larger (a
/// value whose products happen to be small has neighbours whose rounding errors reach it through Winograd's transforms).
inline double worst_error(const Expected& expected, const std::vector<float>& found) {
  double worst = 0, mean = 0;
  for (const double scale : expected.scale) mean += scale / static_cast<double>(expected.scale.size());
  for (std::size_t i = 0; i < expected.value.size(); ++i) {
    const double error = std::abs(static_cast<double>(found[i]) - expected.value[i]);
    if (!(error <= 1e30)) return 1e30;
    worst = std::max(worst, error / (std::sqrt(std::max(expected.scale[i], mean)) + 1e-6));
  }
  return worst;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

}  // namespace kernels_test
