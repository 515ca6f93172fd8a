// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/prune/score_collector.hpp>
#include <espalier/prune/unstructured.hpp>
#include <espalier/train/loop.hpp>

#include "../archetypes/opaque_backend.hpp"
#include "../train/toys.hpp"
#include "bag.hpp"

using namespace espalier;
using namespace espalier::test;

namespace score_collector_test {

namespace {

using Floats = std::vector<float>;
constexpr double rate = 0.05;

auto options() { return TrainOptions<>{.epochs = 2, .batch = 10, .optimizer = {.momentum = 0}, .schedule = {.value = rate}, .normalise = toy_channels(), .seed = 4}; }

// The weights before each update, beside a collector.
template <class Rule, Backend B>
struct Watch {
  ScoreCollector<Rule, B> collector;
  std::vector<Floats> before{};
  template <class M> void gradients(B& b, const M& net) {
    collector.gradients(b, net);
    before.push_back(to_host(b, net.head.weight).values);
  }
};

// What five steps on made-up gradients gather, step by step.
template <class Rule, Backend B>
Floats gathered(B& b) {
  Rng rng(9);
  const auto draw = [&] {
    Floats values(12);
    for (float& v : values) v = rng.normal();
    return values;
  };
  ScoreCollector<Rule, B> collector;
  for (int step = 0; step < 5; ++step) {
    Bag<B> net;
    net.add(b, "w", {3, 4}, draw(), Layout::linear).gradient(b, draw());
    collector.gradients(b, net);
  }
  CHECK(collector.steps() == 5);
  return collector.scores(b).parts[0].second.values;
}

}  // namespace

// Plain descent moves w by -rate g, so that -w g is w times the move, over the rate: that needs no gradient.
TEST_CASE("movement is the sum of the weight times its move over a training, divided by the learning rate") {
  Reference b;
  ToyNet<Reference> net(b, Rng(1));
  const auto images = toy_images(40, 2);
  Watch<Movement, Reference> watch;
  train(b, net, images, options(), watch);
  watch.before.push_back(to_host(b, net.head.weight).values);
  REQUIRE(watch.before.size() == 9);
  const Scores scores = watch.collector.scores(b);
  CHECK(scores.rule == "Movement");
  const HostTensor* found = scores.find("head.weight");
  REQUIRE(found != nullptr);
  CHECK(found->shape == net.head.weight.outside_shape());
  bool rises = false, falls = false;
  for (std::size_t i = 0; i < found->values.size(); ++i) {
    double sum = 0;
    for (std::size_t t = 0; t < 8; ++t) {
      const double now = static_cast<double>(watch.before[t][i]), then = static_cast<double>(watch.before[t + 1][i]);
      sum += now * (then - now) / rate;
    }
    CHECK(static_cast<double>(found->values[i]) == doctest::Approx(sum).epsilon(1e-3).scale(0.01));
    (sum > 0 ? rises : falls) = true;
  }
  CHECK((rises && falls));
}

TEST_CASE("a collector watches and changes nothing, and its policy takes what it gathered") {
  Reference b;
  const auto images = toy_images(40, 2);
  ToyNet<Reference> watched(b, Rng(1)), alone(b, Rng(1));
  ScoreCollector<Taylor, Reference> collector;
  train(b, watched, images, options(), collector);
  train(b, alone, images, options());
  CHECK(content(b, watched) == content(b, alone));
  CHECK(collector.steps() == 8);
  const Scores scores = collector.scores(b);
  REQUIRE(scores.parts.size() == 2);  // conv.weight and head.weight; no bias, no scale
  const Mask mask = GlobalTaylor{.remove = 0.5}.first(b, watched, scores);
  CHECK(mask.survivors() == mask.weights() / 2);
  CHECK_THROWS_AS((GlobalMovement{.remove = 0.5}.first(b, watched, scores)), PolicyError);
}

TEST_CASE("Taylor sums magnitudes of w g, Movement its negative, Snip the gradients alone") {
  Reference b;
  const auto by_hand = [&](auto add) {
    Rng rng(9);
    Floats sums(12), w(12), g(12);
    for (int step = 0; step < 5; ++step) {
      for (float& v : w) v = rng.normal();
      for (float& v : g) v = rng.normal();
      for (std::size_t i = 0; i < 12; ++i) sums[i] += add(w[i], g[i]);
    }
    return sums;
  };
  const auto same = [](const Floats& a, const Floats& c) {
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == doctest::Approx(c[i]).epsilon(1e-5).scale(0.1));
  };
  same(gathered<Taylor>(b), by_hand([](float w, float g) { return std::abs(w * g); }));
  same(gathered<Movement>(b), by_hand([](float w, float g) { return -w * g; }));
  same(gathered<Snip>(b), by_hand([](float, float g) { return g; }));
}

