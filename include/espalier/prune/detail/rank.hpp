// SPDX-License-Identifier: Apache-2.0
// Selection by rank over the scores of many tensors: exactly k, the smallest first, ties to the later place.
// docs/design/selection.md says why it is done so, and what it was measured against.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/error.hpp>
#include <espalier/prune/detail/ranking.hpp>
#include <espalier/prune/detail/score_scan.hpp>

namespace espalier::detail {

template <ScoreKey K>
Cut find_cut(ThreadPool& pool, std::span<const ScoreSegment> segments, Index k) {
  Ranking<K> ranking(pool, segments);
  const Index alive = ranking.alive();
  if (k < 1 || k > alive)
    throw PolicyError(str("selection: asked for the ", k, " smallest of ", alive, " alive scores; from 1 to ", alive,
                          " can be had. Is the amount counted of the weights still alive?"));
  return ranking.find(k, alive);
}

/// Where the k smallest alive scores of all segments end. The same for any number of threads.
/// Throws       PolicyError unless 1 <= k <= alive scores; NotANumber if an alive score is NaN.
inline Cut find_cut(ThreadPool& pool, std::span<const ScoreSegment> segments, ScoreKey key, Index k) {
  return key == ScoreKey::magnitude ? find_cut<ScoreKey::magnitude>(pool, segments, k) : find_cut<ScoreKey::value>(pool, segments, k);
}

// Clears the bits of the scores below the cut, and of those that equal it but for the first `stay`.
template <ScoreKey K>
void clear_up_to(ThreadPool& pool, std::span<const ScoreSegment> segments, float threshold, Index stay, std::span<std::uint64_t* const> out) {
  const std::int32_t key = key_of<K>(threshold);
  const std::array<simd::IntVec, 2> pivots{simd::splat_int(key), simd::splat_int(key + 1)};
  const std::vector<ScorePiece> pieces = cut_into_pieces(segments);
  std::vector<Index> ties(pieces.size());  // that are left in each piece
  pool.run(static_cast<Index>(pieces.size()), [&](Index block, int) {
    const auto i = static_cast<std::size_t>(block);
    std::uint64_t* const words = out[pieces[i].segment];
    Index equal = 0;
    simd::IntVec largest{};
    for_words(segments[pieces[i].segment], pieces[i], [&](const float* p, std::uint64_t live, Index word) {
      const auto marks = below<K>(p, pivots, largest);
      words[word] &= ~((stay == 0 ? marks[1] : marks[0]) & live);
      equal += std::popcount(marks[1] & ~marks[0] & live);
    });
    ties[i] = equal;
  });
  if (stay == 0) return;
  // The ties that stay are the first ones, so what a piece keeps depends on the pieces before it.
  std::vector<Index> stays(pieces.size());
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    stays[i] = std::min(stay, ties[i]);
    stay -= stays[i];
  }
  pool.run(static_cast<Index>(pieces.size()), [&](Index block, int) {
    const auto i = static_cast<std::size_t>(block);
    if (stays[i] == ties[i]) return;
    std::uint64_t* const words = out[pieces[i].segment];
    Index left = stays[i];
    simd::IntVec largest{};
    for_words(segments[pieces[i].segment], pieces[i], [&](const float* p, std::uint64_t live, Index word) {
      const auto marks = below<K>(p, pivots, largest);
      std::uint64_t equal = marks[1] & ~marks[0] & live;
      for (; left > 0 && equal != 0; --left) equal &= equal - 1;
      words[word] &= ~equal;
    });
  });
}

/// Clears exactly k bits of out[s], the words of each segment, which hold its alive bits (they may be the very
/// words that `alive` points to): the k smallest go; of equal scores the later ones do (higher segment, higher
/// index), the earlier stay. The same bits for any number of threads.
/// Throws       as find_cut, before any bit is cleared; k may be 0.
inline void remove_smallest(ThreadPool& pool, std::span<const ScoreSegment> segments, ScoreKey key, Index k, std::span<std::uint64_t* const> out) {
  if (k == 0) return;
  const Cut cut = find_cut(pool, segments, key, k);
  const Index stay = cut.below + cut.equal - k;
  if (key == ScoreKey::magnitude) clear_up_to<ScoreKey::magnitude>(pool, segments, cut.threshold, stay, out);
  else clear_up_to<ScoreKey::value>(pool, segments, cut.threshold, stay, out);
}

}  // namespace espalier::detail
