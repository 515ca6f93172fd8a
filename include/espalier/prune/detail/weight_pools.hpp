// SPDX-License-Identifier: Apache-2.0
// Which layers of a mask are ranked together, and what is asked of them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <espalier/nn/cost.hpp>
#include <espalier/nn/mask.hpp>
#include <espalier/prune/detail/selector.hpp>

namespace espalier {

/// What is ranked together: all layers of the network, or each by itself.
enum class Scope { global, layer };

namespace detail {

/// Parts of a mask, by their places in it, and the amount asked of them together.
struct WeightPool {
  std::vector<std::size_t> parts;
  double amount = 0;
};

inline bool selects(std::string_view selector, const MaskPart& part) { return matches(selector, part.path) || matches(selector, layer_of(part.path)); }

inline void must_match(std::string_view selector, const Mask& mask, const std::string& field) {
  std::string paths;
  for (const MaskPart& part : mask.parts()) {
    if (selects(selector, part)) return;
    paths += str(paths.empty() ? "" : ", ", part.path);
  }
  throw PolicyError(str(field, " has '", selector, "', which matches no layer; the mask's weights are ", paths, "; correct the selector"));
}

/// The pools in the mask's order; an override is one pool if the scope is global. Ignored layers are in none.
template <class P>
std::vector<WeightPool> pools_of(const Mask& mask, const P& policy, Scope scope, double amount) {
  for (const auto& selector : policy.ignore) must_match(selector, mask, policy.name() + "::ignore");
  for (const auto& [selector, value] : policy.layers) must_match(selector, mask, policy.name() + "::layers");
  const std::size_t others = policy.layers.size();  // the pool of what no override names
  std::vector<WeightPool> pools(scope == Scope::global ? others + 1 : 0);
  for (std::size_t i = 0; i < mask.parts().size(); ++i) {
    const MaskPart& part = mask.parts()[i];
    bool ignored = false;
    for (const auto& selector : policy.ignore) ignored = ignored || selects(selector, part);
    if (ignored) continue;
    std::size_t entry = 0;
    while (entry < others && !selects(policy.layers[entry].first, part)) ++entry;
    const double asked = entry < others ? policy.layers[entry].second : amount;
    if (scope == Scope::layer) pools.push_back({{i}, asked});
    else pools[entry].parts.push_back(i), pools[entry].amount = asked;
  }
  std::erase_if(pools, [](const WeightPool& pool) { return pool.parts.empty(); });
  return pools;
}

}  // namespace detail
}  // namespace espalier
