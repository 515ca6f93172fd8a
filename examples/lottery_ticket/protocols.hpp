// SPDX-License-Identifier: Apache-2.0
// The experiments of Frankle & Carbin 2019 (figure 2) by the names of --arch: data, optimiser, iterations,
// and how much each layer loses in a round. And a ResNet-20 that needs late rewinding (Frankle et al. 2020).
#pragma once

#include <string>
#include <utility>
#include <vector>

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

/// f(protocol, optimiser, schedule, decision) for the architecture.
template <class F>
auto with_protocol(const std::string& arch, F f) {
  if (arch == "resnet20") {
    const Protocol protocol{.iterations = 30'000, .batch = 128, .every = 500, .rewind = esp::iterations(2'000), .augment = {.pad = 4, .flip = 0.5}};
    const esp::MultiStep schedule{.from = 0.1, .at = {esp::iterations(20'000), esp::iterations(25'000)}};
    return f(protocol, esp::Sgd{.momentum = 0.9, .weight_decay = 1e-4}, schedule, esp::GlobalMagnitude{.remove = 0.2, .ignore = {"linear"}});
  }
  const auto adam = [&](esp::Index iterations, double lr, std::vector<std::pair<std::string, double>> layers) {
    return f(Protocol{.iterations = iterations}, esp::Adam{}, esp::Constant{.value = lr}, esp::LayerMagnitude{.remove = 0.2, .layers = std::move(layers)});
  };
  if (arch == "conv-2") return adam(20'000, 2e-4, {{"conv*", 0.1}, {"fc3", 0.1}});
  if (arch == "conv-4") return adam(25'000, 3e-4, {{"conv*", 0.1}, {"fc3", 0.1}});
  if (arch == "conv-6") return adam(30'000, 3e-4, {{"conv*", 0.15}, {"fc3", 0.1}});
  return adam(50'000, 1.2e-3, {{"fc3", 0.1}});
}

}  // namespace examples
