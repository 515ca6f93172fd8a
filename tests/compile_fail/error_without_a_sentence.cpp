// expect: no matching function for call to|implicitly-deleted default constructor
// SPDX-License-Identifier: Apache-2.0
// An exception without a sentence helps nobody, so there is no way to throw one.
#include <espalier/error.hpp>

#ifdef ESPALIER_FIXED
const espalier::ShapeError wrong{"conv 'stage1': input has 3 channels, weight expects 4. Was the stem pruned?"};
#else
const espalier::ShapeError wrong{};
#endif
