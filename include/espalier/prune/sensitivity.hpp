// SPDX-License-Identifier: Apache-2.0
// How much of each channel group a trained network can lose: one group at a time is pruned over a grid
// of fractions and the network scored again, without retraining (Li et al. 2017, section 3.3). Coupled
// layers are pruned together and are one row, so that none of them looks robust because the others stayed.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

#include <espalier/prune/planning.hpp>

namespace espalier {

/// The network with one group at one width and all other groups whole.
struct SensitivityPoint {
  double remove = 0;  // the fraction of the grid; floors and rounding may keep more channels than it leaves
  Index kept = 0;     // channels
  double score = 0;
  Index parameters = 0, multiply_adds = 0;  // of the whole network
  bool operator==(const SensitivityPoint&) const = default;
};

/// One row of a scan.
struct GroupSensitivity {
  std::string name{};                 // of the ChannelGroup
  std::vector<std::string> layers{};  // all that write its channels
  Index channels = 0;
  std::vector<SensitivityPoint> points{};  // one for each fraction of the grid; none if it was not scanned
  std::string excluded_because{};          // empty if it was
  bool operator==(const GroupSensitivity&) const = default;
};

/// What a scan found. Scores grow with quality, as an accuracy does.
struct SensitivityScan {
  Shape input{};
  std::string criterion{};  // as it is written in code
  std::vector<double> fractions{};
  double score = 0;  // of the dense network
  Index parameters = 0, multiply_adds = 0;
  std::vector<GroupSensitivity> groups{};  // in the order of the computation
  bool operator==(const SensitivityScan&) const = default;

  /// The score that is lost with so many channels of a group kept: linear between the points, and never
  /// less than with more channels kept. Infinite below the narrowest width that was tried, and for a
  /// group that was not scanned.
  double drop(const GroupSensitivity& group, Index kept) const {
    if (kept >= group.channels) return 0;
    double drop = 0;  // at the point before
    Index at = group.channels;
    for (const auto& point : group.points) {
      const double next = std::max(drop, score - point.score);
      if (kept >= point.kept) return drop + (next - drop) * static_cast<double>(at - kept) / static_cast<double>(at - point.kept);
      drop = next;
      at = point.kept;
    }
    return std::numeric_limits<double>::infinity();
  }

  /// The fewest channels of a group that were found to cost no more than `drop` of the score.
  Index width_within(const GroupSensitivity& group, double allowed) const {
    Index kept = group.channels;
    while (kept > 1 && drop(group, kept - 1) <= allowed) --kept;
    return kept;
  }

  /// The groups that were scanned, the most sensitive first: by their mean drop over the grid. Of equal
  /// ones the earlier comes first.
  std::vector<std::size_t> by_sensitivity() const {
    std::vector<std::size_t> order;
    std::vector<double> sums(groups.size());
    for (std::size_t g = 0; g < groups.size(); ++g) {
      for (const auto& point : groups[g].points) sums[g] += drop(groups[g], point.kept);
      if (!groups[g].points.empty()) order.push_back(g);
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return sums[a] > sums[b]; });
    return order;
  }
};

/// Where a scan is, for an `evaluate` that shows it.
struct SensitivityStep {
  std::string group{};  // empty: the dense network
  Index kept = 0, channels = 0;
  Index done = 0, total = 0;  // networks scored before this one, and in all
};

