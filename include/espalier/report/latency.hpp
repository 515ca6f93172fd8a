// SPDX-License-Identifier: Apache-2.0
// How long one call takes: warm-up calls first, then timed calls, then median, p95, minimum and spread.
// The median and the median absolute deviation are reported because a busy machine makes outliers,
// and outliers move a mean.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "espalier/error.hpp"
#include "espalier/report/clock.hpp"

namespace espalier {

/// How often to call. Measuring stops once both `runs` and `min_seconds` are reached, or at `max_runs`.
struct LatencyOptions {
  int warm_up = 10;        // calls, not timed
  int runs = 50;           // timed calls, at least
  double min_seconds = 0;  // total of the timed calls, at least
  int max_runs = 100000;   // timed calls, at most
  bool operator==(const LatencyOptions&) const = default;

  void validate() const {
    if (warm_up < 0)
      throw PolicyError(str("LatencyOptions.warm_up is ", warm_up, "; it must be 0 or more. Set it to 10."));
    if (runs < 1) throw PolicyError(str("LatencyOptions.runs is ", runs, "; it must be 1 or more. Set it to 50."));
    if (!(min_seconds >= 0)) {
      throw PolicyError(str("LatencyOptions.min_seconds is ", min_seconds, "; it must be 0 or more. Set it to 0."));
    }
    if (max_runs < runs) {
      throw PolicyError(str("LatencyOptions.max_runs is ", max_runs, ", less than runs, which is ", runs,
                            "; raise max_runs to at least that."));
    }
  }
};

/// Seconds per call over `runs` timed calls.
struct LatencyStats {
  double median = 0;  // the middle; the mean of the two middle ones when runs is even
  double p95 = 0;     // nearest rank: the smallest sample that at least 95 % of the samples do not exceed
  double min = 0;
  double spread = 0;  // median absolute deviation from the median, not scaled
  std::size_t runs = 0;
  bool operator==(const LatencyStats&) const = default;
};

namespace detail {

/// The median of values that are already in ascending order.
inline double sorted_median(const std::vector<double>& sorted) {
  const std::size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : sorted[half - 1] + (sorted[half] - sorted[half - 1]) / 2;
}

}  // namespace detail

/// The statistics of samples in any order. Throws Error without samples.
inline LatencyStats summarize(std::vector<double> samples) {
  if (samples.empty()) throw Error("latency: no samples were given; at least one is needed. Time a call first.");
  std::sort(samples.begin(), samples.end());
  const std::size_t n = samples.size();
  LatencyStats stats;
  stats.runs = n;
  stats.min = samples.front();
  stats.median = detail::sorted_median(samples);
  stats.p95 = samples[(n * 95 + 99) / 100 - 1];  // ceil(0.95 n) in integers, counted from 1
  for (double& sample : samples) sample = std::fabs(sample - stats.median);
  std::sort(samples.begin(), samples.end());
  stats.spread = detail::sorted_median(samples);
  return stats;
}

/// Calls `f()` as `options` say and times each call by `clock`, a call that returns seconds.
/// `f` must make its result observable, or the compiler may remove the work.
template <class F, class Clock = SteadySeconds>
LatencyStats measure(F&& f, const LatencyOptions& options = {}, Clock&& clock = Clock{}) {
  options.validate();
  for (int i = 0; i < options.warm_up; ++i) f();
  std::vector<double> samples;
  samples.reserve(static_cast<std::size_t>(options.runs));
  double total = 0;
  while (samples.size() < static_cast<std::size_t>(options.runs) ||
         (total < options.min_seconds && samples.size() < static_cast<std::size_t>(options.max_runs))) {
    const double start = clock();
    f();
    samples.push_back(clock() - start);
    total += samples.back();
  }
  return summarize(std::move(samples));
}

}  // namespace espalier
