// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include <espalier/backend/reference.hpp>
#include <espalier/io/checkpoint.hpp>
#include <espalier/prune/gradual.hpp>
#include <espalier/prune/score_collector.hpp>
#include <espalier/prune/sparsity_schedule.hpp>
#include <espalier/prune/unstructured.hpp>

#include "io/scratch.hpp"
#include "train/toys.hpp"

using namespace espalier;

namespace gradual_test {

using test::content;
using B = Reference;
using Net = test::ToyNet<B>;

namespace {

TrainOptions<Sgd, Constant> options() {
  return {.epochs = 4, .batch = 8, .schedule = {.value = 0.02}, .normalise = test::toy_channels(), .seed = 4};
}
const data::ImageSet& images() {
  static const data::ImageSet set = test::toy_images(64, 1);
  return set;
}
GradualPruning<GlobalMagnitude, CubicSparsity> policy() {
  return {.decide = {.ignore = {"head"}, .keep_at_least = 1}, .sparsity = {.from = 0.2, .to = 0.8, .begin = iterations(4), .end = iterations(24), .frequency = iterations(5)}};
}

// The density after every step, as the network itself shows it.
struct Zeros {
  std::vector<Index> zeros;
  void gradients(B& b, const Net& net) {
    const HostTensor w = to_host(b, net.conv.weight);
    zeros.push_back(std::count(w.values.begin(), w.values.end(), 0.0f));
  }
};

}  // namespace

TEST_CASE("weights go at begin, begin + every, ... end, as many as the cubic says, and never come back") {
  B b;
  Net net(b, Rng(3));
  Zeros seen;
  const auto [mask, result] = prune_gradually(b, net, images(), options(), policy(), seen);
  REQUIRE(seen.zeros.size() == 32);
  CHECK(result.step.iteration == 32);
  // 54 weights. AGP (Zhu & Gupta 2017): s(t) = 0.8 - 0.6 (1 - (t - 4) / 20)^3 at t = 4, 9, 14, 19, 24.
  const std::map<Index, Index> dead_from{{0, 0}, {4, 11}, {9, 30}, {14, 39}, {19, 43}, {24, 43}};
  for (Index step = 0; step < 32; ++step) {
    const Index dead = std::prev(dead_from.upper_bound(step))->second;
    CAPTURE(step);
    CHECK(seen.zeros[static_cast<std::size_t>(step)] == dead);
  }
  CHECK(mask.find("conv.weight")->survivors() == 11);
  const HostTensor w = to_host(b, net.conv.weight);
  for (Index i = 0; i < 54; ++i) CHECK((w.values[static_cast<std::size_t>(i)] != 0) == mask.find("conv.weight")->alive(i));
}

TEST_CASE("gradual pruning resumed from a checkpoint ends with the bytes of an uninterrupted run") {
  B b;
  Net whole(b, Rng(3));
  const auto [mask, result] = prune_gradually(b, whole, images(), options(), policy());
  for (const Index at : {Index{3}, Index{9}, Index{17}}) {
    const test::ScratchFolder folder;
    const Checkpointer checkpoints{.folder = folder.path()};
    Net first(b, Rng(3)), second(b, Rng(5));
    Index steps = 0;
    const auto [half, stopped] = prune_gradually(b, first, images(), options(), policy(), NoObserver{}, checkpoints, [&] { return steps++ == at; });
    CHECK(stopped.stopped);
    const auto [other, resumed] = prune_gradually(b, second, images(), options(), policy(), NoObserver{}, checkpoints);
    CHECK(other == mask);
    CHECK(content(b, second) == content(b, whole));
  }
}

TEST_CASE("a schedule that ends with the training ends at its final sparsity: the last decision follows the last update") {
  B b;
  auto to_the_end = policy();
  to_the_end.sparsity.end = epochs(4);  // iteration 32, the last
  to_the_end.sparsity.frequency = iterations(20);
  Net net(b, Rng(3));
  Zeros seen;
  const auto [mask, result] = prune_gradually(b, net, images(), options(), to_the_end, seen);
  CHECK(result.step.iteration == 32);
  CHECK(result.history.size() == 4);
  CHECK(seen.zeros.back() == 42);  // since iteration 24
  CHECK(mask.find("conv.weight")->survivors() == 11);  // 54 - 43
  const HostTensor w = to_host(b, net.conv.weight);
  for (Index i = 0; i < 54; ++i) CHECK((w.values[static_cast<std::size_t>(i)] != 0) == mask.find("conv.weight")->alive(i));

  // The checkpoint at the end holds it too, and to resume a run that is over changes nothing.
  const test::ScratchFolder folder;
  const Checkpointer checkpoints{.folder = folder.path()};
  Net kept(b, Rng(3)), again(b, Rng(5));
  prune_gradually(b, kept, images(), options(), to_the_end, NoObserver{}, checkpoints);
  CHECK(content(b, kept) == content(b, net));
  Trainer reader(b, again, images(), options());
  checkpoints.resume(reader);
  CHECK(reader.optimizer().mask() == mask);
  CHECK(content(b, again) == content(b, net));
  Net resumed(b, Rng(6));
  CHECK(prune_gradually(b, resumed, images(), options(), to_the_end, NoObserver{}, checkpoints).first == mask);
  CHECK(content(b, resumed) == content(b, net));
}

TEST_CASE("a schedule that ends after the training, or before it begins, is refused before anything is computed") {
  B b;
  Net net(b, Rng(3));
  const auto before = content(b, net);
  Zeros seen;
  const auto refused = [&](Duration begin, Duration end, const char* why) {
    auto p = policy();
    p.sparsity.begin = begin;
    p.sparsity.end = end;
    CHECK_THROWS_WITH_AS(prune_gradually(b, net, images(), options(), p, seen), doctest::Contains(why), PolicyError);
  };
  refused(iterations(4), iterations(33), "found sparsity.end = iterations(33), which is iteration 33, needed at most the 32 iterations of the training");
  refused(iterations(4), epochs(5), "found sparsity.end = epochs(5), which is iteration 40");
  refused(iterations(17), epochs(2), "found sparsity.end = epochs(2), which is iteration 16, needed at least sparsity.begin = iterations(17)");
  refused(epochs(2), iterations(15), "needed at least sparsity.begin = epochs(2), which is iteration 16");
  CHECK(seen.zeros.empty());
  CHECK(content(b, net) == before);
}

TEST_CASE("a layer's own share is its from the first decision on; the schedule moves the others") {
  B b;
  Net net(b, Rng(3));
  auto own = policy();
  own.decide.ignore = {};
  own.decide.layers = {{"conv", 0.5}};
  Zeros seen;
  const auto [mask, result] = prune_gradually(b, net, images(), options(), own, seen);
  CHECK(seen.zeros[4] == 27);
  CHECK(seen.zeros[31] == 27);
  CHECK(mask.find("conv.weight")->survivors() == 27);
  CHECK(mask.find("head.weight")->survivors() == 32);  // 162 - 130, by the schedule: 0.8
}

TEST_CASE("a criterion that reads collected scores gets them from the observer: movement decides while training") {
  B b;
  Net net(b, Rng(3)), by_hand(b, Rng(3));
  const GradualPruning<GlobalMovement, LinearSparsity> moving{.decide = {.ignore = {"head"}, .keep_at_least = 1},
                                                              .sparsity = {.from = 0.5, .to = 0.5, .begin = iterations(9), .end = iterations(9)}};
  ScoreCollector<Movement, B> observer, alone;
  const auto [mask, result] = prune_gradually(b, net, images(), options(), moving, observer);
  CHECK(mask.find("conv.weight")->survivors() == 27);
  Trainer trainer(b, by_hand, images(), options());
  trainer.run_to(9, alone);
  CHECK(GlobalMovement{.sparsity = 0.5, .ignore = {"head"}}.next(b, by_hand, Mask::ones(by_hand), alone.scores(b)) == mask);
  CHECK_THROWS_AS(prune_gradually(b, by_hand, images(), options(), moving), PolicyError);  // nothing was collected
}

TEST_CASE("an amount beside the schedule, and times out of order, are refused") {
  B b;
  Net net(b, Rng(3));
  auto both = policy();
  both.decide.remove = 0.2;
  CHECK_THROWS_AS(prune_gradually(b, net, images(), options(), both), PolicyError);
  auto backwards = policy();
  backwards.sparsity.frequency = iterations(0);
  CHECK_THROWS_AS(prune_gradually(b, net, images(), options(), backwards), PolicyError);
}

}  // namespace gradual_test
