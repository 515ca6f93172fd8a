// expect: a Criterion must be comparable: write bool operator==\(const MyCriterion&\) const = default;
// SPDX-License-Identifier: Apache-2.0
// A policy that cannot be compared cannot be told from another in a report.
#include <espalier/prune/structured.hpp>

struct Shift {
#ifdef ESPALIER_FIXED
  bool operator==(const Shift&) const = default;
#endif
  friend std::ostream& operator<<(std::ostream& to, const Shift&) { return to << "Shift{}"; }
  void score(const espalier::ChannelGroup&, std::span<double>) const {}
};

inline const espalier::Structured<Shift> policy{};
