// expect: score\(\) exists but is not const: a Criterion must not change while it scores
// SPDX-License-Identifier: Apache-2.0
// A criterion is asked for its scores through a const policy.
#include <espalier/prune/structured.hpp>

struct Shift {
  bool operator==(const Shift&) const = default;
  friend std::ostream& operator<<(std::ostream& to, const Shift&) { return to << "Shift{}"; }
#ifdef ESPALIER_FIXED
  void score(const espalier::ChannelGroup&, std::span<double>) const {}
#else
  void score(const espalier::ChannelGroup&, std::span<double>) {}
#endif
};

inline const espalier::Structured<Shift> policy{};
