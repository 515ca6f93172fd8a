// expect: score\(\) exists but takes other arguments: write void score\(const ChannelGroup& group, std::span<double> out\) const
// SPDX-License-Identifier: Apache-2.0
// Scores are doubles: floats would tie where weights do not.
#include <espalier/prune/structured.hpp>

struct Shift {
  bool operator==(const Shift&) const = default;
  friend std::ostream& operator<<(std::ostream& to, const Shift&) { return to << "Shift{}"; }
#ifdef ESPALIER_FIXED
  void score(const espalier::ChannelGroup&, std::span<double>) const {}
#else
  void score(const espalier::ChannelGroup&, std::span<float>) const {}
#endif
};

inline const espalier::Structured<Shift> policy{};
