// SPDX-License-Identifier: Apache-2.0
// What goes at a time: a weight, a block of weights, or all but the best few of each run of input channels.
#pragma once

#include <ostream>
#include <string_view>
#include <variant>

#include <espalier/backend/geometry.hpp>
#include <espalier/error.hpp>

namespace espalier {

/// Single weights, wherever they are.
struct EachWeight {
  bool operator==(const EachWeight&) const = default;
};

/// What a block's score is made of: the mean, or the largest, of its live weights' scores.
enum class BlockPooling { mean, max };

/// Blocks of rows x columns weights in the view [out, all the rest] of a weight; those at the edges may be smaller. A
/// block lives while one of its weights does, and amounts and floors count blocks.
/// Differs  TFMOT's AVG and MAX pooling and torch's ln_structured take the dead in, as zeros and as what they were: the
///          same on a mask of ones.
struct Block {
  Index rows = 1, columns = 4;
  BlockPooling pooling = BlockPooling::mean;
  bool operator==(const Block&) const = default;
};

/// Of every `of` input channels that follow each other, `keep` weights stay for each output and kernel position: 2 of 4
/// is what sparse tensor cores read. It is an amount by itself.
/// Units    weights kept; TFMOT's m_by_n counts those removed.
/// Differs  a number of input channels that `of` does not divide is refused; TFMOT pads the last run with zeros.
struct KeepOf {
  Index keep = 2, of = 4;
  bool operator==(const KeepOf&) const = default;
};

using Granularity = std::variant<EachWeight, Block, KeepOf>;

inline void append(std::string& out, const EachWeight&) { out += "EachWeight{}"; }
inline void append(std::string& out, const Block& g) { out += str("Block{.rows = ", g.rows, ", .columns = ", g.columns, g.pooling == BlockPooling::max ? ", .pooling = BlockPooling::max}" : "}"); }
inline void append(std::string& out, const KeepOf& g) { out += str("KeepOf{.keep = ", g.keep, ", .of = ", g.of, "}"); }

namespace detail {

inline std::string written(const Granularity& granularity) {
  return std::visit([](const auto& g) { return str(g); }, granularity);
}
inline std::string_view unit_of(const Granularity& granularity) { return std::holds_alternative<Block>(granularity) ? "blocks" : "weights"; }

}  // namespace detail
}  // namespace espalier
