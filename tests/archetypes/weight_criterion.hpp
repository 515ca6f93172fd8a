// SPDX-License-Identifier: Apache-2.0
// The archetype of WeightCriterion: the least that a policy may rely on, with everything near it deleted.
#pragma once

#include <espalier/prune/weight_criterion.hpp>

namespace espalier::test {

/// Scores weight i of every tensor with i.
struct LeastWeightCriterion {
  LeastWeightCriterion() = default;
  LeastWeightCriterion(const LeastWeightCriterion&) = default;
  LeastWeightCriterion& operator=(const LeastWeightCriterion&) = default;
  template <class T> LeastWeightCriterion(T) = delete;  // nothing converts to it,
  template <class T> operator T() const = delete;        // it converts to nothing,
  void operator&() const = delete;                       // and keeps its address to itself.
  template <class T> void operator,(const T&) const = delete;

  friend bool operator==(const LeastWeightCriterion&, const LeastWeightCriterion&) { return true; }
  friend std::ostream& operator<<(std::ostream& to, const LeastWeightCriterion&) { return to << "LeastWeightCriterion{}"; }

  void score(const WeightTensor& tensor, std::span<float> out) const {
    (void)tensor;
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(i);
  }
  void score(WeightTensor& tensor, std::span<float> out) const = delete;  // the tensor is not the criterion's to change
  void score(const WeightTensor& tensor, std::span<float> out) = delete;  // and the policy is const
};

static_assert(WeightCriterion<LeastWeightCriterion>);

}  // namespace espalier::test
