// SPDX-License-Identifier: Apache-2.0
// How many weights a share means. The papers' codes disagree by one, and by every tie, so each of their rules
// has a name here; and the counts can be had without a network. docs/design/masks-and-amounts.md has the table.
#pragma once

#include <algorithm>
#include <cmath>
#include <string_view>
#include <vector>

#include <espalier/backend/geometry.hpp>
#include <espalier/error.hpp>

namespace espalier {

/// Which count of weights an amount p stands for. N: the pool's weights, A: those alive. s[i]: the i-th smallest
/// score from 0; all rules but the first and torch_prune cut at a score, and ties go or stay together.
enum class Counting {
  exact,                 // k = p A (or p N less the dead) to the nearest, halves to even; exactly k go, ties to the lower stay
  rethinking,            // i = int(p N); of all weights, the dead counted as zeros, those <= s[i] go. The founding notebook's too
  rethinking_iterative,  // i = int(p A); of the alive, those <= s[i] go
  open_lth,              // i = ceil(p A), where A counts the ignored layers too; of the alive not ignored, those <= s[i] go
  lottery_reference,     // i = p A to the nearest, halves to even; of the alive, those <= s[i] go
  torch_prune,           // k = p A to the nearest, halves to even, in doubles as they fall; exactly k go
  tfmot,                 // k = N (1 - p) to the nearest in float, at least 1; of all, those >= the k-th largest stay
};

namespace detail {

inline constexpr std::string_view name_of(Counting counting) {
  constexpr std::string_view names[] = {"exact", "rethinking", "rethinking_iterative", "open_lth", "lottery_reference", "torch_prune", "tfmot"};
  return names[static_cast<std::size_t>(counting)];
}

/// Whether the rule takes shares of all weights (`.sparsity`) rather than of those alive (`.remove`).
inline constexpr bool counts_all(Counting counting) { return counting == Counting::rethinking || counting == Counting::tfmot; }

/// n share to the nearest whole number, halves to even; a product a rounding error away from a half counts as that
/// half: 0.575 of 100 is 57.49999999999999 in doubles, and means 57.5.
inline Index nearest_even(Index n, double share) {
  const double product = static_cast<double>(n) * share, floor = std::floor(product);
  const double slack = 1e-9 + product * 4.5e-16;  // two roundings of a double, and some
  const auto below = static_cast<Index>(floor);
  const double over = product - floor - 0.5;
  if (std::abs(over) <= slack) return below + below % 2;
  return over > 0 ? below + 1 : below;
}

/// Where a pool is cut: at the `rank`-th smallest live score, from 1; 0: nowhere. Of a pool without ties, rank go,
/// or one less if what is equal stays.
struct Cutoff {
  enum class Equal { split, go, stay };  // split: as many as make `rank` in all
  Index rank = 0;
  Equal equal = Equal::split;
  Index without_ties() const { return equal == Equal::stay && rank > 0 ? rank - 1 : rank; }
};

/// The amounts of a policy, and the pool they are asked of.
struct Request {
  Index weights = 0, alive = 0;
  double amount = 0;        // of those alive, or
  bool of_all = false;      // of all, the dead included
  Index alive_anywhere = 0;  // ignored layers too
};

inline Cutoff cutoff(const Request& r, Counting counting) {
  using enum Cutoff::Equal;
  const Index dead = r.weights - r.alive;
  const double alive = static_cast<double>(r.alive);
  switch (counting) {
    case Counting::rethinking: return {std::max<Index>(static_cast<Index>(static_cast<double>(r.weights) * r.amount) + 1 - dead, 0), go};
    case Counting::rethinking_iterative: return {static_cast<Index>(alive * r.amount) + 1, go};
    case Counting::open_lth: return {static_cast<Index>(std::ceil(r.amount * static_cast<double>(r.alive_anywhere))) + 1, go};
    case Counting::lottery_reference: return {static_cast<Index>(std::nearbyint(r.amount * alive)) + 1, go};
    case Counting::torch_prune: return {static_cast<Index>(std::nearbyint(r.amount * alive)), split};
    case Counting::tfmot: {
      const float keep = std::nearbyint(static_cast<float>(r.weights) * (1.0F - static_cast<float>(r.amount)));
      return {std::max<Index>(r.alive - std::max<Index>(static_cast<Index>(keep), 1) + 1, 0), stay};
    }
    default: return {r.of_all ? nearest_even(r.weights, r.amount) - dead : nearest_even(r.alive, r.amount), split};
  }
}

// How many go of a pool without ties.
inline Index goes_without_ties(const Request& r, Counting counting) {
  const Index go = cutoff(r, counting).without_ties();
  if (go < 0 || go > r.alive)
    throw PolicyError(str("Counting::", name_of(counting), ": found ", r.alive, " of ", r.weights, " weights alive, of which ", go, " would go, needed 0 to ", r.alive, "; ask for another share, or for fewer rounds"));
  return go;
}

}  // namespace detail

/// Layers that are ranked together, and the share of their live weights that goes each round.
struct PoolSize {
  Index weights = 0;
  double remove = 0;
  bool operator==(const PoolSize&) const = default;
};

/// The weights alive after 0, 1, ... `rounds` rounds, all pools together, if no two scores are equal: a dry run.
/// `ignored` weights are in no pool and stay. A rule that takes shares of all weights is asked for
/// 1 - (1 - remove)^round.
/// Throws PolicyError for a share outside [0, 1], or where a rule cuts behind the last weight.
inline std::vector<Index> survivors_by_round(const std::vector<PoolSize>& pools, Index rounds, Counting counting = Counting::exact, Index ignored = 0) {
  std::vector<detail::Request> requests;
  std::vector<Index> survivors{ignored};
  for (const PoolSize& pool : pools) {
    if (!(pool.remove >= 0 && pool.remove <= 1)) throw PolicyError(str("survivors_by_round: found remove = ", pool.remove, ", needed a share from 0 to 1; correct the pool"));
    requests.push_back({.weights = pool.weights, .alive = pool.weights, .amount = pool.remove, .of_all = detail::counts_all(counting)});
    survivors[0] += pool.weights;
  }
  for (Index round = 1; round <= rounds; ++round) {
    Index gone = 0;
    for (std::size_t i = 0; i < pools.size(); ++i) {
      detail::Request& r = requests[i];
      r.alive_anywhere = survivors.back();
      if (r.of_all) r.amount = 1 - std::pow(1 - pools[i].remove, static_cast<double>(round));
      const Index go = detail::goes_without_ties(r, counting);
      r.alive -= go;
      gone += go;
    }
    survivors.push_back(survivors.back() - gone);
  }
  return survivors;
}

}  // namespace espalier
