// SPDX-License-Identifier: Apache-2.0
// The storage of weights that are mostly zeros, in the order in which their product reads them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <espalier/backend/detail/tile.hpp>
#include <espalier/backend/geometry.hpp>

namespace espalier::detail {

/// The nonzero weights of a matrix [out, in], in the order in which `sparse_product` meets them: chunks of inputs
/// whose part of a panel stays in the second-level cache; in a chunk groups of outputs whose results stay in the first;
/// in a group windows of inputs, which its outputs share there while zeros are not too many; then output by output.
/// The order depends on the matrix alone. A value: copying copies it.
class SparseWeights {
 public:
  static constexpr Index chunk = 1024;  // inputs: 256 KiB of a full panel, 64 pages of memory
  static constexpr Index group = 32;    // outputs: 8 KiB of results
  static constexpr Index least_window = 128;
  static constexpr Index weights_wanted = 20;  // of an output in a window, to pay for loading and storing its sums

  SparseWeights() = default;
  /// Weight (o, i) is w[o * out_stride + i * in_stride]. Exact zeros, of either sign, are left out.
  SparseWeights(Index outputs, Index inputs, const float* w, Index out_stride, Index in_stride) : outputs_(outputs), inputs_(inputs) {
    Index nonzeros = 0;
    for (Index o = 0; o < outputs; ++o)
      for (Index i = 0; i < inputs; ++i) nonzeros += w[o * out_stride + i * in_stride] != 0.0f;
    while (window_ < chunk && window_ * nonzeros < weights_wanted * outputs * inputs) window_ *= 2;
    values_.reserve(static_cast<std::size_t>(nonzeros));
    places_.reserve(static_cast<std::size_t>(nonzeros));
    for (Index c = 0; c < chunks(); ++c)
      for (Index g = 0; g < groups(); ++g) {
        starts_.push_back({values_.size(), counts_.size()});
        for (Index n = 0; n < windows(c); ++n) {
          const Index i0 = c * chunk + n * window_, i1 = std::min(inputs, i0 + window_);
          for (Index o = g * group; o < std::min(outputs, (g + 1) * group); ++o) {
            const std::size_t before = values_.size();
            for (Index i = i0; i < i1; ++i)
              if (const float value = w[o * out_stride + i * in_stride]; value != 0.0f) {
                values_.push_back(value);
                places_.push_back(static_cast<std::uint16_t>(i - i0));
              }
            counts_.push_back(static_cast<std::uint16_t>(values_.size() - before));
          }
        }
      }
  }

  Index outputs() const { return outputs_; }
  Index inputs() const { return inputs_; }
  Index nonzeros() const { return static_cast<Index>(values_.size()); }
  Index window() const { return window_; }
  Index chunks() const { return std::max<Index>(1, ceil_div(inputs_, chunk)); }
  Index groups() const { return ceil_div(outputs_, group); }
  Index windows(Index c) const { return std::max<Index>(1, ceil_div(std::min(chunk, inputs_ - c * chunk), window_)); }

  /// The next weights to be met.
  struct Cursor {
    const float* values;
    const std::uint16_t* places;  // their inputs, counted from the window's first
    const std::uint16_t* counts;  // how many there are for each output of each window
  };
  Cursor at(Index c, Index g) const {
    const Start& s = starts_[static_cast<std::size_t>(c * groups() + g)];
    return {values_.data() + s.weight, places_.data() + s.weight, counts_.data() + s.count};
  }

 private:
  struct Start {
    std::size_t weight, count;
  };
  Index outputs_ = 0, inputs_ = 0, window_ = least_window;
  std::vector<float> values_;
  std::vector<std::uint16_t> places_, counts_;
  std::vector<Start> starts_;
};

}  // namespace espalier::detail
