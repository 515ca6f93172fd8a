// SPDX-License-Identifier: Apache-2.0
// One decision inside of a loop: with the scores that the loop's observer has collected, where the criterion reads
// some; and held against the rule that no weight comes back.
#pragma once

#include <concepts>

#include <espalier/nn/mask.hpp>
#include <espalier/prune/scores.hpp>

namespace espalier::detail {

/// Throws StaleState if the decision revives a weight or names others; else as the decision does.
template <Backend B, class Decide, Module M, class Observer>
Mask decided(B& b, const Decide& decide, const M& net, const Mask& mask, const Observer& observer) {
  Mask next = [&] {
    if constexpr (requires { decltype(decide.criterion)::collects; { observer.scores(b) } -> std::same_as<Scores>; }) return decide.next(b, net, mask, observer.scores(b));
    else return decide.next(b, net, mask);
  }();
  if (!next.within(mask)) throw StaleState("a pruning loop: the decision revives weights or names others, needed a mask within the one before; correct the policy");
  return next;
}

}  // namespace espalier::detail
