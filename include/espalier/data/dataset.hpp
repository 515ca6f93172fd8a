// SPDX-License-Identifier: Apache-2.0
// Labelled images in memory, one byte a value, channels last, as the file gave them: normalising and
// augmenting is the loader's work. A set names itself and its source, so that no result table can
// forget what was measured.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <espalier/backend/geometry.hpp>
#include <espalier/error.hpp>
#include <espalier/tensor/rng.hpp>

namespace espalier::data {

/// The extents of one image.
struct ImageShape {
  Index h = 0, w = 0, c = 0;
  bool operator==(const ImageShape&) const = default;
  constexpr Index size() const { return h * w * c; }
};

/// A Dataset hands out labelled images by index.
///
/// Write      Index size() const;  ImageShape shape() const;
///            std::span<const std::uint8_t> image(Index i) const;  std::int32_t label(Index i) const;
/// Meaning    0 <= i < size(); an image is H W C, of shape().size() values.
/// Laws       pure: the same i, the same image. Safe to call from one thread while another calls it too.
/// Models     ImageSet.
template <class D>
concept Dataset = requires(const D& d, Index i) {
  { d.size() } -> std::same_as<Index>;
  { d.shape() } -> std::same_as<ImageShape>;
  { d.image(i) } -> std::same_as<std::span<const std::uint8_t>>;
  { d.label(i) } -> std::same_as<std::int32_t>;
};

/// Images of one size with a class each.
struct ImageSet {
  Index count = 0, h = 0, w = 0, c = 0;
  std::vector<std::uint8_t> pixels;       // N H W C
  std::vector<std::int32_t> labels;       // N, each in 0 ... classes - 1
  int classes = 0;
  std::string name;                       // "Fashion-MNIST train"
  std::string source;                     // the folder it was read from
  std::vector<std::string> class_names;   // `classes` of them, or none
  bool operator==(const ImageSet&) const = default;

  Index size() const { return count; }
  ImageShape shape() const { return {h, w, c}; }
  std::span<const std::uint8_t> image(Index i) const {
    const auto n = static_cast<std::size_t>(shape().size());
    return std::span(pixels).subspan(static_cast<std::size_t>(i) * n, n);
  }
  std::int32_t label(Index i) const { return labels[static_cast<std::size_t>(i)]; }

  /// How many images there are of each class.
  std::vector<Index> class_counts() const {
    std::vector<Index> counts(static_cast<std::size_t>(classes));
    for (const std::int32_t label : labels) ++counts[static_cast<std::size_t>(label)];
    return counts;
  }
};
static_assert(Dataset<ImageSet>);

/// What is trained on and what is tested on.
struct TrainTest {
  ImageSet train, test;
};

/// What is trained on and what choices are made by.
struct TrainValidation {
  ImageSet train, validation;
};

/// The images at these indices, in this order. **Throws** PolicyError if one is out of range.
inline ImageSet select(const ImageSet& set, std::span<const std::uint32_t> indices) {
  ImageSet out{static_cast<Index>(indices.size()),
               set.h,
               set.w,
               set.c,
               {},
               {},
               set.classes,
               set.name,
               set.source,
               set.class_names};
  out.pixels.reserve(indices.size() * static_cast<std::size_t>(set.shape().size()));
  out.labels.reserve(indices.size());
  for (const std::uint32_t i : indices) {
    if (i >= set.labels.size())
      throw PolicyError(str(set.name, ": found index ", i, ", needed less than ", set.count, "; check the selection"));
    const auto image = set.image(i);
    out.pixels.insert(out.pixels.end(), image.begin(), image.end());
    out.labels.push_back(set.label(i));
  }
  return out;
}

/// Images first ... first + count - 1. **Throws** PolicyError if the set does not hold them.
inline ImageSet subset(const ImageSet& set, Index first, Index count) {
  if (first < 0 || count < 0 || first > set.count || count > set.count - first) {
    throw PolicyError(
        str(set.name, ": asked for ", count, " images from ", first, ", it holds ", set.count, "; ask for less"));
  }
  std::vector<std::uint32_t> indices;
  for (Index i = first; i < first + count; ++i) indices.push_back(static_cast<std::uint32_t>(i));
  return select(set, indices);
}

/// A permutation of 0 ... n - 1, by Fisher and Yates' shuffle: a function of the generator's state alone.
inline void shuffled(std::uint32_t n, Rng rng, std::vector<std::uint32_t>& out) {
  out.resize(n);
  for (std::uint32_t i = 0; i < n; ++i) out[i] = i;
  for (std::uint32_t i = n; i > 1; --i) std::swap(out[i - 1], out[rng.below(i)]);
}

/// Takes `count` images, drawn by seed without regard to class, away for validation. Both parts keep
/// the order of the set. **Throws** PolicyError unless 0 < count < size.
inline TrainValidation hold_out(const ImageSet& set, Index count, std::uint64_t seed) {
  if (count <= 0 || count >= set.count) {
    throw PolicyError(str(set.name, ": asked to hold out ", count, " of ", set.count,
                          " images, needed at least one in each part; change the count"));
  }
  std::vector<std::uint32_t> order;
  shuffled(static_cast<std::uint32_t>(set.count), Rng(seed).split("hold out"), order);
  std::vector<bool> held(order.size(), false);
  for (Index i = 0; i < count; ++i) held[order[static_cast<std::size_t>(i)]] = true;
  std::vector<std::uint32_t> rest, validation;
  for (std::uint32_t i = 0; i < held.size(); ++i) (held[i] ? validation : rest).push_back(i);
  TrainValidation parts{select(set, rest), select(set, validation)};
  parts.validation.name += " (held out)";
  return parts;
}

}  // namespace espalier::data
