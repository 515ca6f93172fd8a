// SPDX-License-Identifier: Apache-2.0
// The experiments of Frankle & Carbin 2019 (figure 2) by the names of --arch: network, data, optimiser, iterations,
// and how much each layer loses in a round. And a ResNet-20 that needs late rewinding (Frankle et al. 2020).
#pragma once

#include <espalier/prune/iterative.hpp>
#include <espalier/prune/unstructured.hpp>
#include <espalier/train/adam.hpp>

#include "../common/session.hpp"
#include "../common/show.hpp"

namespace examples {

/// What does not differ in type from one experiment to the next.
struct Protocol {
  esp::Index iterations = 50'000;
  esp::Index batch = 60;
  esp::Index every = 100;        // iterations between two looks at the validation images
  esp::Index validation = 5'000; // training images held out; the early-stopping iteration is chosen by them
  esp::Duration rewind = esp::iterations(0);
  esp::data::Augment augment{};
};

/// f(protocol, optimiser, schedule, decision, make_net) for the architecture; make_net(device, image, rng).
template <esp::Backend B, class F>
auto with_protocol(const std::string& arch, F f) {
  namespace models = esp::models;
  const auto conv = [&](const models::ConvNetConfig& config, esp::Index iterations, double lr, double conv_rate) {
    const auto make = [config](B& b, const esp::Shape& image, const esp::Rng& rng) {
      models::ConvNetConfig c = config;
      c.image = image[1];
      c.in = image.channels();
      return models::ConvNet<B>(b, c, rng);
    };
    const esp::LayerMagnitude decide{.remove = 0.2, .layers = {{"conv*", conv_rate}, {"fc3", 0.1}}};
    return f(Protocol{.iterations = iterations}, esp::Adam{}, esp::Constant{.value = lr}, decide, make);
  };
  if (arch == "conv-2") return conv(models::conv_2, 20'000, 2e-4, 0.1);
  if (arch == "conv-4") return conv(models::conv_4, 25'000, 3e-4, 0.1);
  if (arch == "conv-6") return conv(models::conv_6, 30'000, 3e-4, 0.15);
  if (arch == "resnet20") {
    const auto make = [](B& b, const esp::Shape& image, const esp::Rng& rng) {
      return models::ResNetCifar<B>(b, {.depth = 20, .in = image.channels()}, rng);
    };
    const Protocol protocol{.iterations = 30'000, .batch = 128, .every = 500, .rewind = esp::iterations(2'000), .augment = {.pad = 4, .flip = 0.5}};
    const esp::MultiStep schedule{.from = 0.1, .at = {esp::iterations(20'000), esp::iterations(25'000)}};
    return f(protocol, esp::Sgd{.momentum = 0.9, .weight_decay = 1e-4}, schedule, esp::GlobalMagnitude{.remove = 0.2, .ignore = {"linear"}}, make);
  }
  const auto lenet = [](B& b, const esp::Shape& image, const esp::Rng& rng) { return models::Mlp<B>(b, {image.count(), 300, 100, 10}, rng); };
  return f(Protocol{}, esp::Adam{}, esp::Constant{.value = 1.2e-3}, esp::LayerMagnitude{.remove = 0.2, .layers = {{"fc3", 0.1}}}, lenet);
}

}  // namespace examples
