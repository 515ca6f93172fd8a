// SPDX-License-Identifier: Apache-2.0
// Which weights of a network live, as a value: one bit a weight, by parameter path, in the layout that
// files and PyTorch have. A mask is decided, printed, saved and compared; it is never read off zeros.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <espalier/nn/module.hpp>

namespace espalier {

/// The part of a mask that belongs to one parameter: bit i % 64 of word i / 64 is weight i of the outside
/// shape, row-major. Bits behind the last weight are 0.
struct MaskPart {
  std::string path;  // "fc1.weight"
  Shape shape{0};    // outside
  std::vector<std::uint64_t> words{};
  bool operator==(const MaskPart&) const = default;

  static MaskPart ones(std::string path, const Shape& shape) {
    const auto n = static_cast<std::size_t>(shape.count());
    MaskPart part{std::move(path), shape, std::vector<std::uint64_t>((n + 63) / 64, ~std::uint64_t{0})};
    if (n % 64 != 0) part.words.back() = (std::uint64_t{1} << n % 64) - 1;
    return part;
  }

  Index weights() const { return shape.count(); }
  Index survivors() const {
    Index count = 0;
    for (const std::uint64_t word : words) count += std::popcount(word);
    return count;
  }
  /// The share of the weights that live; 1 if there are none.
  double density() const { return weights() == 0 ? 1.0 : static_cast<double>(survivors()) / static_cast<double>(weights()); }
  double sparsity() const { return 1.0 - density(); }
  bool alive(Index i) const { return (words[static_cast<std::size_t>(i / 64)] >> (i % 64) & 1) != 0; }
  void kill(Index i) { words[static_cast<std::size_t>(i / 64)] &= ~(std::uint64_t{1} << i % 64); }
  void revive(Index i) { words[static_cast<std::size_t>(i / 64)] |= std::uint64_t{1} << i % 64; }

  /// Zeros and ones, one an element.
  std::vector<std::uint8_t> unpacked() const {
    std::vector<std::uint8_t> out(static_cast<std::size_t>(weights()));
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::uint8_t>(words[i / 64] >> i % 64 & 1);
    return out;
  }
};

/// A mask over some parameters of a network, in the network's order. What it does not name lives.
///
/// Laws  survivors() + dead() == weights();  a.within(b) and b.within(a) only if a == b;
///       the mask of any round of pruning is within that of the round before.
class Mask {
 public:
  Mask() = default;
  /// Throws StaleState for a path given twice or words that do not fit a shape.
  explicit Mask(std::vector<MaskPart> parts) : parts_(std::move(parts)) {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const MaskPart& part = parts_[i];
      const auto n = static_cast<std::size_t>(part.weights());
      if (part.words.size() != (n + 63) / 64 || (n % 64 != 0 && part.words.back() >> n % 64 != 0))
        throw StaleState(str("the mask of '", part.path, "': found ", part.words.size(), " words of 64 bits, needed ", (n + 63) / 64, " for shape ", part.shape,
                             ", with zeros behind the last weight; build it with MaskPart::ones and kill()"));
      for (std::size_t j = 0; j < i; ++j)
        if (parts_[j].path == part.path) throw StaleState(str("mask: found '", part.path, "' twice, needed it once; merge the two parts"));
    }
  }

  /// Every weight lives: of all parameters with at least two axes, so biases and normalisations are not named.
  template <Module M>
  static Mask ones(const M& net) {
    std::vector<MaskPart> parts;
    for_each_parameter(net, [&](const std::string& path, const auto& p) {
      if (p.value.shape().rank() >= 2) parts.push_back(MaskPart::ones(path, p.outside_shape()));
    });
    return Mask(std::move(parts));
  }

  const std::vector<MaskPart>& parts() const { return parts_; }
  bool empty() const { return parts_.empty(); }
  /// The part of that path, or nullptr.
  const MaskPart* find(std::string_view path) const {
    const auto at = std::find_if(parts_.begin(), parts_.end(), [&](const MaskPart& p) { return p.path == path; });
    return at == parts_.end() ? nullptr : &*at;
  }

  Index weights() const { return sum(&MaskPart::weights); }
  Index survivors() const { return sum(&MaskPart::survivors); }
  Index dead() const { return weights() - survivors(); }
  /// The share of the named weights that live; 1 if none are named.
  double density() const { return weights() == 0 ? 1.0 : static_cast<double>(survivors()) / static_cast<double>(weights()); }
  double sparsity() const { return 1.0 - density(); }

  /// Whether every weight that lives here lives in `wider`, and both name the same parameters.
  bool within(const Mask& wider) const {
    if (parts_.size() != wider.parts_.size()) return false;
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      const MaskPart &a = parts_[i], &b = wider.parts_[i];
      if (a.path != b.path || a.shape != b.shape) return false;
      for (std::size_t w = 0; w < a.words.size(); ++w)
        if ((a.words[w] & ~b.words[w]) != 0) return false;
    }
    return true;
  }

  bool operator==(const Mask&) const = default;

 private:
  template <class Count>
  Index sum(Count count) const {
    Index total = 0;
    for (const MaskPart& part : parts_) total += (part.*count)();
    return total;
  }
  std::vector<MaskPart> parts_;
};

/// Throws StaleState, naming the path, unless every part names a parameter of the network in its shape.
template <Module M>
void check_fits(const Mask& mask, const M& net) {
  std::size_t found = 0;
  std::string paths;
  for_each_parameter(net, [&](const std::string& path, const auto& p) {
    paths += str(paths.empty() ? "" : ", ", path);
    const MaskPart* part = mask.find(path);
    if (part == nullptr) return;
    ++found;
    if (part->shape != p.outside_shape())
      throw StaleState(str("the mask of '", path, "': found shape ", part->shape, ", needed ", p.outside_shape(), "; make the mask from this network"));
  });
  if (found == mask.parts().size()) return;
  for (const MaskPart& part : mask.parts()) {
    bool known = false;
    for_each_parameter(net, [&](const std::string& path, const auto&) { known = known || path == part.path; });
    if (!known) throw StaleState(str("a mask for '", part.path, "': found no parameter of that path, needed one of ", paths, "; make the mask from this network"));
  }
}

/// A copy of the network whose dead weights are exactly zero. Shapes, file size and speed stay what they
/// were. Throws StaleState if the mask does not fit the network.
template <Backend B, Module M>
M mask(B& b, const M& net, const Mask& mask) {
  check_fits(mask, net);
  M masked = net;
  for_each_parameter(masked, [&](const std::string& path, auto& p) {
    const MaskPart* part = mask.find(path);
    if (part == nullptr) return;
    HostTensor host = to_host(b, p);
    for (std::size_t i = 0; i < host.values.size(); ++i)
      if (!part->alive(static_cast<Index>(i))) host.values[i] = 0;
    p.value = from_host(b, host, p.layout);
    p.has_gradient = false;
  });
  return masked;
}

/// "266200 of 266200 weights live (100 %)"
inline void append(std::string& out, const Mask& mask) {
  out += str(mask.survivors(), " of ", mask.weights(), " weights live (", std::round(1e4 * mask.density()) / 1e2, " %)");
}

}  // namespace espalier
