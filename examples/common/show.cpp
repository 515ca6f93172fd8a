// SPDX-License-Identifier: Apache-2.0
#include "show.hpp"

#include <charconv>
#include <utility>
#include <vector>

#include <espalier/io/read_file.hpp>
#include <espalier/prune/papers.hpp>

namespace examples {

namespace {

/// The numbers of a metadata entry such as "0.485,0.456,0.406"; none if it is absent or something else.
std::vector<float> numbers_in(const esp::SafetensorsFile& file, const std::string& key) {
  std::vector<float> numbers;
  for (const auto& [name, text] : file.metadata()) {
    if (name != key) continue;
    for (const char *at = text.data(), *end = at + text.size(); at < end; ++at) {
      float value = 0;
      const auto [next, error] = std::from_chars(at, end, value);
      if (error != std::errc{}) return {};
      numbers.push_back(value);
      at = next;
    }
  }
  return numbers;
}

}  // namespace

std::optional<esp::data::Normalise> normalisation_of(const esp::SafetensorsFile& file, esp::Index channels) {
  esp::data::Normalise n{numbers_in(file, "normalize_mean"), numbers_in(file, "normalize_std")};
  if (n.mean.size() != static_cast<std::size_t>(channels) || n.std.size() != n.mean.size()) return std::nullopt;
  return n;
}

std::string read_text(const std::string& path) {
  const auto bytes = esp::read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

esp::FilterL1 paper_policy(const Options& o) {
  namespace li = esp::papers::li2017;
  if (o.fraction) return {.amount = esp::Fraction{*o.fraction}};
  if (o.arch == "vgg16") return li::vgg16_a();
  if (o.arch == "resnet56") return o.variant == "a" ? li::resnet56_a() : li::resnet56_b();
  if (o.arch == "resnet110") return o.variant == "a" ? li::resnet110_a() : li::resnet110_b();
  return {.amount = esp::Fraction{0.5}};
}

esp::Json cost_json(const esp::NetworkCost& c) {
  esp::Json out = esp::Json::object();
  out["params"] = c.parameters;
  out["macs"] = c.multiply_adds;
  out["flops"] = 2 * c.multiply_adds;
  out["bytes"] = c.bytes;
  return out;
}

}  // namespace examples
