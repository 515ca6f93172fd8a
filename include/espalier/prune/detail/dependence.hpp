// SPDX-License-Identifier: Apache-2.0
// What finding dead channels needs to know of a masked network. A site is one channel of one activation:
// which sites can change with the input, which weights read them, where they lead, and the values of those
// that cannot change.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <espalier/autograd/channel_flow.hpp>
#include <espalier/backend/geometry.hpp>
#include <espalier/nn/mask.hpp>

namespace espalier::detail {

// A constant computed at two places of a batch may differ by rounding: by this share of the largest
// magnitude among the layer's inputs.
inline constexpr double constant_tolerance = 1e-6;

// Which connections of a parameter live: row (an output) to slice (an input), by any tap between them.
class Links {
 public:
  Links() = default;
  /// All live if no part of a mask is given.
  Links(std::string path, const Shape& outside, const MaskPart* part)
      : path_(std::move(path)), rows_(outside[0]), slices_(outside.rank() > 1 ? outside[1] : 1), alive_(static_cast<std::size_t>(rows_ * slices_), part == nullptr) {
    if (part == nullptr || alive_.empty()) return;
    const auto taps = static_cast<std::size_t>(outside.count()) / alive_.size();
    for (std::size_t link = 0; link < alive_.size(); ++link)
      for (std::size_t tap = 0; tap < taps && !alive_[link]; ++tap) alive_[link] = part->alive(static_cast<Index>(link * taps + tap));
  }

  const std::string& path() const { return path_; }
  Index rows() const { return rows_; }
  Index slices() const { return slices_; }
  bool operator()(Index row, Index slice) const { return alive_[static_cast<std::size_t>(row * slices_ + slice)]; }
  /// Whether anything of the row lives.
  bool row(Index row) const {
    for (Index slice = 0; slice < slices_; ++slice)
      if ((*this)(row, slice)) return true;
    return false;
  }

 private:
  std::string path_;
  Index rows_ = 0, slices_ = 0;
  std::vector<bool> alive_;
};

// One application of a weight that reads channels.
struct ChannelReading {
  const void* weight = nullptr;
  const void* bias = nullptr;
  std::string op{};
  bool linear = false;           // of an op known to be linear in what it reads, before its bias
  ConvShape sizes{};             // then; op::Linear is a 1x1 convolution over its rows
  bool activated = false;        // an activation is fused behind it
  Channels in{}, out{};          // of the channel graph; out is empty if not linear
  int in_site = 0, out_site = 0;  // of the first channel
  std::vector<bool> read{};      // if not linear: which of `in` any live weight reads
  std::vector<bool> varies{};    // which of `in` can change with the network's input
  std::vector<bool> out_varies{};
  std::map<Index, std::vector<double>> constants{};  // position in `in` -> its value at each position of the map, if it cannot
  double scale = 0;              // the largest magnitude it reads
  int uses = 0;                  // of its result
  const void* normed_by = nullptr;  // the running mean of a batch norm that uses its result

  Index slices() const { return sizes.in / sizes.groups; }
  Index rows() const { return sizes.out / sizes.groups; }  // in a group
  /// Which of `in` a row reads through a slice.
  Index position(Index row, Index slice) const { return row / rows() * slices() + slice; }
};

// One op, backwards: a reading, or the sites that it carries on.
struct ChannelStep {
  int reading = -1;
  std::vector<std::pair<int, int>> carries{};  // site of an operand, site of the result
};

// What a run leaves.
struct Dependence {
  ChannelGraph graph;
  int sites = 0;
  std::vector<ChannelStep> steps;             // in the order of the computation: sites lead to later ones
  std::vector<int> needed;                    // sites of the network's result, and those that an op mixes
  std::vector<ChannelReading> readings;
  std::map<const void*, Links> links;         // by Parameter
  std::map<const void*, int> norm_uses;       // applications of a batch norm, by running mean
  std::map<const void*, std::string> paths;   // of Parameters and Buffers
};

}  // namespace espalier::detail
