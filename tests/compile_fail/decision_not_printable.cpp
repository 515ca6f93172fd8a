// expect: the policy in .decide must print as it is written in code, for the ticket says what made it
// SPDX-License-Identifier: Apache-2.0
// A ticket says which policy made it, so a decision of yours needs its text.
#include <espalier/prune/iterative.hpp>

using namespace espalier;

struct Nothing {
  bool operator==(const Nothing&) const = default;
#ifdef ESPALIER_FIXED
  friend std::ostream& operator<<(std::ostream& to, const Nothing&) { return to << "Nothing{}"; }
#endif
  template <class B, class M>
  Mask next(B&, const M&, const Mask& mask) const { return mask; }
};

inline const std::string text = detail::policy_text(IterativePruning<Nothing, LotteryRewind>{});
