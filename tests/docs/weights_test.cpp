// SPDX-License-Identifier: Apache-2.0
// Every piece of code of docs/guide/weights-and-tickets.md, compiled and run; see snippets_test.cpp.
#include <doctest/doctest.h>

#include <iostream>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/espalier.hpp>
#include <espalier/io/mask.hpp>
#include <espalier/io/ticket.hpp>
#include <espalier/prune/dead_channels.hpp>
#include <espalier/prune/gradual.hpp>
#include <espalier/prune/iterative.hpp>
#include <espalier/prune/score_collector.hpp>
#include <espalier/prune/sparsity_schedule.hpp>
#include <espalier/prune/structured_ticket.hpp>
#include <espalier/prune/unstructured.hpp>
#include <espalier/train/adam.hpp>

#include "io/scratch.hpp"

using namespace espalier;

namespace {

// What a document shows as output, between its name and the next.
void show(const std::string& name, const std::string& text) { std::cout << "=== " << name << '\n' << text << std::flush; }

// Bars, upright or lying, 8 x 8 and grey.
data::ImageSet bars(Index count, std::uint64_t seed) {
  data::ImageSet set{.count = count, .h = 8, .w = 8, .c = 1, .pixels = {}, .labels = {}, .classes = 2, .name = "bars", .source = "made from a seed", .class_names = {}};
  Rng rng(seed);
  for (Index i = 0; i < count; ++i) {
    const bool lying = rng.bernoulli(0.5);
    const Index at = rng.below(8);
    for (Index y = 0; y < 8; ++y)
      for (Index x = 0; x < 8; ++x) set.pixels.push_back(static_cast<std::uint8_t>((lying ? y : x) == at ? 255 : rng.below(60)));
    set.labels.push_back(lying ? 1 : 0);
  }
  return set;
}

const TrainOptions<Adam, Constant> options{.epochs = 2, .batch = 16, .schedule = {.value = 0.01}, .normalise = {{0.2F}, {0.3F}}, .seed = 1};

}  // namespace

TEST_CASE("guide: masks") {
  EigenCpu device({.threads = 2});
  const data::ImageSet images = bars(160, 1);
  auto net = models::Mlp<EigenCpu>(device, {64, 32, 16, 2}, Rng(1));
  train(device, net, images, options);
  const test::ScratchFolder folder;
  std::string printed;
  // example-begin mask
  const Mask whole = Mask::ones(net);  // every weight lives; biases and normalisations are not named
  const Mask fewer = GlobalMagnitude{.remove = 0.2}.next(device, net, whole);
  const Mask fewest = GlobalMagnitude{.remove = 0.2}.next(device, net, fewer);
  for (const Mask& mask : {whole, fewer, fewest}) printed += str(mask, '\n');
  save_mask(fewest, folder / "mask.safetensors");
  // example-end mask
  show("mask", printed);
  CHECK(load_mask(folder / "mask.safetensors") == fewest);

  // example-begin policies
  const GlobalMagnitude of_all{.sparsity = 0.9, .keep_fraction = 0.02};
  const LayerMagnitude by_layer{.remove = 0.2, .layers = {{"fc3", 0.1}}};
  const GlobalMagnitude all_but_one{.sparsity = 0.5, .ignore = {"fc1"}};
  const LayerMagnitude blocks{.sparsity = 0.5, .granularity = Block{.rows = 1, .columns = 4}};
  const LayerMagnitude two_of_four{.granularity = KeepOf{.keep = 2, .of = 4}};
  const GlobalRandom at_random{.remove = 0.2, .criterion = {.seed = 7}};
  // example-end policies
  for (const Mask& mask : {of_all.next(device, net, whole), by_layer.next(device, net, whole), all_but_one.next(device, net, whole), blocks.next(device, net, whole),
                           two_of_four.next(device, net, whole), at_random.next(device, net, whole)})
    CHECK(mask.within(whole));

  // example-begin train_masked
  Trainer trainer(device, net, images, options);
  trainer.set_mask(fewest);  // dead weights are exactly zero from here on, and so are their moments
  trainer.run();
  // example-end train_masked
  CHECK(mask(device, net, fewest).layers[0].weight.value.to_host(device) == net.layers[0].weight.value.to_host(device));

  // example-begin collect
  ScoreCollector<Movement, EigenCpu> movement;  // - sum of w dL/dw over the steps of a training
  train(device, net, images, options, movement);
  const Mask moved = GlobalMovement{.sparsity = 0.5}.next(device, net, whole, movement.scores(device));
  // example-end collect
  CHECK(moved.sparsity() == 0.5);

  // example-begin dead
  const auto slim = remove_dead(device, net, {1, 8, 8, 1}, fewest);  // same outputs, fewer channels
  // example-end dead
  CHECK(parameter_count(slim.net) <= parameter_count(net));
}

TEST_CASE("guide: tickets") {
  EigenCpu device({.threads = 2});
  const data::ImageSet images = bars(160, 1), test = bars(80, 2);
  const auto net = models::Mlp<EigenCpu>(device, {64, 32, 16, 2}, Rng(1));
  const test::ScratchFolder folder;
  std::string printed;
  // example-begin lottery
  const IterativePruning<LayerMagnitude, LotteryRewind> lottery{
      .decide = {.remove = 0.2, .layers = {{"fc3", 0.1}}}, .then = {.to = iterations(0)}, .rounds = 3};
  const auto start = whole_ticket(device, net, images, options, 20);  // 20 iterations each
  const auto [ticket, trained] = prune_iteratively(device, start, images, options, lottery, [&](const auto& found, const auto& result) {
    const double accuracy = evaluate(device, result.net, test, options.normalise).accuracy;
    printed += str("round ", found.round, ": ", found.mask.survivors(), " weights, accuracy ", accuracy, '\n');
  });
  save_ticket(device, ticket, folder / "ticket.safetensors");
  // example-end lottery
  show("lottery", printed);

  const std::string file = folder / "ticket.safetensors";
  // example-begin ticket
  const auto loaded = load_ticket(device, net, file);  // a network of the same architecture
  const auto again = train_ticket(device, loaded.ticket, images, options);  // the same bytes as `trained`
  const auto control = train_ticket(device, reinitialised(device, loaded.ticket, 7), images, options);
  // example-end ticket
  CHECK(again.net.layers[0].weight.value.to_host(device) == trained.net.layers[0].weight.value.to_host(device));
  CHECK(control.net.layers[0].weight.value.to_host(device) != trained.net.layers[0].weight.value.to_host(device));

  // example-begin slim_ticket
  const auto small = remove_dead(device, loaded.ticket, {1, 8, 8, 1});  // same place, round and policy
  save_ticket(device, small.ticket, folder / "small.safetensors");
  // example-end slim_ticket
  CHECK(load_ticket(device, net, folder / "small.safetensors").ticket.mask == small.ticket.mask);

  auto dense = net;
  // example-begin gradual
  const GradualPruning<GlobalMagnitude, CubicSparsity> gradual{
      .sparsity = {.from = 0, .to = 0.8, .begin = iterations(2), .end = iterations(12), .frequency = iterations(2)}};
  const auto [mask, history] = prune_gradually(device, dense, images, options, gradual);
  // example-end gradual
  CHECK(mask.sparsity() == doctest::Approx(0.8).epsilon(0.001));
}
