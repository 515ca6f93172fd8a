// SPDX-License-Identifier: Apache-2.0
// Unstructured pruning, step by step: read, score, count, select.
#pragma once

#include <cmath>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <espalier/backend/host_threads.hpp>
#include <espalier/prune/detail/weight_blocks.hpp>
#include <espalier/prune/detail/weight_pools.hpp>
#include <espalier/prune/detail/weight_selection.hpp>
#include <espalier/prune/scores.hpp>
#include <espalier/prune/weight_criterion.hpp>

namespace espalier::detail {

template <class P>
void check_rule(const P& policy, const Scores& collected) {
  using C = decltype(policy.criterion);
  if (collected.empty()) return;
  if constexpr (requires { C::collects; }) {
    if (collected.rule != C::collects)
      throw PolicyError(str(policy.name(), ": found collected scores of the rule '", collected.rule, "', needed those of '", C::collects, "'; pass the scores of a ScoreCollector of that rule"));
  } else {
    throw PolicyError(str(policy.name(), ": found collected scores of the rule '", collected.rule, "', needed none: its criterion reads none; call next() without them"));
  }
}

// The scores of one parameter. Single weights are ranked by magnitude as they are, without a pass to take it.
template <Backend B, class P>
void read_scores(B& b, const Parameter<B>& p, const P& policy, const Scores& collected, Candidates& out) {
  HostTensor values = to_host(b, p);
  if (std::is_same_v<decltype(policy.criterion), Magnitude> && std::holds_alternative<EachWeight>(policy.granularity)) {
    out.key = ScoreKey::magnitude;
    out.scores = std::move(values.values);
  } else {
    const HostTensor gradient = p.has_gradient ? to_host(b, p.gradient, p.layout) : HostTensor{};
    const HostTensor* gathered = collected.find(out.path);
    if (gathered != nullptr && gathered->shape != values.shape)
      throw StaleState(str("the collected scores of '", out.path, "': found shape ", gathered->shape, ", needed ", values.shape, "; collect them from this network"));
    out.scores.resize(values.values.size());
    policy.criterion.score({out.path, values.shape, values.values, gradient.values, gathered != nullptr ? std::span<const float>(gathered->values) : std::span<const float>{}}, out.scores);
  }
}

template <class P>
Index floor_of(const P& policy, Index weights) {
  const auto share = static_cast<Index>(std::ceil(static_cast<double>(weights) * policy.keep_fraction.value_or(0) - 1e-9));
  return std::max(policy.keep_at_least.value_or(0), share);
}

// How many of a pool go, or why that cannot be.
template <class P>
Index asked_of(ThreadPool& threads, const P& policy, const Pool& pool, double amount, Index alive_anywhere) {
  Index weights = 0, alive = 0, may_go = 0;
  for (const Candidates* layer : pool) weights += layer->count(), alive += layer->living(), may_go += layer->may_go();
  const auto layers = [&] { return pool.size() == 1 ? str("'", pool[0]->path, "'") : str(pool.size(), " layers from '", pool[0]->path, "' to '", pool.back()->path, "'"); };
  const std::string_view unit = unit_of(policy.granularity);
  const Cutoff cut = cutoff({weights, alive, amount, policy.sparsity.has_value(), alive_anywhere}, policy.counting);
  if (cut.rank < 0)
    throw PolicyError(str(policy.name(), ": ", layers(), ": found ", weights - alive, " of ", weights, " ", unit, " dead already, needed at most those that .sparsity = ", amount,
                          " allows; pruning revives none, so ask for more"));
  if (cut.rank > alive)
    throw PolicyError(str(policy.name(), ": ", layers(), ": Counting::", name_of(policy.counting), " cuts at weight ", cut.rank, " of ", alive, " alive; ask for less"));
  const Index k = count_cut(threads, pool, cut);
  if (k <= may_go) return k;
  if (pool.size() == 1) return may_go;
  throw PolicyError(str(policy.name(), ": ", layers(), ": found that only ", may_go, " of ", alive, " live ", unit, " may go with the floors of keep_at_least and keep_fraction, needed ", k, "; ask for less, or lower the floors"));
}

// What is decided of one pool at a time: scored when its turn comes, so that a policy by layer holds one layer's scores.
template <class P>
void prune_pool(ThreadPool& threads, const P& policy, std::vector<Candidates> weights, const std::vector<MaskPart*>& parts, double amount, Index alive_anywhere) {
  const auto* block = std::get_if<Block>(&policy.granularity);
  if (block != nullptr)
    for (std::size_t i = 0; i < parts.size(); ++i) weights[i] = blocks_of(weights[i], *parts[i], *block);
  Pool pool;
  for (Candidates& layer : weights) {
    layer.floor = floor_of(policy, layer.count());
    pool.push_back(&layer);
  }
  remove_lowest(threads, pool, asked_of(threads, policy, pool, amount, alive_anywhere));
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (parts[i]->survivors() > 0 && weights[i].living() == 0)
      throw PolicyError(str(policy.name(), ": all ", parts[i]->survivors(), " live weights of '", parts[i]->path, "' would go and the layer would be empty; remove less, or set .keep_at_least = 1"));
    if (block != nullptr) kill_blocks(weights[i], *block, *parts[i]);
    else parts[i]->words = std::move(weights[i].alive);
  }
}

template <Backend B, Module M, class P>
Mask next_mask(B& b, const M& net, const Mask& mask, const Scores& collected, const P& policy, Scope scope) {
  policy.validate();
  check_fits(mask, net);
  check_rule(policy, collected);
  ThreadPool threads(host_threads(b));
  std::vector<MaskPart> parts = mask.parts();
  const auto scored = [&](MaskPart& part) {
    Candidates weights{.path = part.path, .alive = part.words};
    for_each_parameter(net, [&](const std::string& path, const Parameter<B>& p) {
      if (path == part.path) read_scores(b, p, policy, collected, weights);
    });
    return weights;
  };
  const auto* keep_of = std::get_if<KeepOf>(&policy.granularity);
  for (const WeightPool& pool : pools_of(mask, policy, keep_of != nullptr ? Scope::layer : scope, policy.amount())) {
    std::vector<Candidates> weights;
    std::vector<MaskPart*> members;
    for (const std::size_t i : pool.parts) {
      weights.push_back(scored(parts[i]));
      members.push_back(&parts[i]);
    }
    if (keep_of != nullptr) keep_best(weights[0], *keep_of, policy.name(), *members[0]);
    else prune_pool(threads, policy, std::move(weights), members, pool.amount, mask.survivors());
  }
  return Mask(std::move(parts));
}

}  // namespace espalier::detail
