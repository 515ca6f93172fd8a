// SPDX-License-Identifier: Apache-2.0
// Architectures by the names of the command line, and results as JSON.
#pragma once

#include <charconv>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <espalier/data/augment.hpp>
#include <espalier/espalier.hpp>
#include <espalier/io/json.hpp>
#include <espalier/io/read_file.hpp>
#include <espalier/io/safetensors.hpp>
#include <espalier/prune/papers.hpp>
#include <espalier/report/exit_codes.hpp>

#include "options.hpp"

namespace examples {

namespace esp = espalier;

/// The numbers of a metadata entry such as "0.485,0.456,0.406"; none if it is absent or something else.
inline std::vector<float> numbers_in(const esp::SafetensorsFile& file, const std::string& key) {
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

/// The normalisation that a file of weights was trained with, if its metadata say so (normalize_mean,
/// normalize_std: one number a channel).
inline std::optional<esp::data::Normalise> normalisation_of(const esp::SafetensorsFile& file, esp::Index channels) {
  esp::data::Normalise n{numbers_in(file, "normalize_mean"), numbers_in(file, "normalize_std")};
  if (n.mean.size() != static_cast<std::size_t>(channels) || n.std.size() != n.mean.size()) return std::nullopt;
  return n;
}

/// A whole text file.
inline std::string read_text(const std::string& path) {
  const auto bytes = esp::read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A VGG for 28x28 images that trains in a minute: six convolutions in three stages, batch norm.
inline esp::models::VggConfig small_vgg(esp::Index in) {
  return {.stages = {{32, 32}, {64, 64}, {128, 128}}, .head = esp::models::VggHead::linear, .in = in, .gamma = esp::Init::ones};
}

/// f(a freshly initialised network of the architecture that --arch names, for images of this shape).
template <esp::Backend B, class F>
auto with_architecture(B& device, const Options& o, const esp::Shape& image, const esp::Rng& rng, F f) {
  namespace models = esp::models;
  const std::string& arch = o.arch;
  if (arch.starts_with("resnet")) {
    models::ResNetConfig config{.depth = std::stoi(arch.substr(6)), .in = image.channels()};
    if (o.shortcut == "pad-after") config.shortcut = models::ShortcutA::pad_after;
    return f(models::ResNetCifar<B>(device, config, rng));
  }
  if (arch == "lenet300") return f(models::Mlp<B>(device, {image.count(), 300, 100, 10}, rng));
  models::VggConfig config = arch == "vgg11" ? models::vgg11 : arch == "vgg13" ? models::vgg13 : arch == "vgg19" ? models::vgg19 : models::vgg16;
  if (arch == "small-vgg") config = small_vgg(image.channels());
  config.in = image.channels();
  return f(models::Vgg<B>(device, config, rng));
}

/// A network that with_architecture made, as the type that the same name gave before.
template <esp::Module Net, esp::Module Made>
Net as(Made made) {
  if constexpr (std::is_same_v<Net, Made>) return made;
  else throw esp::Error("the architecture changed its type; this is a defect, please report it");
}

/// What the paper removes from this architecture; half of every layer's filters where it says nothing.
inline esp::FilterL1 paper_policy(const Options& o) {
  namespace li = esp::papers::li2017;
  if (o.fraction) return {.amount = esp::Fraction{*o.fraction}};
  if (o.arch == "vgg16") return li::vgg16_a();
  if (o.arch == "resnet56") return o.variant == "a" ? li::resnet56_a() : li::resnet56_b();
  if (o.arch == "resnet110") return o.variant == "a" ? li::resnet110_a() : li::resnet110_b();
  return {.amount = esp::Fraction{0.5}};
}

/// Parameters, MACs and bytes under the names that scripts read.
inline esp::Json cost_json(const esp::NetworkCost& c) {
  esp::Json out = esp::Json::object();
  out["params"] = c.parameters;
  out["macs"] = c.multiply_adds;
  out["flops"] = 2 * c.multiply_adds;
  out["bytes"] = c.bytes;
  return out;
}

}  // namespace examples
