// SPDX-License-Identifier: Apache-2.0
// Where the k smallest of many tensors' scores end, exactly, in little more than one read: a sample brackets
// the cut, a read counts what lies below the bracket and keeps what lies inside, and the rest is done among
// those few. The sample only saves time: a bracket that misses is narrowed by at most three histograms.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/error.hpp>
#include <espalier/prune/detail/score_sample.hpp>
#include <espalier/prune/detail/score_scan.hpp>

namespace espalier::detail {

/// Where the k smallest alive scores end: `below` of them are strictly smaller than `threshold`, `equal`
/// scores equal it, and below < k <= below + equal.
struct Cut {
  float threshold = 0;
  Index below = 0, equal = 0;
  bool operator==(const Cut&) const = default;
};

/// An alive score is NaN: `index` in `segment`, the first of them. A caller who knows the segment's path
/// catches this and says it.
struct NotANumber : PolicyError {
  NotANumber(std::size_t in_segment, Index at_index)
      : PolicyError(str("selection: score ", at_index, " of tensor ", in_segment,
                        " is NaN; a number is needed, or it has no rank. Has training diverged?")),
        segment(in_segment), index(at_index) {}
  std::size_t segment;
  Index index;
};

/// Finds the cut in one set of segments, by one order.
template <ScoreKey K>
class Ranking {
 public:
  Ranking(ThreadPool& pool, std::span<const ScoreSegment> segments)
      : pool_(pool), segments_(segments), pieces_(cut_into_pieces(segments)), shares_(static_cast<std::size_t>(pool.threads())) {}

  Index alive() {
    std::vector<Index> counts(pieces_.size(), 0);
    for_pieces([&](std::size_t i, Share&) {
      if (segment(i).alive == nullptr) counts[i] = pieces_[i].size;
      else for_words(segment(i), pieces_[i], [&](const float*, std::uint64_t live, Index) { counts[i] += std::popcount(live); });
    });
    return std::accumulate(counts.begin(), counts.end(), Index{0});
  }

  /// 1 <= k <= alive. Throws NotANumber.
  Cut find(Index k, Index alive) {
    Range range{.count = alive};
    Guess guess{range.low, range.high, false, alive};
    if (alive > few) guess = guess_by_sample(k, alive);
    room_ = guess.room;
    for (Share& share : shares_) share.kept = std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(room_ + 64));
    // Where many scores equal an end of the guess, the ends are counted apart and need not be kept.
    bool kept = guess.ties ? split<4>(range, k, {guess.low, guess.low + 1, std::max(guess.low + 1, guess.high - 1), guess.high})
                           : split<2>(range, k, {guess.low, guess.high});
    while (!kept && !range.decided()) {
      if (range.count > room_) narrow_by_histogram(range, k);
      else kept = split<2>(range, k, {range.low, range.high});
    }
    if (range.decided()) return {score_of(range.low), range.before, range.count};
    Cut cut = range.count > few ? find_among_kept(k - range.before, range.count) : find_among_few(k - range.before);
    cut.below += range.before;
    return cut;
  }

 private:
  static constexpr Index few = 4096;  // so many are left to nth_element
  static constexpr int bin_bits = 11;

  // The cut's key is in [low, high), as are those of `count` scores; `before` scores have keys below low.
  struct Range {
    std::int32_t low = -infinity_key, high = infinity_key + 1;
    Index before = 0, count = 0;
    bool decided() const { return high == low + 1; }
  };
  struct Guess {
    std::int32_t low, high;  // as in Range
    bool ties;               // many scores equal an end of it
    Index room;              // for what lies inside
  };
  // What one thread has seen and kept.
  struct alignas(64) Share {
    std::array<Index, 4> below{};
    std::unique_ptr<float[]> kept{};
    Index used = 0;
    std::optional<std::size_t> nan_piece{};
    std::vector<Index> bins{};
  };

  const ScoreSegment& segment(std::size_t piece) const { return segments_[pieces_[piece].segment]; }

  // Calls f(piece, the thread's share) for every piece.
  template <class F>
  void for_pieces(F&& f) {
    pool_.run(static_cast<Index>(pieces_.size()),
              [&](Index piece, int worker) { f(static_cast<std::size_t>(piece), shares_[static_cast<std::size_t>(worker)]); });
  }

  // One read: counts the scores below each pivot (ascending, within the range), narrows the range to between
  // two of them, and keeps what lies between the middle two. True if that is what the range was narrowed to.
  template <std::size_t P>
  bool split(Range& range, Index k, const std::array<std::int32_t, P>& pivots) {
    std::array<simd::IntVec, P> splats;
    for (std::size_t q = 0; q < P; ++q) splats[q] = simd::splat_int(pivots[q]);
    for (Share& share : shares_) share.below = {}, share.used = 0;
    for_pieces([&](std::size_t i, Share& share) {
      std::array<Index, P> counts{};
      simd::IntVec largest{};
      float* const kept = share.kept.get();
      Index used = share.used;
      for_words(segment(i), pieces_[i], [&](const float* p, std::uint64_t live, Index) {
        const auto marks = below<K>(p, splats, largest);
        for (std::size_t q = 0; q < P; ++q) counts[q] += std::popcount(marks[q] & live);
        std::uint64_t inside = marks[P / 2] & ~marks[P / 2 - 1] & live;
        const Index end = used + std::popcount(inside);
        // Most words have none or a few inside: four are stored without a branch, be they there or not.
        Index at = used;
        for (; at < used + 4; ++at, inside &= inside - 1) kept[at] = p[std::countr_zero(inside) & 63];
        for (; inside != 0; ++at, inside &= inside - 1) kept[at] = p[std::countr_zero(inside)];
        used = end <= room_ ? end : 0;  // too many: what is kept is not used, as the count will show
      });
      for (std::size_t q = 0; q < P; ++q) share.below[q] += counts[q];
      share.used = used;
      for (int lane = 0; lane < simd::lanes; ++lane)
        if (largest[lane] > infinity_key) return note_nan(i, share);
    });
    refuse_nan();
    Index end = range.before + range.count;
    for (std::size_t q = 0; q < P; ++q) {
      Index count = 0;
      for (const Share& share : shares_) count += share.below[q];
      if (count >= k) {
        range.high = pivots[q], end = count;
        break;
      }
      range.low = pivots[q], range.before = count;
    }
    range.count = end - range.before;
    return range.low == pivots[P / 2 - 1] && range.high == pivots[P / 2] && range.count <= room_;
  }

