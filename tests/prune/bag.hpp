// SPDX-License-Identifier: Apache-2.0
// Networks that are nothing but named weights, and masks written as zeros and ones.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <espalier/backend/reference.hpp>
#include <espalier/nn/mask.hpp>

namespace espalier::test {

template <Backend B>
struct Bag {
  std::vector<std::pair<std::string, Parameter<B>>> weights;

  Bag& add(B& b, const std::string& path, const Shape& shape, const std::vector<float>& values, Layout layout = Layout::plain) {
    weights.push_back({path, Parameter<B>(from_host(b, HostTensor{shape, values}, layout), layout)});
    return *this;
  }
  Bag& gradient(B& b, const std::vector<float>& values) {  // of the last one added
    Parameter<B>& p = weights.back().second;
    p.gradient = from_host(b, HostTensor{p.outside_shape(), values}, p.layout);
    p.has_gradient = true;
    return *this;
  }
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    for (auto& [path, parameter] : self.weights) visit(path.c_str(), parameter);
  }
};

using Bits = std::vector<std::uint8_t>;

/// One weight tensor, and the bits of its mask.
inline Bag<Reference> one(const Shape& shape, const std::vector<float>& values) {
  Reference b;
  return Bag<Reference>{}.add(b, "w", shape, values);
}
inline Bits bits(const Mask& mask, std::string_view path = "w") { return mask.find(path)->unpacked(); }
inline Mask mask_of_bits(const std::string& path, const Shape& shape, const Bits& alive) {
  MaskPart part = MaskPart::ones(path, shape);
  for (std::size_t i = 0; i < alive.size(); ++i)
    if (alive[i] == 0) part.kill(static_cast<Index>(i));
  return Mask({part});
}

}  // namespace espalier::test
