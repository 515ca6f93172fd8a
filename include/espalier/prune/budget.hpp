// SPDX-License-Identifier: Apache-2.0
// From a sensitivity scan to a policy that meets a budget of multiply-adds or parameters. Every group is
// granted the same drop of the score and gives up what it can within it; the drop is the smallest that
// meets the budget. What the network then costs is counted, not estimated.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

#include <espalier/prune/sensitivity.hpp>

namespace espalier {

/// The share of the dense network's count that may be left. One of the two counts is given.
///   Budget{.multiply_adds = 0.5}
struct Budget {
  std::optional<double> multiply_adds{};
  std::optional<double> parameters{};
  double within = 0.02;  // how far below the budget is still meeting it, as a share of the dense count
  bool operator==(const Budget&) const = default;

  double share() const { return parameters ? *parameters : multiply_adds.value_or(0); }
  Index of(const NetworkCost& c) const { return parameters ? c.parameters : c.multiply_adds; }
  const char* unit() const { return parameters ? "parameters" : "multiply-adds"; }

  /// Throws PolicyError naming the field, its value and its range.
  void validate() const {
    if (multiply_adds.has_value() == parameters.has_value())
      throw PolicyError(str("Budget has ", parameters ? "both .multiply_adds and .parameters; give only one" : "neither .multiply_adds nor .parameters; give one", " of them, such as Budget{.multiply_adds = 0.5}"));
    if (!(share() > 0 && share() < 1))
      throw PolicyError(str(parameters ? "Budget::parameters" : "Budget::multiply_adds", " is ", share(), "; what is left is a share above 0 and below 1 of the dense network's ", unit()));
    if (!(within >= 0 && within < 1)) throw PolicyError(str("Budget::within is ", within, "; it is a share from 0 to below 1"));
  }
  friend std::ostream& operator<<(std::ostream& to, const Budget& budget) {
    to << "Budget{" << str(budget.parameters ? ".parameters = " : ".multiply_adds = ", budget.share());
    return (budget.within == Budget{}.within ? to : to << str(", .within = ", budget.within)) << '}';
  }
};

namespace detail {

// One group one step narrower, and what that asks of the score.
struct WidthCut {
  double drop = 0;     // of the score, at `to`
  double removed = 0;  // share of the group's channels that are gone then
  std::size_t group = 0;
  Index from = 0, to = 0;  // widths
};

// All steps down to the narrowest widths of the scan, ascending by drop; where several ask for the same
// drop, groups narrow evenly. The first n steps, for any n, are what a common drop allows.
template <Criterion C>
std::vector<WidthCut> cuts_of(const SensitivityScan& scan, const std::vector<ChannelGroup>& groups, const Structured<C>& policy) {
  std::vector<WidthCut> cuts;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const auto& row = scan.groups[g];
    if (row.points.empty() || !exclusion(groups[g], policy).empty()) continue;
    const Index narrowest = row.points.back().kept;
    for (Index from = row.channels, wanted = from - 1; wanted >= narrowest; --wanted) {
      const Index to = kept_width(groups[g], wanted, policy);
      if (to >= from) continue;
      cuts.push_back({scan.drop(row, to), 1 - static_cast<double>(to) / static_cast<double>(row.channels), g, from, to});
      from = to;
    }
  }
  std::sort(cuts.begin(), cuts.end(), [](const WidthCut& a, const WidthCut& b) { return std::tie(a.drop, a.removed, a.group) < std::tie(b.drop, b.removed, b.group); });
  return cuts;
}

// Widths that meet the budget. `count(widths)` is what they cost.
template <class Count>
std::vector<Index> widths_within(const std::vector<Index>& dense, const std::vector<WidthCut>& cuts, const Budget& budget, Count count) {
  const Index whole = count(dense);
  const auto least = static_cast<Index>(std::ceil(static_cast<double>(whole) * (budget.share() - budget.within) - 1e-6));
  const auto most = static_cast<Index>(std::floor(static_cast<double>(whole) * budget.share() + 1e-6));
  const auto share = [&](Index c) { return std::round(static_cast<double>(c) / static_cast<double>(whole) * 1e4) / 1e4; };
  const auto after = [&](std::size_t steps) {
    std::vector<Index> widths = dense;
    for (std::size_t i = 0; i < steps; ++i) widths[cuts[i].group] = cuts[i].to;
    return widths;
  };

  // The smallest common drop: the fewest steps that cost no more than the budget.
  std::size_t over = 0, under = cuts.size();
  Index nearest_over = whole, nearest_under = count(after(under));
  if (nearest_under > most)
    throw PolicyError(str("within_budget(): ", budget.share(), " of ", whole, ' ', budget.unit(), " cannot be met: with every group at its narrowest width in the scan ",
                          share(nearest_under), " is left. Raise the budget, scan larger fractions, or skip less"));
  while (under - over > 1) {
    const std::size_t middle = over + (under - over) / 2;
    const Index c = count(after(middle));
    (c > most ? over : under) = middle;
    (c > most ? nearest_over : nearest_under) = c;
  }
  if (nearest_under >= least) return after(under);

  // The last step is too long: leave it out and go on with other groups, or else take it and give others back.
  std::vector<Index> widths;
  std::vector<bool> barred;
  const auto meets = [&](std::size_t group, Index to, bool down) {
    if (barred[group]) return false;
    const Index old = std::exchange(widths[group], to), c = count(widths);
    if (c > most) nearest_over = std::min(nearest_over, c);
    if (c < least) nearest_under = std::max(nearest_under, c);
    if (down ? c < least : c > most) {  // past the budget: this group stays as it was
      widths[group] = old;
      barred[group] = true;
    }
    return c >= least && c <= most;
  };
  widths = after(over);
  barred.assign(dense.size(), false);
  for (std::size_t i = over; i < cuts.size(); ++i)
    if (meets(cuts[i].group, cuts[i].to, true)) return widths;
  widths = after(under);
  barred.assign(dense.size(), false);
  for (std::size_t i = under; i-- > 0;)
    if (meets(cuts[i].group, cuts[i].from, false)) return widths;
  throw PolicyError(str("within_budget(): from ", share(least), " to ", budget.share(), " of ", whole, ' ', budget.unit(), " cannot be met: the nearest that was found are ", share(nearest_under),
                        " and ", share(nearest_over), ", because the channels are few and large. Raise .within, or ask for one of these"));
}

inline void check_scan(const SensitivityScan& scan, const std::vector<ChannelGroup>& groups) {
  for (std::size_t g = 0; g < std::max(scan.groups.size(), groups.size()); ++g) {
    const auto said = [&](const auto& all) { return g < all.size() ? str('\'', all[g].name, "' of ", all[g].channels, " channels") : std::string("none"); };
    if (said(scan.groups) != said(groups))
      throw PlanError(str("within_budget(): group ", g, " of the scan is ", said(scan.groups), ", of the network ", said(groups),
                          "; the scan was made for another network. Scan this one"));
  }
}

// Fractions by path, where paths can tell the groups apart; else widths in order.
template <Criterion C>
Amount amount_for(const std::vector<Index>& widths, const std::vector<ChannelGroup>& groups, const Structured<C>& policy) {
  PerLayer fractions;
  Widths in_order;
  std::vector<std::size_t> open;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (!exclusion(groups[g], policy).empty()) continue;
    const Index n = groups[g].channels;
    fractions.remove.emplace_back(groups[g].producers().front(), static_cast<double>(n - widths[g]) / static_cast<double>(n));
    in_order.keep.push_back(widths[g]);
    open.push_back(g);
  }
  for (const std::size_t g : open) {
    const auto entry = std::find_if(fractions.remove.begin(), fractions.remove.end(), [&](const auto& e) { return selects(e.first, groups[g]); });
    if (width_after(groups[g].channels, entry->second) != widths[g]) return in_order;  // another group's fraction would count
  }
  return fractions;
}