  // One read: narrows the range to one of 2048 equal parts.
  void narrow_by_histogram(Range& range, Index k) {
    const auto first = static_cast<std::uint32_t>(range.low), last = static_cast<std::uint32_t>(range.high - 1);
    const int shift = std::max(0, static_cast<int>(std::bit_width(last - first)) - bin_bits);
    const std::array<simd::IntVec, 2> splats{simd::splat_int(range.low), simd::splat_int(range.high)};
    for (Share& share : shares_) share.bins.assign(std::size_t{1} << bin_bits, 0);
    for_pieces([&](std::size_t i, Share& share) {
      simd::IntVec largest{};
      Index* const bins = share.bins.data();
      for_words(segment(i), pieces_[i], [&](const float* p, std::uint64_t live, Index) {
        const auto marks = below<K>(p, splats, largest);
        for (std::uint64_t inside = marks[1] & ~marks[0] & live; inside != 0; inside &= inside - 1)
          ++bins[(static_cast<std::uint32_t>(key_of<K>(p[std::countr_zero(inside)])) - first) >> shift];
      });
    });
    for (std::size_t bin = 0;; ++bin) {
      Index count = 0;
      for (const Share& share : shares_) count += share.bins[bin];
      if (range.before + count >= k) {
        const std::int64_t low = range.low + (static_cast<std::int64_t>(bin) << shift), high = low + (std::int64_t{1} << shift);
        range.low = static_cast<std::int32_t>(low);
        range.high = static_cast<std::int32_t>(std::min<std::int64_t>(range.high, high));
        range.count = count;
        return;
      }
      range.before += count;
    }
  }

  // The scores at sample_places around rank k / alive, four standard deviations and a little to either side.
  Guess guess_by_sample(Index k, Index alive) {
    const std::vector<ScoreSample> samples = take_sample(pool_, segments_);
    std::vector<ScoreSegment> sampled;
    for (const ScoreSample& sample : samples) sampled.push_back({sample.scores});
    const Index size = total_size(sampled);
    Guess guess{-infinity_key, infinity_key + 1, false, alive};
    const double n = static_cast<double>(size), part = static_cast<double>(k) / static_cast<double>(alive);
    const double slack = 4 * std::sqrt(n * part * (1 - part)) + 16;
    const auto low = static_cast<Index>(n * part - slack), high = static_cast<Index>(n * part + slack);
    Ranking ranking(pool_, sampled);
    const auto end = [&](Index rank) {
      const Cut cut = ranking.find(rank, size);
      guess.ties = guess.ties || cut.equal > 16;
      return key_of<K>(cut.threshold);
    };
    if (low >= 1) guess.low = end(low);
    if (high <= size) guess.high = end(high) + 1;
    // Twice what is expected inside, and few enough that what is kept is a smaller problem.
    const Index inside = few + static_cast<Index>(4 * slack / (n + 1) * static_cast<double>(alive));
    guess.room = std::min(inside, std::max(alive / 2, total_size(segments_) / 8));
    return guess;
  }

  Cut find_among_kept(Index k, Index count) {
    std::vector<ScoreSegment> kept;
    for (const Share& share : shares_) kept.push_back({{share.kept.get(), static_cast<std::size_t>(share.used)}});
    return Ranking(pool_, kept).find(k, count);
  }

  Cut find_among_few(Index k) {
    std::vector<std::int32_t> keys;
    for (const Share& share : shares_)
      for (Index i = 0; i < share.used; ++i) keys.push_back(key_of<K>(share.kept[static_cast<std::size_t>(i)]));
    std::nth_element(keys.begin(), keys.begin() + (k - 1), keys.end());
    const std::int32_t key = keys[static_cast<std::size_t>(k - 1)];
    Cut cut{.threshold = score_of(key)};
    for (const std::int32_t other : keys) {
      cut.below += other < key ? 1 : 0;
      cut.equal += other == key ? 1 : 0;
    }
    return cut;
  }

  std::optional<Index> first_nan(std::size_t piece) const {
    const ScoreSegment& s = segment(piece);
    const ScorePiece& p = pieces_[piece];
    for (Index i = p.first; i < p.first + p.size; ++i)
      if (is_nan(s.scores[static_cast<std::size_t>(i)]) && s.is_alive(i)) return i;
    return std::nullopt;
  }
  void note_nan(std::size_t piece, Share& share) const {
    if (first_nan(piece)) share.nan_piece = std::min(piece, share.nan_piece.value_or(piece));
  }
  void refuse_nan() const {
    std::optional<std::size_t> piece;
    for (const Share& share : shares_)
      if (share.nan_piece) piece = std::min(*share.nan_piece, piece.value_or(*share.nan_piece));
    if (piece) throw NotANumber(pieces_[*piece].segment, *first_nan(*piece));
  }

  ThreadPool& pool_;
  std::span<const ScoreSegment> segments_;
  std::vector<ScorePiece> pieces_;
  std::vector<Share> shares_;
  Index room_ = 0;
};

}  // namespace espalier::detail
