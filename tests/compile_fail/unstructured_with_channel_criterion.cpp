// expect: score\(\) exists but takes other arguments: write void score\(const WeightTensor& tensor, std::span<float> out\) const; a criterion of channels, such as L1Norm, belongs in Structured
// SPDX-License-Identifier: Apache-2.0
// L1Norm scores whole filters.
#include <espalier/prune/unstructured.hpp>

using namespace espalier;

#ifdef ESPALIER_FIXED
inline const Unstructured<Magnitude, Scope::global> policy{};
#else
inline const Unstructured<L1Norm, Scope::global> policy{};
#endif
