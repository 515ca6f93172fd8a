// SPDX-License-Identifier: Apache-2.0
// Unstructured pruning, step by step: read, score, count, select.
#pragma once

#include <cmath>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <espalier/prune/detail/weight_pools.hpp>
#include <espalier/prune/detail/weight_selection.hpp>
#include <espalier/prune/scores.hpp>
#include <espalier/prune/weight_criterion.hpp>

namespace espalier::detail {

// On how many threads the host works beside this backend.
template <Backend B>
int host_threads(const B& b) {
  if constexpr (requires { { b.options().threads } -> std::convertible_to<int>; }) return b.options().threads;
  else return 1;
}

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

// The scores of one parameter. Magnitudes are ranked as the weights they are, without a pass to take them.
template <Backend B, class C>
void read_scores(B& b, const Parameter<B>& p, const C& criterion, const Scores& collected, Candidates& out) {
  HostTensor values = to_host(b, p);
  if constexpr (std::is_same_v<C, Magnitude>) {
    out.key = ScoreKey::magnitude;
    out.scores = std::move(values.values);
  } else {
    const HostTensor gradient = p.has_gradient ? to_host(b, p.gradient, p.layout) : HostTensor{};
    const HostTensor* gathered = collected.find(out.path);
    if (gathered != nullptr && gathered->shape != values.shape)
      throw StaleState(str("the collected scores of '", out.path, "': found shape ", gathered->shape, ", needed ", values.shape, "; collect them from this network"));
    out.scores.resize(values.values.size());
    criterion.score({out.path, values.shape, values.values, gradient.values, gathered != nullptr ? std::span<const float>(gathered->values) : std::span<const float>{}}, out.scores);
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
  const Cutoff cut = cutoff({weights, alive, amount, policy.sparsity.has_value(), alive_anywhere}, policy.counting);
  if (cut.rank < 0)
    throw PolicyError(str(policy.name(), ": ", layers(), ": found ", weights - alive, " of ", weights, " weights dead already, needed at most those that .sparsity = ", amount,
                          " allows; pruning revives none, so ask for more"));
  if (cut.rank > alive)
    throw PolicyError(str(policy.name(), ": ", layers(), ": Counting::", name_of(policy.counting), " cuts at weight ", cut.rank, " of ", alive, " alive; ask for less"));
  const Index k = count_cut(threads, pool, cut);
  if (k <= may_go) return k;
  if (pool.size() == 1) return may_go;
  throw PolicyError(str(policy.name(), ": ", layers(), ": found that only ", may_go, " of ", alive, " live weights may go with the floors of keep_at_least and keep_fraction, needed ", k, "; ask for less, or lower the floors"));
}

template <Backend B, Module M, class P>
Mask next_mask(B& b, const M& net, const Mask& mask, const Scores& collected, const P& policy, Scope scope) {
  policy.validate();
  check_fits(mask, net);
  check_rule(policy, collected);
  const bool floors = policy.keep_at_least || policy.keep_fraction;
  ThreadPool threads(host_threads(b));

  const std::vector<WeightPool> pools = pools_of(mask, policy, scope, policy.remove ? *policy.remove : *policy.sparsity);
  std::vector<MaskPart> parts = mask.parts();
  std::vector<Candidates> layers(parts.size());
  const auto score = [&](const std::vector<std::size_t>& places) {
    for_each_parameter(net, [&](const std::string& path, const Parameter<B>& p) {
      for (const std::size_t i : places)
        if (parts[i].path == path) {
          layers[i] = {.path = path, .alive = parts[i].words, .floor = floor_of(policy, parts[i].weights())};
          read_scores(b, p, policy.criterion, collected, layers[i]);
        }
    });
  };
  for (const WeightPool& pool : pools) {
    score(pool.parts);
    Pool members;
    for (const std::size_t i : pool.parts) members.push_back(&layers[i]);
    remove_lowest(threads, members, asked_of(threads, policy, members, pool.amount, mask.survivors()));
    for (const std::size_t i : pool.parts) {
      if (!floors && layers[i].living() == 0 && parts[i].survivors() > 0)
        throw PolicyError(str(policy.name(), ": all ", parts[i].survivors(), " live weights of '", parts[i].path, "' would go and the layer would be empty; remove less, or set .keep_at_least = 1"));
      parts[i].words = std::move(layers[i].alive);
      layers[i] = {};
    }
  }
  return Mask(std::move(parts));
}

}  // namespace espalier::detail
