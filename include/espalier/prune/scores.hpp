// SPDX-License-Identifier: Apache-2.0
// Scores of weights that were gathered during training, or computed by you: a value beside the network.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <espalier/autograd/parameter.hpp>

namespace espalier {

/// A score a weight, by parameter path, in the outside layout; and by which rule, so that scores are not mistaken
/// for others. A criterion reads those of the rule that it `collects`.
struct Scores {
  std::string rule{};  // "Movement"
  std::vector<std::pair<std::string, HostTensor>> parts{};
  Index steps = 0;  // over how many they were gathered; 0 for scores of yours
  bool operator==(const Scores&) const = default;

  bool empty() const { return parts.empty(); }
  /// The scores of that parameter, or nullptr.
  const HostTensor* find(std::string_view path) const {
    for (const auto& [name, scores] : parts)
      if (name == path) return &scores;
    return nullptr;
  }
};

}  // namespace espalier
