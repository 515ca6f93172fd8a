// SPDX-License-Identifier: Apache-2.0
// A warm step of the whole training loop allocates nothing: loader, residual network with kernels of every size that
// convolutions choose among, optimiser with moments, a mask, clipping.
#include <doctest/doctest.h>

#include <vector>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/models/resnet_cifar.hpp>
#include <espalier/prune/unstructured.hpp>
#include <espalier/train/adam.hpp>
#include <espalier/train/loop.hpp>
#include <espalier/train/sgd.hpp>

#include <common/count_allocations.hpp>

using namespace espalier;

namespace {

data::ImageSet images(Index count) {
  data::ImageSet set;
  set.name = "noise";
  set.count = count;
  set.h = set.w = 32;
  set.c = 3;
  set.classes = 10;
  Rng rng(1);
  for (Index i = 0; i < count * 32 * 32 * 3; ++i) set.pixels.push_back(static_cast<std::uint8_t>(rng.below(256)));
  for (Index i = 0; i < count; ++i) set.labels.push_back(static_cast<std::int32_t>(i % 10));
  return set;
}

struct Count {
  EigenCpu& device;
  std::vector<long> news_at{};
  std::vector<std::size_t> pool_at{};
  explicit Count(EigenCpu& b) : device(b) { news_at.reserve(64), pool_at.reserve(64); }
  void step(const StepMetrics&) {
    news_at.push_back(news);
    pool_at.push_back(device.pool().system_allocations());
  }
};

template <class O>
void check(const O& optimizer, int threads) {
  CAPTURE(threads);
  EigenCpu b({.threads = threads});
  const auto set = images(8 * 8);
  models::ResNetCifar<EigenCpu> net(b, {.depth = 20}, Rng(1));
  TrainOptions<O> options{.epochs = 1, .batch = 8, .optimizer = optimizer};
  options.normalise = data::cifar10_channels();
  options.augment = {.pad = 4, .flip = 0.5};
  options.clip_norm = 1;
  options.prefetch = 0;
  Trainer trainer(b, net, set, options);
  trainer.set_mask(GlobalMagnitude{.sparsity = 0.5}.next(b, net, Mask::ones(net)));
  Count count(b);
  trainer.run(count);
  REQUIRE(count.news_at.size() == 8);
  CHECK(count.news_at[7] == count.news_at[2]);
  CHECK(count.pool_at[7] == count.pool_at[2]);
}

}  // namespace

TEST_CASE("warm steps of Trainer on a ResNet-20 ask nobody for memory: SGD with momentum") { check(Sgd{.momentum = 0.9, .weight_decay = 1e-4}, 1); }

TEST_CASE("warm steps of Trainer on a ResNet-20 ask nobody for memory: Adam, two threads") { check(Adam{}, 2); }
