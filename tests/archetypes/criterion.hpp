// SPDX-License-Identifier: Apache-2.0
// The archetype of Criterion: the least that plan() may rely on, with everything near it deleted.
#pragma once

#include <espalier/prune/criterion.hpp>

namespace espalier::test {

/// Scores channel i of every group with i.
struct LeastCriterion {
  LeastCriterion() = default;
  LeastCriterion(const LeastCriterion&) = default;
  LeastCriterion& operator=(const LeastCriterion&) = default;
  template <class T> LeastCriterion(T) = delete;  // nothing converts to it,
  template <class T> operator T() const = delete;  // it converts to nothing,
  void operator&() const = delete;                 // and keeps its address to itself.
  template <class T> void operator,(const T&) const = delete;

  friend bool operator==(const LeastCriterion&, const LeastCriterion&) { return true; }
  friend std::ostream& operator<<(std::ostream& to, const LeastCriterion&) { return to << "LeastCriterion{}"; }

  void score(const ChannelGroup& group, std::span<double> out) const {
    (void)group;
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<double>(i);
  }
  void score(ChannelGroup& group, std::span<double> out) const = delete;  // the group is not plan()'s to hand out for change
  void score(ChannelGroup&& group, std::span<double> out) const = delete;
  void score(const ChannelGroup& group, std::span<double> out) = delete;  // and the policy is const
};

static_assert(Criterion<LeastCriterion>);

}  // namespace espalier::test