TEST_CASE("every backend gathers what the reference does, on any number of threads") {
  Reference b;
  OpaqueBackend<float> opaque;
  const auto same = [](const Floats& a, const Floats& c) {
    for (std::size_t i = 0; i < a.size(); ++i) CHECK(a[i] == doctest::Approx(c[i]).epsilon(1e-5).scale(0.1));
  };
  const Floats expected = gathered<Movement>(b);
  same(gathered<Movement>(opaque), expected);
  EigenCpu one({.threads = 1}), three({.threads = 3});
  same(gathered<Movement>(one), expected);
  CHECK(gathered<Movement>(one) == gathered<Movement>(three));
}

TEST_CASE("a call without gradients, and a network that has changed its shape, are refused") {
  Reference b;
  ScoreCollector<Movement, Reference> collector;
  CHECK_THROWS_WITH_AS(collector.gradients(b, one({1, 2}, {1, 2})), doctest::Contains("ScoreCollector<Movement>: found no gradient"), PolicyError);
  Bag<Reference> net, narrow;
  net.add(b, "w", {1, 2}, {1, 2}).gradient(b, {1, 1});
  collector.gradients(b, net);
  CHECK_THROWS_AS(collector.gradients(b, narrow.add(b, "w", {1, 1}, {1}).gradient(b, {1})), StaleState);
  CHECK_THROWS_AS(collector.gradients(b, net.add(b, "v", {1, 1}, {1}).gradient(b, {1})), StaleState);
}

TEST_CASE("a collector goes on from the scores of another, bit for bit, in any layout and on every backend") {
  const auto check = [](auto&& b) {
    using B = std::remove_cvref_t<decltype(b)>;
    const auto images = toy_images(40, 2);
    ToyNet<B> net(b, Rng(1));
    ScoreCollector<Movement, B> whole, first, second;
    Trainer trainer(b, net, images, options());
    struct Both {
      ScoreCollector<Movement, B>&one, &other;
      void gradients(B& device, const ToyNet<B>& seen) { one.gradients(device, seen), other.gradients(device, seen); }
    };
    trainer.run_to(3, Both{whole, first});
    second.gradients(b, [&] {  // what it had gathered is forgotten
      auto other = ToyNet<B>(b, Rng(2));
      for_each_unnamed_parameter(other, [&](Parameter<B>& p) { p.gradient = p.value, p.has_gradient = true; });
      return other;
    }());
    second.restore(b, net, first.scores(b));
    CHECK(second.scores(b) == first.scores(b));
    CHECK(second.steps() == 3);
    trainer.run_to(8, Both{whole, second});
    CHECK(second.scores(b) == whole.scores(b));
    CHECK(second.scores(b) != first.scores(b));
    second.restore(b, net, ScoreCollector<Movement, B>().scores(b));  // and from nothing: it is new
    CHECK(second.steps() == 0);
    CHECK(second.scores(b).empty());
  };
  check(Reference());
  check(OpaqueBackend<float>());
  check(EigenCpu({.threads = 2}));
}

TEST_CASE("scores of another rule or another network are refused, and nothing is changed") {
  Reference b;
  ScoreCollector<Movement, Reference> collector;
  Bag<Reference> net, narrow, fewer, renamed, more;
  net.add(b, "v", {2, 2}, {1, 2, 3, 4}).gradient(b, {1, 1, 1, 1}).add(b, "w", {1, 2}, {1, 2}).gradient(b, {1, 1});
  collector.gradients(b, net);
  const Scores before = collector.scores(b);
  narrow.add(b, "v", {2, 1}, {1, 2}).add(b, "w", {1, 2}, {1, 2});
  fewer.add(b, "v", {2, 2}, {1, 2, 3, 4});
  renamed.add(b, "v", {2, 2}, {1, 2, 3, 4}).add(b, "u", {1, 2}, {1, 2});
  more.add(b, "v", {2, 2}, {1, 2, 3, 4}).add(b, "w", {1, 2}, {1, 2}).add(b, "x", {1, 1}, {1});
  const auto refused = [&](const auto& other, const char* why) {
    CHECK_THROWS_WITH_AS(collector.restore(b, other, before), doctest::Contains(why), StaleState);
    CHECK(collector.scores(b) == before);
  };
  refused(narrow, "found scores of 'v' in shape [2, 2], needed those of 'v' in shape [2, 1]");
  refused(fewer, "found scores of 'w', needed none of it");
  refused(renamed, "found scores of 'w' in shape [1, 2], needed those of 'u'");
  refused(more, "found no more scores, needed those of 'x'");
  ScoreCollector<Taylor, Reference> taylor;
  CHECK_THROWS_WITH_AS(taylor.restore(b, net, before), doctest::Contains("ScoreCollector<Taylor>: found scores of the rule 'Movement', needed its own"), StaleState);
}

}  // namespace score_collector_test
