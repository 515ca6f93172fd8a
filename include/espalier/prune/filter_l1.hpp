// SPDX-License-Identifier: Apache-2.0
// Pruning Filters for Efficient ConvNets (Li, Kadav, Durdanovic, Samet & Graf, ICLR 2017).
#pragma once

#include <espalier/prune/structured.hpp>

namespace espalier {

/// Removes the filters with the smallest sums of absolute weights, physically, with the slices of the
/// next layer that read them.
///   FilterL1{.amount = Fraction{0.5}}
using FilterL1 = Structured<L1Norm>;

}  // namespace espalier
