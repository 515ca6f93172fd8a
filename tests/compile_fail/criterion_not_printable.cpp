// expect: a Criterion must print as it is written in code: write std::ostream& operator<<\(std::ostream&, const MyCriterion&\)
// SPDX-License-Identifier: Apache-2.0
// A plan says which policy made it.
#include <espalier/prune/structured.hpp>

struct Shift {
  bool operator==(const Shift&) const = default;
#ifdef ESPALIER_FIXED
  friend std::ostream& operator<<(std::ostream& to, const Shift&) { return to << "Shift{}"; }
#endif
  void score(const espalier::ChannelGroup&, std::span<double>) const {}
};

inline const espalier::Structured<Shift> policy{};
