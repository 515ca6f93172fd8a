// SPDX-License-Identifier: Apache-2.0
// Training on EigenCpu gives the same bits for every number of threads: sizes are large enough for the
// work to be split, and no multiple of anything.
#include <doctest/doctest.h>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/models/resnet_cifar.hpp>
#include <espalier/models/vgg.hpp>
#include <espalier/train/adam.hpp>
#include <espalier/train/loop.hpp>

#include "train/toys.hpp"

using namespace espalier;

namespace {

data::ImageSet noise(Index count, Index side, Index channels) {
  data::ImageSet set{count, side, side, channels, {}, {}, 10, "noise", "made from a seed", {}};
  Rng rng(6);
  for (Index i = 0; i < count * set.shape().size(); ++i) set.pixels.push_back(static_cast<std::uint8_t>(rng.below(256)));
  for (Index i = 0; i < count; ++i) set.labels.push_back(static_cast<std::int32_t>(rng.below(10)));
  return set;
}

template <class Make, class Options>
void same_bits(const data::ImageSet& images, Make make, const Options& options) {
  const auto run = [&](int threads) {
    EigenCpu b({.threads = threads});
    auto net = make(b);
    const auto result = train(b, net, images, options);
    return std::tuple(test::content(b, net), result.history, evaluate(b, std::as_const(net), images, options.normalise, 19));
  };
  const auto expected = run(1);
  for (const int threads : {2, 3, 4, 7}) {
    CAPTURE(threads);
    CHECK(run(threads) == expected);
  }
}

data::Normalise grey() { return {{0.5f}, {0.25f}}; }
data::Normalise colour() { return {{0.5f, 0.5f, 0.5f}, {0.25f, 0.25f, 0.25f}}; }

}  // namespace

TEST_CASE("LeNet-300-100 under Adam ends in the same bits on 1, 2, 3, 4 and 7 threads") {
  same_bits(noise(301, 28, 1), [](EigenCpu& b) { return models::Mlp<EigenCpu>(b, models::lenet_300_100, Rng(1)); },
            TrainOptions<Adam>{.epochs = 4, .batch = 60, .clip_norm = 5, .normalise = grey()});
}

TEST_CASE("a small VGG under SGD ends in the same bits on 1, 2, 3, 4 and 7 threads") {
  same_bits(noise(75, 13, 3), [](EigenCpu& b) { return models::Vgg<EigenCpu>(b, {.stages = {{17, 24}, {40}}, .hidden = 33}, Rng(1)); },
            TrainOptions<Sgd>{.epochs = 2, .batch = 32, .schedule = {.value = 0.05}, .normalise = colour(), .augment = {.pad = 2, .flip = 0.5}});
}

TEST_CASE("a small ResNet under Nesterov ends in the same bits on 1, 2, 3, 4 and 7 threads") {
  same_bits(noise(50, 16, 3), [](EigenCpu& b) { return models::ResNetCifar<EigenCpu>(b, {.depth = 8}, Rng(1)); },
            TrainOptions<Sgd>{.epochs = 2, .batch = 25, .optimizer = {.nesterov = true}, .schedule = {.value = 0.05}, .normalise = colour()});
}
