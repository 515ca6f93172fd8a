// SPDX-License-Identifier: Apache-2.0
// plan(): scores channels, selects by rank, and returns the decision.
#pragma once

#include <cmath>
#include <numeric>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include <espalier/prune/apply.hpp>
#include <espalier/prune/structured.hpp>

namespace espalier {
namespace detail {

// What a policy asks of each group: how many channels to remove, or why none.
struct Quota {
  Index remove = 0;
  std::string kept_because;
};

inline bool selects(const std::string& selector, const ChannelGroup& group) {
  for (const auto& layer : group.producers())
    if (matches(selector, layer)) return true;
  return false;
}

inline void must_match(const std::string& selector, const std::vector<ChannelGroup>& groups, const char* field) {
  for (const auto& group : groups)
    if (selects(selector, group)) return;
  std::string layers;
  for (const auto& group : groups)
    for (const auto& layer : group.producers()) layers += str(layers.empty() ? "" : ", ", layer);
  throw PolicyError(str(field, " has '", selector, "', which matches no layer that writes channels; the layers are ", layers));
}

// Why a group is not up for selection at all; empty if it is.
template <Criterion C>
std::string exclusion(const ChannelGroup& group, const Structured<C>& policy) {
  if (!group.frozen_because.empty()) return group.frozen_because;
  for (const auto& selector : policy.skip)
    if (selects(selector, group)) return str("skipped by '", selector, "'");
  if (policy.linear == LinearLayers::keep)
    for (const auto& part : group.parts)
      if (part.role == ChannelRole::producer && part.value->shape.rank() == 2)
        return str("'", layer_of(part.path), "' is a linear layer; set .linear = LinearLayers::prune to prune its units");
  return {};
}

// The width that a request leads to, floors and rounding applied.
template <Criterion C>
Index kept_width(const ChannelGroup& group, Index wanted, const Structured<C>& policy) {
  Index keep = std::min(std::max(wanted, policy.keep_at_least.value_or(0)), group.channels);
  if (const Index excess = keep % policy.round_to; excess > 0) keep += std::min(policy.round_to - excess, group.channels - keep);
  if (keep < 1)
    throw PolicyError(str("all ", group.channels, " channels of '", group.name, "' would go and the layer would vanish; remove less, or set .keep_at_least = 1"));
  return keep;
}

// floor(n share), where a product a rounding error below a whole number counts as that number:
// in doubles 10 (1 - 0.9) is 0.99..., and nobody who removes 0.9 of 10 channels means to keep none.
inline Index whole_part(Index n, double share) { return static_cast<Index>(std::floor(static_cast<double>(n) * share + 1e-9)); }

inline Index width_after(Index channels, double remove) { return whole_part(channels, 1 - remove); }

// The channels of the lowest scores; of equal scores the higher channel goes first, the lower stays.
inline std::vector<Index> lowest(const std::vector<double>& scores, Index count) {
  std::vector<Index> order(scores.size());
  std::iota(order.begin(), order.end(), Index{0});
  std::sort(order.begin(), order.end(), [&](Index a, Index b) {
    const double sa = scores[static_cast<std::size_t>(a)], sb = scores[static_cast<std::size_t>(b)];
    return sa != sb ? sa < sb : a > b;
  });
  order.resize(static_cast<std::size_t>(count));
  std::sort(order.begin(), order.end());
  return order;
}

template <Criterion C>
std::vector<double> scores_of(const ChannelGroup& group, const C& criterion) {
  std::vector<double> scores(static_cast<std::size_t>(group.channels));
  criterion.score(group, scores);
  for (std::size_t i = 0; i < scores.size(); ++i)
    if (!std::isfinite(scores[i]))
      throw PolicyError(str("the criterion gave channel ", i, " of '", group.name, "' the score ", scores[i] != scores[i] ? "NaN" : "infinity",
                            "; a network with non-finite weights cannot be pruned"));
  return scores;
}

// Greedy selection: the removed channels' slices no longer count in the layers that read them.
inline void forget_inputs(ChannelGroups& all, const ChannelGroup& group, const std::vector<Index>& removed) {
  for (const auto& part : group.parts) {
    if (part.role != ChannelRole::reader) continue;
    std::vector<bool> dead(static_cast<std::size_t>(part.value->shape[part.axis]));
    for (const Index channel : removed)
      for (const Index slice : part.slices[static_cast<std::size_t>(channel)]) dead[static_cast<std::size_t>(slice)] = true;
    silence(all.values.at(part.path), part.axis, dead);
  }
}

inline const char* role_name(ChannelRole role) {
  switch (role) {
    case ChannelRole::producer: return "writes";
    case ChannelRole::scale: return "scales";
    case ChannelRole::shift: return "shifts";
    case ChannelRole::filter: return "filters";
    case ChannelRole::statistic: return "follows";
    default: return "reads";
  }
}

template <Criterion C>
std::vector<std::vector<Index>> select_globally(const std::vector<ChannelGroup>& groups, const std::vector<Quota>& quotas, const Global& amount,
                                                const Structured<C>& policy) {
  struct Candidate {
    double score;
    std::size_t group;
    Index channel;
  };
  std::vector<Candidate> candidates;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (!quotas[g].kept_because.empty()) continue;
    auto scores = scores_of(groups[g], policy.criterion);
    double sum = 0;
    for (const double s : scores) sum += std::abs(s);  // a criterion may count downwards
    const double unit = amount.scale == Global::Scale::group_mean && sum > 0 ? sum / static_cast<double>(scores.size()) : 1;
    for (std::size_t i = 0; i < scores.size(); ++i) candidates.push_back({scores[i] / unit, g, static_cast<Index>(i)});
  }
  const auto wanted = static_cast<std::size_t>(whole_part(static_cast<Index>(candidates.size()), amount.remove));
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score < b.score : std::tie(b.group, b.channel) < std::tie(a.group, a.channel);
  });
  std::vector<std::vector<Candidate>> chosen(groups.size());
  std::size_t taken = 0;
  for (const auto& c : candidates) {
    if (taken == wanted) break;
    const Index left = groups[c.group].channels - static_cast<Index>(chosen[c.group].size());
    if (left <= policy.keep_at_least.value_or(0)) continue;  // the floor holds; the next lowest goes instead
    chosen[c.group].push_back(c);
    ++taken;
  }
  if (taken < wanted)
    throw PolicyError(str("Global::remove asks for ", wanted, " of ", candidates.size(), " channels; keep_at_least allows only ", taken, " to go"));
  std::vector<std::vector<Index>> remove(groups.size());
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const Index keep = chosen[g].empty() ? groups[g].channels : kept_width(groups[g], groups[g].channels - static_cast<Index>(chosen[g].size()), policy);
    chosen[g].resize(static_cast<std::size_t>(groups[g].channels - keep));  // rounding gives back the highest scores
    for (const auto& c : chosen[g]) remove[g].push_back(c.channel);
    std::sort(remove[g].begin(), remove[g].end());
  }
  return remove;
}

