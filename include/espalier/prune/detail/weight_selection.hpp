// SPDX-License-Identifier: Apache-2.0
// Which candidates of a pool go: by rank, exactly, with floors.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <espalier/prune/counting.hpp>
#include <espalier/prune/detail/rank.hpp>

namespace espalier::detail {

/// What may go of one layer: a score for each weight, and the bits of those that live; afterwards, of those that stay.
struct Candidates {
  std::string path{};
  std::vector<float> scores{};
  ScoreKey key = ScoreKey::value;
  std::vector<std::uint64_t> alive{};
  Index floor = 0;  // as many stay, whatever is asked

  Index count() const { return static_cast<Index>(scores.size()); }
  Index living() const { return living_in(alive); }
  Index may_go() const { return std::max<Index>(living() - floor, 0); }
  static Index living_in(const std::vector<std::uint64_t>& words) {
    Index sum = 0;
    for (const std::uint64_t word : words) sum += std::popcount(word);
    return sum;
  }
};
using Pool = std::vector<Candidates*>;  // ranked together, at least one; all of one key

[[noreturn]] inline void refuse_nan(const std::string& path, Index index) {
  throw PolicyError(str("the score of '", path, "' at ", index, ": found NaN, needed a number; a network with weights or gradients that are not numbers cannot be pruned"));
}

// Says a NaN's place in the words of the network.
template <class F>
auto named(const Pool& pool, F select) {
  std::vector<ScoreSegment> segments;
  for (const Candidates* layer : pool) segments.push_back({layer->scores, layer->alive.data()});
  try {
    return select(segments);
  } catch (const NotANumber& nan) {
    refuse_nan(pool[nan.segment]->path, nan.index);
  }
}

/// The bits that stay of each layer when the k lowest of the pool go.
inline std::vector<std::vector<std::uint64_t>> without_lowest(ThreadPool& threads, const Pool& pool, Index k) {
  std::vector<std::vector<std::uint64_t>> left;
  std::vector<std::uint64_t*> out;
  for (const Candidates* layer : pool) left.push_back(layer->alive);
  for (auto& words : left) out.push_back(words.data());
  if (k > 0)
    named(pool, [&](const auto& segments) {
      remove_smallest(threads, segments, pool[0]->key, k, out);
      return 0;
    });
  return left;
}

/// Exactly k of the pool go. A layer that would fall below its floor, or is, gives what it may, and the next lowest of the
/// others go instead: the cut only rises by that, so a layer that has come to its floor stays there.
inline void remove_lowest(ThreadPool& threads, Pool pool, Index k) {
  for (;;) {
    auto left = without_lowest(threads, pool, k);
    Pool open;
    for (std::size_t i = 0; i < pool.size(); ++i) {
      if (Candidates::living_in(left[i]) >= pool[i]->floor) {
        open.push_back(pool[i]);
        continue;
      }
      const Index own = pool[i]->may_go();
      pool[i]->alive = std::move(without_lowest(threads, {pool[i]}, own)[0]);
      k -= own;
    }
    if (open.size() == pool.size()) {
      for (std::size_t i = 0; i < pool.size(); ++i) pool[i]->alive = std::move(left[i]);
      return;
    }
    pool = std::move(open);
    if (pool.empty()) return;
  }
}

/// How many of the pool go; all ties beside the cut that the rule takes or leaves counted.
inline Index count_cut(ThreadPool& threads, const Pool& pool, const Cutoff& cutoff) {
  if (cutoff.equal == Cutoff::Equal::split || cutoff.rank == 0) return cutoff.rank;
  const Cut cut = named(pool, [&](const auto& segments) { return find_cut(threads, segments, pool[0]->key, cutoff.rank); });
  return cutoff.equal == Cutoff::Equal::go ? cut.below + cut.equal : cut.below;
}

}  // namespace espalier::detail
