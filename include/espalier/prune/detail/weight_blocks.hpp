// SPDX-License-Identifier: Apache-2.0
// Selection by other units than weights: blocks are ranked as weights are, runs of channels each by itself.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <espalier/nn/mask.hpp>
#include <espalier/prune/detail/weight_selection.hpp>
#include <espalier/prune/granularity.hpp>

namespace espalier::detail {

// Calls f(block, first, size) for each row of each block, the rows of a tensor in their order: `size` weights from
// `first` on belong to that block.
template <class F>
void for_block_rows(const Shape& shape, const Block& block, F f) {
  const Index rows = shape.count() == 0 ? 0 : shape[0], cols = rows == 0 ? 0 : shape.count() / rows, across = (cols + block.columns - 1) / block.columns;
  for (Index row = 0; row < rows; ++row)
    for (Index at = 0; at < across; ++at) f(row / block.rows * across + at, row * cols + at * block.columns, std::min(block.columns, cols - at * block.columns));
}
inline Index blocks_in(const Shape& shape, const Block& block) {
  if (shape.count() == 0) return 0;
  const Index rows = shape[0], cols = shape.count() / rows;
  return ((rows + block.rows - 1) / block.rows) * ((cols + block.columns - 1) / block.columns);
}

/// The blocks of a layer as candidates of their own, of the scores of its weights.
inline Candidates blocks_of(const Candidates& weights, const MaskPart& part, const Block& block) {
  const auto n = static_cast<std::size_t>(blocks_in(part.shape, block));
  std::vector<double> pooled(n);  // the sum or the largest
  std::vector<Index> living(n);
  for_block_rows(part.shape, block, [&](Index at, Index first, Index size) {
    for (Index i = first; i < first + size; ++i) {
      if (!part.alive(i)) continue;
      const float score = weights.scores[static_cast<std::size_t>(i)];
      if (std::isnan(score)) refuse_nan(weights.path, i);
      double& of_block = pooled[static_cast<std::size_t>(at)];
      Index& members = living[static_cast<std::size_t>(at)];
      if (block.pooling == BlockPooling::mean) of_block += static_cast<double>(score);
      else of_block = members == 0 ? static_cast<double>(score) : std::max(of_block, static_cast<double>(score));
      ++members;
    }
  });
  Candidates blocks{.path = weights.path, .scores = std::vector<float>(n), .alive = MaskPart::ones({}, {static_cast<Index>(n)}).words};
  for (std::size_t i = 0; i < n; ++i) {
    if (living[i] > 0) blocks.scores[i] = static_cast<float>(block.pooling == BlockPooling::mean ? pooled[i] / static_cast<double>(living[i]) : pooled[i]);
    else blocks.alive[i / 64] &= ~(std::uint64_t{1} << i % 64);
  }
  return blocks;
}

/// The weights of blocks that are dead go.
inline void kill_blocks(const Candidates& blocks, const Block& block, MaskPart& part) {
  for_block_rows(part.shape, block, [&](Index at, Index first, Index size) {
    if ((blocks.alive[static_cast<std::size_t>(at / 64)] >> (at % 64) & 1) != 0) return;
    for (Index i = first; i < first + size; ++i) part.kill(i);
  });
}

/// Of each run of input channels all but the `keep` highest live scores go; of equal scores the lower channel stays.
inline void keep_best(const Candidates& weights, const KeepOf& g, const std::string& policy, MaskPart& part) {
  const Index outputs = part.shape[0], inputs = part.shape[1];
  if (inputs % g.of != 0)
    throw PolicyError(str(policy, ": ", str(g), ": found ", inputs, " input channels in '", part.path, "', needed a multiple of ", g.of, "; put the layer in .ignore"));
  if (part.shape.count() == 0) return;
  const Index taps = part.shape.count() / (outputs * inputs);
  std::vector<Index> run(static_cast<std::size_t>(g.of));  // places of the live weights of a run, the best first
  for (Index o = 0; o < outputs; ++o)
    for (Index tap = 0; tap < taps; ++tap)
      for (Index from = 0; from < inputs; from += g.of) {
        run.clear();
        for (Index i = from; i < from + g.of; ++i) {
          const Index at = (o * inputs + i) * taps + tap;
          if (!part.alive(at)) continue;
          const float score = weights.scores[static_cast<std::size_t>(at)];
          if (std::isnan(score)) refuse_nan(weights.path, at);
          run.insert(std::find_if(run.begin(), run.end(), [&](Index other) { return weights.scores[static_cast<std::size_t>(other)] < score; }), at);
        }
        for (std::size_t i = static_cast<std::size_t>(g.keep); i < run.size(); ++i) part.kill(run[i]);
      }
}

}  // namespace espalier::detail