template <Criterion C>
std::vector<Quota> quotas_of(const std::vector<ChannelGroup>& groups, const Structured<C>& policy) {
  if (policy.selection == Selection::greedy && std::holds_alternative<Global>(policy.amount))
    throw PolicyError("Selection::greedy goes layer by layer and Global ranks all layers at once; use it with Fraction, Widths or PerLayer");
  for (const auto& selector : policy.skip) must_match(selector, groups, ".skip");
  std::vector<Quota> quotas;
  std::vector<std::size_t> open;
  for (const auto& group : groups) {
    quotas.push_back({0, exclusion(group, policy)});
    if (quotas.back().kept_because.empty()) open.push_back(quotas.size() - 1);
  }
  const auto ask = [&](std::size_t g, Index keep) { quotas[g].remove = groups[g].channels - kept_width(groups[g], keep, policy); };
  if (const auto* f = std::get_if<Fraction>(&policy.amount)) {
    for (const std::size_t g : open) ask(g, width_after(groups[g].channels, f->remove));
  } else if (const auto* w = std::get_if<Widths>(&policy.amount)) {
    if (w->keep.size() != open.size()) {
      std::string names;
      for (const std::size_t g : open) names += str(names.empty() ? "" : ", ", groups[g].name);
      throw PolicyError(str("Widths::keep has ", w->keep.size(), " widths; ", open.size(), " groups may be pruned: ", names));
    }
    for (std::size_t i = 0; i < open.size(); ++i) {
      if (w->keep[i] > groups[open[i]].channels)
        throw PolicyError(str("Widths::keep asks for ", w->keep[i], " channels of '", groups[open[i]].name, "', which has ", groups[open[i]].channels));
      ask(open[i], w->keep[i]);
    }
  } else if (const auto* p = std::get_if<PerLayer>(&policy.amount)) {
    for (const auto& [selector, ignored] : p->remove) must_match(selector, groups, "PerLayer::remove");
    for (const std::size_t g : open) {
      const auto entry = std::find_if(p->remove.begin(), p->remove.end(), [&](const auto& e) { return selects(e.first, groups[g]); });
      if (entry == p->remove.end()) quotas[g].kept_because = "no entry of PerLayer names it";
      else ask(g, width_after(groups[g].channels, entry->second));
    }
  }
  return quotas;
}

