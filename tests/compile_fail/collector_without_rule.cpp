// expect: the rule must have a name, static constexpr std::string_view collects, and a Gather whose call operator adds one step to a sum
// SPDX-License-Identifier: Apache-2.0
// Magnitude gathers nothing.
#include <espalier/backend/reference.hpp>
#include <espalier/prune/score_collector.hpp>

using namespace espalier;

#ifdef ESPALIER_FIXED
inline const ScoreCollector<Movement, Reference> collector{};
#else
inline const ScoreCollector<Magnitude, Reference> collector{};
#endif
