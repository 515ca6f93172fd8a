// expect: a WeightCriterion must print as it is written in code: write std::ostream& operator<<\(std::ostream&, const MyCriterion&\)
// SPDX-License-Identifier: Apache-2.0
// A ticket says which policy made it.
#include <espalier/prune/unstructured.hpp>

using namespace espalier;

struct Cube {
  bool operator==(const Cube&) const = default;
#ifdef ESPALIER_FIXED
  friend std::ostream& operator<<(std::ostream& to, const Cube&) { return to << "Cube{}"; }
#endif
  void score(const WeightTensor&, std::span<float>) const {}
};

inline const Unstructured<Cube, Scope::layer> policy{};