inline PlannedGroup planned(const ChannelGroup& group, std::vector<Index> remove, std::string kept_because) {
  PlannedGroup planned{.name = group.name, .channels = group.channels, .remove = std::move(remove), .kept_because = std::move(kept_because)};
  if (planned.remove.empty() && planned.kept_because.empty()) planned.kept_because = "the amount leaves all of its channels";
  for (const auto& part : group.parts) {  // in the order of their roles
    const std::string role = role_name(part.role);
    if (planned.couples.empty() || !planned.couples.back().starts_with(role)) planned.couples.push_back(role);
    planned.couples.back() += str(' ', part.path);
  }
  return planned;
}

// Which channels of each group go.
template <Criterion C>
std::vector<std::vector<Index>> select(ChannelGroups& all, const std::vector<Quota>& quotas, const Structured<C>& policy) {
  if (const auto* global = std::get_if<Global>(&policy.amount)) return select_globally(all.groups, quotas, *global, policy);
  std::vector<std::vector<Index>> remove(all.groups.size());
  for (std::size_t g = 0; g < all.groups.size(); ++g) {
    if (quotas[g].remove == 0) continue;
    remove[g] = lowest(scores_of(all.groups[g], policy.criterion), quotas[g].remove);
    if (policy.selection == Selection::greedy) forget_inputs(all, all.groups[g], remove[g]);
  }
  return remove;
}

template <class P>
std::string as_written(const P& policy) {
  std::ostringstream written;
  written << policy;
  std::string line = written.str();
  std::replace(line.begin(), line.end(), '\n', ' ');  // a plan's text has one line for it
  return line;
}

template <Backend B, Module M, Criterion C>
Plan make_plan(B& b, const M& net, const Shape& input, const Structured<C>& policy) {
  policy.validate();
  ChannelGroups all = channel_groups(b, net, input);
  const auto quotas = quotas_of(all.groups, policy);
  auto remove = select(all, quotas, policy);

  const NetworkCost before = cost<B>(net, input);
  Plan plan{.input = input, .policy = as_written(policy), .parameters_before = before.parameters, .multiply_adds_before = before.multiply_adds};
  for (std::size_t g = 0; g < all.groups.size(); ++g) plan.groups.push_back(planned(all.groups[g], std::move(remove[g]), quotas[g].kept_because));
  if (plan.removed() == 0) {
    std::string reasons;
    for (const auto& g : plan.groups) reasons += str("\n  ", g.name, ": ", g.kept_because);
    throw PolicyError(str("the policy would prune nothing:", reasons, "\nAsk for more, or skip less."));
  }
  const NetworkCost after = cost<B>(shrink(b, net, plan), input);
  plan.parameters_after = after.parameters;
  plan.multiply_adds_after = after.multiply_adds;
  return plan;
}

}  // namespace detail

/// Decides which channels go; the network is not touched. `input` is the shape of one input, batch 1:
/// coupling at a flatten and the savings depend on it.
/// Throws PolicyError if the policy is out of range, names nothing, would empty a layer, or would remove nothing.
template <class B, class M, class C>
Plan plan(B& b, const M& net, const Shape& input, const Structured<C>& policy) {
  static_assert(Backend<B>, "plan(device, net, input, policy): the device must be a Backend, such as EigenCpu (see backend/concept.hpp)");
  static_assert(Module<M>, "plan(device, net, input, policy): the network must be a Module: a struct whose static members(self, visit) lists its parameters by name (see nn/module.hpp)");
  if constexpr (Backend<B> && Module<M> && Criterion<C>) return detail::make_plan(b, net, input, policy);
  else return {};
}

/// Anything but a policy is met by a sentence.
template <class B, class M, class P>
Plan plan(B&, const M&, const Shape&, const P&) {
  static_assert(sizeof(P) == 0, "plan(device, net, input, policy): the policy must say how much goes: FilterL1{.amount = Fraction{0.5}}, or Structured<MyCriterion>{...}");
  return {};
}

}  // namespace espalier
