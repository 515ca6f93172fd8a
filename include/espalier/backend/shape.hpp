// SPDX-License-Identifier: Apache-2.0
// The extents of a tensor: rank and sizes are run-time values, because pruning changes them.
// Stored inline, so that shapes can be made and copied in a training step without allocating.
#pragma once

#include <array>
#include <initializer_list>
#include <span>
#include <string>

#include <espalier/backend/geometry.hpp>
#include <espalier/error.hpp>

namespace espalier {

/// Extents, outermost first; the last axis is contiguous and, for activations, holds the channels.
/// Throws ShapeError for a rank above Shape::max_rank, a negative extent, or a product past 2^62.
class Shape {
 public:
  static constexpr int max_rank = 5;

  Shape() = default;  // rank 0: a scalar of one element
  Shape(std::initializer_list<Index> extents) : Shape(std::span<const Index>(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const Index> extents) : rank_(static_cast<int>(extents.size())) {
    if (extents.size() > max_rank) throw ShapeError(str("a shape has ", extents.size(), " axes; at most ", max_rank, " are supported"));
    Index product = 1;
    for (std::size_t axis = 0; axis < extents.size(); ++axis) {
      const Index extent = extents[axis];
      if (extent < 0) throw ShapeError(str("axis ", axis, " has extent ", extent, "; extents are not negative"));
      if (extent > 0 && product > (Index{1} << 62) / extent) throw ShapeError("a shape's element count does not fit 62 bits");
      product *= extent;
      extents_[axis] = extent;
    }
    count_ = product;
  }

  int rank() const { return rank_; }
  Index count() const { return count_; }
  /// Extent of an axis; negative axes count from the end (-1 is the channel axis).
  Index operator[](int axis) const { return extents_[static_cast<std::size_t>(axis < 0 ? axis + rank_ : axis)]; }
  Index channels() const { return rank_ == 0 ? 1 : (*this)[-1]; }
  /// Elements per channel: the product of all axes but the last.
  Index rows() const { return channels() == 0 ? 0 : count_ / channels(); }
  std::span<const Index> extents() const { return {extents_.data(), static_cast<std::size_t>(rank_)}; }

  /// The same shape with another extent on one axis.
  Shape with(int axis, Index extent) const {
    auto changed = extents_;
    changed[static_cast<std::size_t>(axis < 0 ? axis + rank_ : axis)] = extent;
    return Shape(std::span<const Index>(changed.data(), static_cast<std::size_t>(rank_)));
  }

  bool operator==(const Shape&) const = default;

 private:
  std::array<Index, max_rank> extents_{};
  int rank_ = 0;
  Index count_ = 1;
};

/// "[128, 32, 32, 3]"
inline std::string to_string(const Shape& shape) {
  std::string out = "[";
  for (int axis = 0; axis < shape.rank(); ++axis) out += str(axis ? ", " : "", shape[axis]);
  return out + "]";
}

/// Lets str() take shapes.
inline void append(std::string& out, const Shape& shape) { out += to_string(shape); }

}  // namespace espalier