template <Backend B, Module M, Criterion C>
Structured<C> fit(B& b, const M& net, const Structured<C>& given, const SensitivityScan& scan, const Budget& budget) {
  budget.validate();
  const auto policy = for_scan(given, "within_budget()");
  const ChannelGroups all = channel_groups(b, net, scan.input);
  const auto& groups = all.groups;
  check_scan(scan, groups);
  for (const auto& selector : policy.skip) must_match(selector, groups, ".skip");
  std::vector<Index> dense;
  for (const auto& group : groups) dense.push_back(group.channels);
  const auto count = [&](const std::vector<Index>& widths) {  // which channels go does not matter here
    Plan narrow{.input = scan.input};
    for (std::size_t g = 0; g < groups.size(); ++g) {
      PlannedGroup group{.name = groups[g].name, .channels = dense[g], .remove = std::vector<Index>(static_cast<std::size_t>(dense[g] - widths[g]))};
      std::iota(group.remove.begin(), group.remove.end(), widths[g]);
      narrow.groups.push_back(std::move(group));
    }
    return budget.of(cost<B>(shrink(b, net, narrow), scan.input));
  };
  Structured<C> found = given;
  found.amount = amount_for(widths_within(dense, cuts_of(scan, groups, policy), budget, count), groups, policy);
  return found;
}

}  // namespace detail

/// The policy, completed by an amount that leaves no more than the budget and no less than
/// Budget::within below it: a fraction for each layer, which plan() carries out and you may edit.
///   within_budget(device, net, FilterL1{}, scan, Budget{.multiply_adds = 0.5})
/// Every group takes the fewest channels whose drop in the scan does not exceed a drop that is common to
/// all; the common drop is the smallest that meets the budget, and its last part is settled channel by
/// channel. No group goes below the narrowest width of the scan. Costs are counted on shrunk networks.
/// Throws PolicyError, saying how near one can get, if the budget cannot be met; PlanError if the scan
/// was made for another network.
template <class B, class M, class C>
Structured<C> within_budget(B& b, const M& net, const Structured<C>& policy, const SensitivityScan& scan, const Budget& budget) {
  static_assert(Backend<B>, "within_budget(device, net, policy, scan, budget): the device must be a Backend, such as EigenCpu (see backend/concept.hpp)");
  static_assert(Module<M>, "within_budget(device, net, policy, scan, budget): the network must be a Module: a struct whose static members(self, visit) lists its parameters by name (see nn/module.hpp)");
  if constexpr (Backend<B> && Module<M> && Criterion<C>) return detail::fit(b, net, policy, scan, budget);
  else return policy;
}

}  // namespace espalier
