// expect: score\(\) exists but is not const: a WeightCriterion must not change while it scores
// SPDX-License-Identifier: Apache-2.0
// A criterion is asked for its scores through a const policy.
#include <espalier/prune/unstructured.hpp>

using namespace espalier;

struct Cube {
  bool operator==(const Cube&) const = default;
  friend std::ostream& operator<<(std::ostream& to, const Cube&) { return to << "Cube{}"; }
#ifdef ESPALIER_FIXED
  void score(const WeightTensor&, std::span<float>) const {}
#else
  void score(const WeightTensor&, std::span<float>) {}
#endif
};

inline const Unstructured<Cube, Scope::global> policy{};
