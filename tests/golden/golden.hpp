// SPDX-License-Identifier: Apache-2.0
// Reads the golden files: the formula that makes inputs and initial weights, and tensors in PyTorch's
// layout. README.md in this folder says what they hold and where the tolerances come from.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include <espalier/autograd/parameter.hpp>
#include <espalier/io/safetensors.hpp>

#include "common/skip.hpp"

namespace espalier::test {

/// The README's formula: value number i of the stream named by the key, in [-1, 1).
class Formula {
 public:
  explicit Formula(const std::string& key) {
    seed_ = 0xCBF29CE484222325u;
    for (const char c : key) seed_ = (seed_ ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  }
  std::uint64_t bits(std::uint64_t i) const {
    std::uint64_t z = seed_ + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (z ^ (z >> 31)) >> 44;
  }
  double operator()(std::uint64_t i) const { return (static_cast<double>(bits(i)) - 524288) / 524288; }
  std::uint64_t seed() const { return seed_; }

 private:
  std::uint64_t seed_ = 0;
};

/// "key=value key=value ..." as numbers; the first word without "=" is kept as `name`.
struct Settings {
  std::string name;
  std::map<std::string, std::string> values;

  explicit Settings(const std::string& text) {
    std::istringstream words(text);
    for (std::string word; words >> word;) {
      const auto equals = word.find('=');
      if (equals == std::string::npos) name = word;
      else values[word.substr(0, equals)] = word.substr(equals + 1);
    }
  }
  bool has(const std::string& key) const { return values.count(key) > 0; }
  double number(const std::string& key, double otherwise = 0) const { return has(key) ? std::stod(values.at(key)) : otherwise; }
  /// The two numbers of "2,1"; a single one counts twice.
  std::pair<Index, Index> pair(const std::string& key) const {
    const std::string& text = values.at(key);
    const auto comma = text.find(',');
    return {std::stol(text.substr(0, comma)), std::stol(comma == std::string::npos ? text : text.substr(comma + 1))};
  }
};

class Golden {
 public:
  Golden(const std::filesystem::path& folder, const std::string& name) : file_(SafetensorsFile::read((folder / (name + ".safetensors")).string())) {}

  const SafetensorsFile& file() const { return file_; }
  std::string text(const std::string& key) const {
    const std::string* found = file_.find_metadata(key);
    REQUIRE(found != nullptr);
    return *found;
  }
  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  std::vector<double> doubles(const std::string& name) const { return file_.doubles(name); }
  std::vector<std::int32_t> ids(const std::string& name) const {
    const auto wide = file_.ints(name);
    return std::vector<std::int32_t>(wide.begin(), wide.end());
  }
  Shape shape(const std::string& name) const {
    std::vector<Index> extents;
    for (const auto extent : file_.get(name).shape) extents.push_back(static_cast<Index>(extent));
    return Shape(std::span<const Index>(extents));
  }

 private:
  SafetensorsFile file_;
};

/// The largest difference, relative to the largest expected value where `relative`.
inline double distance(const std::vector<double>& expected, const std::vector<double>& found, bool relative) {
  if (expected.size() != found.size()) return 1e300;
  double largest = 0, error = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    const double d = std::abs(expected[i] - found[i]);
    error = std::isfinite(d) ? std::max(error, d) : 1e300;
  }
  return relative ? error / std::max(largest, 1e-30) : error;
}

/// The elements as doubles in the outside layout.
template <Backend B>
std::vector<double> outside_values(B& b, const Tensor<B>& t, Layout layout) {
  const auto inner = t.to_host(b);
  std::vector<double> outer(inner.size());
  espalier::detail::relayout(std::span<const typename B::Scalar>(inner), std::span<double>(outer), t.shape(), layout, true);
  return outer;
}

/// PyTorch's [N, C, H, W] to channels-last, or a matrix or row as it is; and back.
inline std::vector<double> channels_last(const std::vector<double>& x, const Shape& outer, bool back = false) {
  if (outer.rank() != 4) return x;
  const Index n = outer[0], c = outer[1], h = outer[2], w = outer[3];
  std::vector<double> y(x.size());
  for (Index i = 0; i < n; ++i)
    for (Index k = 0; k < c; ++k)
      for (Index r = 0; r < h; ++r)
        for (Index s = 0; s < w; ++s) {
          const auto outside = static_cast<std::size_t>(((i * c + k) * h + r) * w + s), inside = static_cast<std::size_t>(((i * h + r) * w + s) * c + k);
          if (back) y[outside] = x[inside];
          else y[inside] = x[outside];
        }
  return y;
}
inline Shape channels_last(const Shape& outer) { return outer.rank() == 4 ? Shape{outer[0], outer[2], outer[3], outer[1]} : outer; }

}  // namespace espalier::test
