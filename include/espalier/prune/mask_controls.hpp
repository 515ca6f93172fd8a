// SPDX-License-Identifier: Apache-2.0
// Masks that a pruned network is compared with, to tell what was found from how much was removed.
#pragma once

#include <cstdint>
#include <vector>

#include <espalier/nn/mask.hpp>
#include <espalier/tensor/rng.hpp>

namespace espalier {

/// A random mask with as many live weights in each part: where they are is drawn, evenly, from the seed and the path
/// alone. The lottery paper's "random sparsity" keeps a ticket's density in each layer and nothing else of it.
inline Mask shuffled(const Mask& mask, std::uint64_t seed) {
  std::vector<MaskPart> parts = mask.parts();
  for (MaskPart& part : parts) {
    Rng rng = Rng(seed).split("shuffled").split(part.path);
    // Each weight in turn lives with the chance that what must live has among what is left (Knuth, vol. 2, 3.4.2, S).
    Index left = part.weights(), live = part.survivors();
    for (auto& word : part.words) word = 0;
    for (Index i = 0; live > 0; ++i, --left) {
      const bool lives = live == left || rng.uniform_double() * static_cast<double>(left) < static_cast<double>(live);
      if (!lives) continue;
      part.revive(i);
      --live;
    }
  }
  return Mask(std::move(parts));
}

}  // namespace espalier
