// SPDX-License-Identifier: Apache-2.0
// A sample of the scores of many tensors, from places that depend on the number of scores alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/prune/detail/score_scan.hpp>

namespace espalier::detail {

inline constexpr Index sample_run = 16;  // scores of one cache line

/// Where the runs of a sample of some total^(2/3) of `total` scores start: one in each equal stretch, at a
/// shifting place, so that a periodic pattern is not followed.
inline std::vector<Index> sample_places(Index total) {
  const auto runs = std::max(Index{1}, static_cast<Index>(std::pow(static_cast<double>(total), 2.0 / 3)) / sample_run);
  const Index stretch = total / runs, spare = std::max(Index{0}, stretch - sample_run);
  std::vector<Index> places(static_cast<std::size_t>(runs));
  std::uint32_t shift = 0;
  for (Index r = 0; r < runs; ++r, shift += 0x9E3779B9u)  // steps of the golden ratio are evenly spread
    places[static_cast<std::size_t>(r)] = r * stretch + static_cast<Index>((shift * static_cast<std::uint64_t>(spare)) >> 32);
  return places;
}

/// What one thread has sampled.
struct alignas(64) ScoreSample {
  std::vector<float> scores{};
};

/// The scores at sample_places that are alive and numbers. Which thread took which is left open.
inline std::vector<ScoreSample> take_sample(ThreadPool& pool, std::span<const ScoreSegment> segments) {
  struct Run {
    const ScoreSegment* segment;
    Index first, end;
  };
  std::vector<Run> runs;
  const ScoreSegment* s = segments.data();
  Index start = 0;  // of s among all scores
  for (const Index place : sample_places(total_size(segments))) {
    for (; place - start >= s->size(); ++s) start += s->size();
    runs.push_back({s, place - start, std::min(place - start + sample_run, s->size())});
  }
  std::vector<ScoreSample> samples(static_cast<std::size_t>(pool.threads()));
  for (ScoreSample& sample : samples) sample.scores.reserve(runs.size() * sample_run);
  constexpr std::size_t block = 128, ahead = 16;
  pool.run(static_cast<Index>((runs.size() + block - 1) / block), [&](Index b, int worker) {
    std::vector<float>& scores = samples[static_cast<std::size_t>(worker)].scores;
    const std::size_t end = std::min(runs.size(), static_cast<std::size_t>(b + 1) * block);
    for (std::size_t r = static_cast<std::size_t>(b) * block; r < end; ++r) {
      const Run& run = runs[r];
      const Run& next = runs[std::min(r + ahead, end - 1)];  // each run is a cache miss: ask early
      __builtin_prefetch(next.segment->scores.data() + next.first);
      for (Index i = run.first; i < run.end; ++i) {
        const float score = run.segment->scores[static_cast<std::size_t>(i)];
        if (run.segment->is_alive(i) && !is_nan(score)) scores.push_back(score);
      }
    }
  });
  return samples;
}

}  // namespace espalier::detail
