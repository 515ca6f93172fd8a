// expect: a WeightCriterion must be comparable: write bool operator==\(const MyCriterion&\) const = default;
// SPDX-License-Identifier: Apache-2.0
// A policy that cannot be compared cannot be told from another in a report.
#include <espalier/prune/unstructured.hpp>

using namespace espalier;

struct Cube {
#ifdef ESPALIER_FIXED
  bool operator==(const Cube&) const = default;
#endif
  friend std::ostream& operator<<(std::ostream& to, const Cube&) { return to << "Cube{}"; }
  void score(const WeightTensor&, std::span<float>) const {}
};

inline const Unstructured<Cube, Scope::global> policy{};
