// expect: a Criterion must score: write void score\(const ChannelGroup& group, std::span<double> out\) const
// SPDX-License-Identifier: Apache-2.0
// An amount is not a criterion.
#include <espalier/prune/structured.hpp>

#ifdef ESPALIER_FIXED
inline const espalier::Structured<espalier::L1Norm> policy{.amount = espalier::Fraction{0.5}};
#else
inline const espalier::Structured<espalier::Fraction> policy{};
#endif
