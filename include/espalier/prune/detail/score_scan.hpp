// SPDX-License-Identifier: Apache-2.0
// Reading the scores of many tensors once, on all threads: as whole numbers in the order of the scores,
// 64 at a time as the bits of a word, so that counting and marking are popcounts and ands.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <espalier/backend/detail/simd.hpp>
#include <espalier/backend/geometry.hpp>

namespace espalier::detail {

/// Scores of one tensor, in outside order; `alive` has 1 bit a score (bit i % 64 of word i / 64), null if
/// all are alive. Dead scores take no part.
struct ScoreSegment {
  std::span<const float> scores{};
  const std::uint64_t* alive = nullptr;

  Index size() const { return static_cast<Index>(scores.size()); }
  bool is_alive(Index i) const { return alive == nullptr || (alive[i / 64] >> (i % 64) & 1) != 0; }
};

inline Index total_size(std::span<const ScoreSegment> segments) {
  Index sum = 0;
  for (const ScoreSegment& s : segments) sum += s.size();
  return sum;
}

/// The order of scores x: by x, or by |x|, so that weights need no copy.
enum class ScoreKey { value, magnitude };

/// A whole number that orders as the scores do, and is equal where they are: -0 is 0, infinities are the
/// ends, nothing is rounded whatever the processor does with denormals. NaN lies beyond the infinities.
template <ScoreKey K>
constexpr std::int32_t key_of(float score) {
  const auto bits = std::bit_cast<std::int32_t>(score), size = bits & 0x7fffffff;
  return K == ScoreKey::value && bits < 0 ? -size : size;
}
/// The score with that key; the positive one where two have it.
constexpr float score_of(std::int32_t key) { return key < 0 ? -std::bit_cast<float>(-key) : std::bit_cast<float>(key); }

inline constexpr std::int32_t infinity_key = 0x7f800000;
constexpr bool is_nan(float score) { return key_of<ScoreKey::magnitude>(score) > infinity_key; }

/// The marks of 64 scores against P pivots: bit i of word q is set where the key of p[i] is below pivots[q].
/// `largest` grows to the largest magnitude met, so that a NaN is noticed at one operation a vector.
template <ScoreKey K, std::size_t P>
[[gnu::always_inline]] inline std::array<std::uint64_t, P> below(const float* p, const std::array<simd::IntVec, P>& pivots, simd::IntVec& largest) {
  std::array<std::uint64_t, P> marks{};
  for (int at = 0; at < 64; at += simd::lanes) {
    const auto bits = (simd::IntVec)simd::load(p + at);
    const simd::IntVec size = bits & 0x7fffffff;
    largest = size > largest ? size : largest;
    simd::IntVec key = size;
    if constexpr (K == ScoreKey::value) {
      const simd::IntVec negative = bits >> 31;  // all ones or all zeros
      key = (size ^ negative) - negative;
    }
    for (std::size_t q = 0; q < P; ++q) marks[q] |= static_cast<std::uint64_t>(simd::less(key, pivots[q])) << at;
  }
  return marks;
}

/// A run of scores of one segment that one thread reads at a time; `first` is a multiple of 64.
struct ScorePiece {
  std::size_t segment;
  Index first, size;
};

inline std::vector<ScorePiece> cut_into_pieces(std::span<const ScoreSegment> segments) {
  constexpr Index most = 16384;  // 64 KiB of scores
  std::vector<ScorePiece> pieces;
  for (std::size_t s = 0; s < segments.size(); ++s)
    for (Index first = 0; first < segments[s].size(); first += most) pieces.push_back({s, first, std::min(most, segments[s].size() - first)});
  return pieces;
}

/// Calls f(scores, live, word) for each 64 scores of a piece: `live` has the bits of those that are there and
/// alive, `word` is their place in the segment's words. The last call may get a copy, filled up with zeros.
template <class F>
[[gnu::always_inline]] inline void for_words(const ScoreSegment& segment, const ScorePiece& piece, F&& f) {
  const float* p = segment.scores.data() + piece.first;
  const Index first = piece.first / 64, whole = piece.size / 64, rest = piece.size % 64;
  alignas(64) float tail[64];
  if (rest != 0) std::fill(std::copy_n(p + 64 * whole, rest, tail), tail + 64, 0.0f);
  // One call, so that it is inlined and what it counts stays in registers.
  for (Index w = 0; w < whole + (rest != 0 ? 1 : 0); ++w) {
    const std::uint64_t there = w < whole ? ~std::uint64_t{0} : (std::uint64_t{1} << rest) - 1;
    f(w < whole ? p + 64 * w : tail, segment.alive == nullptr ? there : there & segment.alive[first + w], first + w);
  }
}

}  // namespace espalier::detail
