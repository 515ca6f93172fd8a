// SPDX-License-Identifier: Apache-2.0
// Architectures by the names of the command line, and results as JSON.
#pragma once

#include <charconv>
#include <string>
#include <vector>

#include <espalier/espalier.hpp>
#include <espalier/io/json.hpp>
#include <espalier/io/read_file.hpp>
#include <espalier/io/safetensors.hpp>
#include <espalier/report/exit_codes.hpp>

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

/// A whole text file.
inline std::string read_text(const std::string& path) {
  const auto bytes = esp::read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A VGG for 28x28 images that trains in a minute: six convolutions in three stages, batch norm.
inline esp::models::VggConfig small_vgg(esp::Index in) {
  return {.stages = {{16, 16}, {32, 32}, {64, 64}}, .head = esp::models::VggHead::linear, .in = in, .gamma = esp::Init::ones};
}

/// f(a freshly initialised network of the named architecture, for images of this shape).
template <esp::Backend B, class F>
auto with_architecture(B& device, const std::string& arch, const esp::Shape& image, const esp::Rng& rng, F f) {
  namespace models = esp::models;
  if (arch.starts_with("resnet")) {
    models::ResNetConfig config{.depth = std::stoi(arch.substr(6)), .in = image.channels()};
    return f(models::ResNetCifar<B>(device, config, rng));
  }
  if (arch == "lenet300") return f(models::Mlp<B>(device, {image.count(), 300, 100, 10}, rng));
  models::VggConfig config = arch == "vgg11" ? models::vgg11 : arch == "vgg13" ? models::vgg13 : arch == "vgg19" ? models::vgg19 : models::vgg16;
  if (arch == "small-vgg") config = small_vgg(image.channels());
  config.in = image.channels();
  return f(models::Vgg<B>(device, config, rng));
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