namespace detail {

inline void check_grid(const std::vector<double>& fractions) {
  double last = 0;
  for (const double f : fractions) {
    if (!(f > last && f < 1))
      throw PolicyError(str("sensitivity(): the grid has ", f, " after ", last, "; needed are ascending fractions above 0 and below 1, such as {0.25, 0.5, 0.75}"));
    last = f;
  }
  if (fractions.empty()) throw PolicyError("sensitivity(): the grid is empty; needed are ascending fractions above 0 and below 1, such as {0.25, 0.5, 0.75}");
}

// The policy as a scan reads it: one channel at least, and no amount of its own.
template <Criterion C>
Structured<C> for_scan(Structured<C> policy, const char* who) {
  policy.validate();
  if (policy.amount != Amount{Fraction{}})
    throw PolicyError(str(who, ": the policy ", as_written(policy), " has an amount of its own; here the scan says how much goes. Leave .amount out"));
  policy.keep_at_least = std::max<Index>(policy.keep_at_least.value_or(1), 1);
  return policy;
}

// A row with the widths to try; no score yet.
template <Criterion C>
GroupSensitivity scan_row(const ChannelGroup& group, const Structured<C>& policy, const std::vector<double>& fractions) {
  GroupSensitivity row{.name = group.name, .layers = group.producers(), .channels = group.channels, .excluded_because = exclusion(group, policy)};
  if (!row.excluded_because.empty()) return row;
  for (const double f : fractions) row.points.push_back({.remove = f, .kept = kept_width(group, width_after(group.channels, f), policy)});
  if (row.points.back().kept < group.channels) return row;
  row.points.clear();
  row.excluded_because = group.channels == 1 ? std::string("it has one channel") : str("no fraction up to ", fractions.back(), " removes one of its ", group.channels, " channels");
  return row;
}

// The widths of a row that differ from the one before.
inline Index widths_to_score(const GroupSensitivity& row) {
  Index count = 0, kept = row.channels;
  for (const auto& point : row.points)
    if (std::exchange(kept, point.kept) != point.kept) ++count;
  return count;
}

template <class E, class M>
double scored(E& evaluate, const M& net, const SensitivityStep& step) {
  double score = 0;
  if constexpr (std::is_invocable_v<E&, const M&, const SensitivityStep&>) score = evaluate(net, step);
  else score = evaluate(net);
  if (std::isfinite(score)) return score;
  const std::string where = step.group.empty() ? std::string("the dense network") : str("'", step.group, "' at ", step.kept, " of ", step.channels, " channels");
  throw PolicyError(str("sensitivity(): evaluate gave ", where, " the score ", std::isnan(score) ? "NaN" : "infinity",
                        "; needed is a finite number that grows with quality, such as an accuracy. Look at the weights, or map the value to a number"));
}

template <Backend B, Module M, Criterion C, class E>
SensitivityScan scan(B& b, const M& net, const Shape& input, const Structured<C>& given, const std::vector<double>& fractions, E& evaluate) {
  check_grid(fractions);
  const auto policy = for_scan(given, "sensitivity()");
  const ChannelGroups all = channel_groups(b, net, input);
  for (const auto& selector : policy.skip) must_match(selector, all.groups, ".skip");
  SensitivityScan found{.input = input, .criterion = as_written(policy.criterion), .fractions = fractions};
  SensitivityStep step{.total = 1};
  std::string reasons;
  for (const auto& group : all.groups) {
    found.groups.push_back(scan_row(group, policy, fractions));
    step.total += widths_to_score(found.groups.back());
    reasons += str("\n  ", group.name, ": ", found.groups.back().excluded_because);
  }
  if (step.total == 1) throw PolicyError(str("sensitivity(): no group can be scanned:", reasons, "\nAsk for larger fractions, or skip less."));

  const auto count = [&](const M& network, SensitivityPoint& into) {
    const NetworkCost c = cost<B>(network, input);
    into.parameters = c.parameters;
    into.multiply_adds = c.multiply_adds;
  };
  SensitivityPoint dense;
  count(net, dense);
  dense.score = scored(evaluate, net, step);
  found.score = dense.score;
  found.parameters = dense.parameters;
  found.multiply_adds = dense.multiply_adds;
  for (std::size_t g = 0; g < found.groups.size(); ++g) {
    auto& row = found.groups[g];
    if (row.points.empty()) continue;
    const auto scores = scores_of(all.groups[g], policy.criterion);
    SensitivityPoint last = dense;
    last.kept = row.channels;
    for (auto& point : row.points) {
      if (point.kept != last.kept) {
        const Plan only{.input = input, .groups = {{.name = row.name, .channels = row.channels, .remove = lowest(scores, row.channels - point.kept)}}};
        const M slim = shrink(b, net, only);
        count(slim, last);
        step = {.group = row.name, .kept = point.kept, .channels = row.channels, .done = step.done + 1, .total = step.total};
        last.score = scored(evaluate, slim, step);
      }
      last.kept = point.kept;
      last.remove = point.remove;
      point = last;
    }
  }
  return found;
}

}  // namespace detail

/// Prunes one group at a time by each fraction of the grid, shrinks, and scores the network that is left:
/// the network itself is not touched. Criterion, skip lists, linear layers, floor and rounding are the
/// policy's, its amount is left out; at least one channel stays.
///   sensitivity(device, net, input, FilterL1{.skip = {"conv1"}}, {0.25, 0.5, 0.75},
///               [&](const auto& slim) { return evaluate(device, slim, images, normalise).accuracy; })
/// `evaluate` gives a finite number that grows with quality. It may take a SensitivityStep as well, and
/// what it throws ends the scan. Equal widths of a group are scored once.
/// Throws PolicyError if the grid is out of range, no group can be scanned, or a score is not finite.
template <class B, class M, class C, class E>
SensitivityScan sensitivity(B& b, const M& net, const Shape& input, const Structured<C>& policy, const std::vector<double>& fractions, E&& evaluate) {
  static_assert(Backend<B>, "sensitivity(device, net, input, policy, fractions, evaluate): the device must be a Backend, such as EigenCpu (see backend/concept.hpp)");
  static_assert(Module<M>, "sensitivity(device, net, input, policy, fractions, evaluate): the network must be a Module: a struct whose static members(self, visit) lists its parameters by name (see nn/module.hpp)");
  constexpr bool scores = std::is_invocable_r_v<double, E&, const M&> || std::is_invocable_r_v<double, E&, const M&, const SensitivityStep&>;
  static_assert(scores, "sensitivity(device, net, input, policy, fractions, evaluate): evaluate must take the network and give a number, as [&](const auto& slim) { return evaluate(device, slim, images, normalise).accuracy; } does");
  if constexpr (Backend<B> && Module<M> && Criterion<C> && scores) return detail::scan(b, net, input, policy, fractions, evaluate);
  else return {};
}

/// The same by a criterion alone: every group that may be pruned, without exceptions.
template <class B, class M, Criterion C, class E>
SensitivityScan sensitivity(B& b, const M& net, const Shape& input, const C& criterion, const std::vector<double>& fractions, E&& evaluate) {
  return sensitivity(b, net, input, Structured<C>{.criterion = criterion}, fractions, evaluate);
}

}  // namespace espalier
