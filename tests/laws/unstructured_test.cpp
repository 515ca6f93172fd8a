// SPDX-License-Identifier: Apache-2.0
// Laws of unstructured pruning over random networks, masks and policies: exact counts, nested masks, the lowest go,
// order without place, the same bits on every backend and any number of threads.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/prune/mask_controls.hpp>
#include <espalier/prune/score_collector.hpp>
#include <espalier/prune/unstructured.hpp>

#include "../archetypes/opaque_backend.hpp"
#include "../prune/bag.hpp"
#include "random_net.hpp"

using namespace espalier;
using namespace espalier::test;

namespace unstructured_test {

using R = Reference;

namespace {

const Shape image{1, RandomNet<R>::side, RandomNet<R>::side, RandomNet<R>::in};

RandomNet<R> seasoned(R& r, std::uint64_t seed) {
  RandomNet<R> net(r, seed);
  season(r, net, image, seed);
  return net;
}

// Written anew, by sorting: what must live of one pool after exactly k have gone, when no floor binds.
std::map<std::string, Bits> by_sorting(R& r, const RandomNet<R>& net, const Mask& before, const std::vector<std::string>& paths, Index k) {
  struct Entry { float magnitude; std::size_t tensor; std::size_t index; };
  std::vector<Entry> entries;
  std::map<std::string, Bits> left;
  for (std::size_t t = 0; t < paths.size(); ++t)
    for_each_parameter(net, [&](const std::string& path, const auto& p) {
      if (path != paths[t]) return;
      const auto values = to_host(r, p).values;
      left[path] = before.find(path)->unpacked();
      for (std::size_t i = 0; i < values.size(); ++i)
        if (left[path][i] != 0) entries.push_back({std::abs(values[i]), t, i});
    });
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.magnitude != b.magnitude ? a.magnitude < b.magnitude : std::pair(b.tensor, b.index) < std::pair(a.tensor, a.index);
  });
  for (Index i = 0; i < k; ++i) left[paths[entries[static_cast<std::size_t>(i)].tensor]][entries[static_cast<std::size_t>(i)].index] = 0;
  return left;
}

// The same weights on another backend, in float.
template <Backend B>
Bag<B> moved(R& r, const RandomNet<R>& net, B& b) {
  Bag<B> bag;
  for_each_parameter(net, [&](const std::string& path, const auto& p) {
    if (p.value.shape().rank() < 2) return;
    const HostTensor host = to_host(r, p);
    bag.add(b, path, host.shape, host.values, p.layout).gradient(b, to_host(r, p.gradient, p.layout).values);
  });
  return bag;
}

}  // namespace

TEST_CASE("globally, exactly round-half-even(remove alive) go in each round, those that a sort would take, within the mask before") {
  R r;
  int rounds = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    CAPTURE(seed);
    const auto net = seasoned(r, seed);
    Rng rng = Rng(seed).split("policy");
    Mask mask = Mask::ones(net);
    std::vector<std::string> paths;
    for (const MaskPart& part : mask.parts()) paths.push_back(part.path);
    for (int round = 0; round < 3; ++round) {
      const Index thousandths = 1 + static_cast<Index>(rng.below(400));
      const Index product = mask.survivors() * thousandths, whole = product / 1000, rest = product % 1000;
      const Index k = whole + (rest > 500 || (rest == 500 && whole % 2 == 1) ? 1 : 0);
      const GlobalMagnitude policy{.remove = static_cast<double>(thousandths) / 1000};
      Mask next;
      try {
        next = policy.next(r, net, mask);
      } catch (const PolicyError&) {  // a small layer would be empty
        break;
      }
      ++rounds;
      CHECK(next.survivors() == mask.survivors() - k);
      CHECK(next.within(mask));
      const auto expected = by_sorting(r, net, mask, paths, k);
      for (const auto& [path, alive] : expected) CHECK(bits(next, path) == alive);
      mask = next;
    }
  }
  CHECK(rounds > 120);
}

TEST_CASE("by layer, each layer's count is exact; with a floor, a global count is exact too and no layer falls below it") {
  R r;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    CAPTURE(seed);
    const auto net = seasoned(r, seed);
    const Mask ones = Mask::ones(net);
    const Mask halves = LayerMagnitude{.remove = 0.5}.first(r, net);
    for (std::size_t i = 0; i < ones.parts().size(); ++i)
      CHECK(halves.parts()[i].survivors() == ones.parts()[i].weights() - espalier::detail::nearest_even(ones.parts()[i].weights(), 0.5));
    const Mask floored = GlobalMagnitude{.sparsity = 0.85, .keep_fraction = 0.1}.next(r, net, halves);
    CHECK(floored.dead() == espalier::detail::nearest_even(ones.weights(), 0.85));
    CHECK(floored.within(halves));
    for (const MaskPart& part : floored.parts()) CHECK(part.survivors() >= (part.weights() + 9) / 10);
  }
}

// The floors' outcome is known by another road: give each layer its floor of best weights first, then rank the rest.
TEST_CASE("with floors, what stays is each layer's floor of its best, and the best of all the rest") {
  R r;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    CAPTURE(seed);
    const auto net = seasoned(r, seed);
    const Mask ones = Mask::ones(net);
    const Mask found = GlobalMagnitude{.sparsity = 0.8, .keep_fraction = 0.15}.first(r, net);
    std::vector<std::tuple<float, std::size_t, std::size_t>> rest;
    std::vector<Bits> expected;
    Index stay = ones.weights() - espalier::detail::nearest_even(ones.weights(), 0.8);
    for (std::size_t t = 0; t < ones.parts().size(); ++t)
      for_each_parameter(net, [&](const std::string& path, const auto& p) {
        if (path != ones.parts()[t].path) return;
        const auto values = to_host(r, p).values;
        std::vector<std::size_t> order(values.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return std::abs(values[a]) > std::abs(values[b]); });
        expected.emplace_back(values.size());
        const auto floor = (3 * values.size() + 19) / 20;
        for (std::size_t i = 0; i < order.size(); ++i) {
          if (i < floor) expected.back()[order[i]] = 1, --stay;
          else rest.push_back({-std::abs(values[order[i]]), t, order[i]});
        }
      });
    REQUIRE(stay >= 0);
    std::sort(rest.begin(), rest.end());
    for (Index i = 0; i < stay; ++i) expected[std::get<1>(rest[static_cast<std::size_t>(i)])][std::get<2>(rest[static_cast<std::size_t>(i)])] = 1;
    for (std::size_t t = 0; t < expected.size(); ++t) CHECK(found.parts()[t].unpacked() == expected[t]);
  }
}

TEST_CASE("criteria do not know where a weight is: permuted weights get permuted scores") {
  Rng rng(11);
  const Shape shape{6, 5};
  std::vector<float> w(30), g(30), s(30);
  for (std::size_t i = 0; i < 30; ++i) w[i] = rng.normal(), g[i] = rng.normal(), s[i] = rng.normal();
  std::vector<std::size_t> order(30);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = 29; i > 0; --i) std::swap(order[i], order[rng.below(static_cast<std::uint32_t>(i + 1))]);
  const auto permuted = [&](const std::vector<float>& values) {
    std::vector<float> out;
    for (const std::size_t from : order) out.push_back(values[from]);
    return out;
  };
  const auto w2 = permuted(w), g2 = permuted(g), s2 = permuted(s);
  const auto check = [&](const auto& criterion, bool collected) {
    std::vector<float> scores(30), scores2(30);
    const std::span<const float> none{};
    criterion.score({"w", shape, w, g, collected ? s : none}, scores);
    criterion.score({"w", shape, w2, g2, collected ? s2 : none}, scores2);
    CHECK(permuted(scores) == scores2);
  };
  for (const bool collected : {false, true}) {
    check(Magnitude{}, collected);
    check(Taylor{}, collected);
    check(Snip{}, collected);
  }
  check(Movement{}, true);
  check(Given{}, true);
}

TEST_CASE("the mask is the same on every backend and on any number of threads, whatever the granularity") {
  R r;
  EigenCpu one({.threads = 1}), two({.threads = 2}), three({.threads = 3}), four({.threads = 4});
  OpaqueBackend<float> opaque;
  BasicReference<double> wide;
  Index layers_by_two = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    CAPTURE(seed);
    const auto net = seasoned(r, seed);
    const auto agree_on = [&](const Mask& expected, const auto& on) {
      CHECK(on(r) == expected);
      CHECK(on(one) == expected);
      CHECK(on(two) == expected);
      CHECK(on(three) == expected);
      CHECK(on(four) == expected);
      CHECK(on(opaque) == expected);
      CHECK(on(wide) == expected);
    };
    const auto agree = [&](const auto& policy, const Scores& scores = {}) {
      agree_on(policy.first(r, net, scores), [&](auto& b) { return policy.first(b, moved(r, net, b), scores); });
    };
    // The scores are gathered on each backend too, over one step: a sum over more would round differently in double.
    const auto agree_gathering = [&]<class Rule>(const Rule&, const auto& policy) {
      const auto gathered = [&](auto& b, const auto& weights) {
        ScoreCollector<Rule, std::remove_cvref_t<decltype(b)>> collector;
        collector.gradients(b, weights);
        return policy.first(b, weights, collector.scores(b));
      };
      const Mask expected = gathered(r, net);
      agree_on(expected, [&](auto& b) { return gathered(b, moved(r, net, b)); });
      CHECK(expected.dead() > 0);
    };
    agree(GlobalMagnitude{.remove = 0.6, .keep_at_least = 1});
    agree(LayerMagnitude{.remove = 0.6});
    agree(GlobalTaylor{.remove = 0.4, .keep_at_least = 1});
    agree(GlobalRandom{.sparsity = 0.5, .criterion = {.seed = seed}, .keep_at_least = 1});
    agree(GlobalMagnitude{.remove = 0.5, .granularity = Block{.rows = 2, .columns = 3}, .keep_at_least = 1});
    agree(LayerMagnitude{.remove = 0.5, .granularity = Block{.rows = 4, .columns = 1, .pooling = BlockPooling::max}, .keep_at_least = 1});
    agree(GlobalSnip{.remove = 0.4, .keep_at_least = 1});  // of the gradients in the network
    agree_gathering(Snip{}, GlobalSnip{.remove = 0.4, .keep_at_least = 1});
    agree_gathering(Movement{}, GlobalMovement{.remove = 0.4, .keep_at_least = 1});
    agree_gathering(Movement{}, LayerMovement{.remove = 0.3, .granularity = Block{.rows = 1, .columns = 2}, .keep_at_least = 1});

    Scores scores{.rule = "Given"};
    std::vector<std::string> by_three, by_two;  // layers that the runs do not divide
    Index threes = 0, twos = 0;
    const Mask ones = Mask::ones(net);
    for (const MaskPart& part : ones.parts()) {
      Rng rng = Rng(seed).split("given").split(part.path);
      HostTensor given{part.shape, std::vector<float>(static_cast<std::size_t>(part.weights()))};
      for (float& v : given.values) v = static_cast<float>(rng.below(50)) - 25;  // with ties
      scores.parts.push_back({part.path, std::move(given)});
      if (part.shape[1] % 3 == 0) ++threes;
      else by_three.push_back(part.path);
      if (part.shape[1] % 2 == 0) ++twos;
      else by_two.push_back(part.path);
    }
    agree(GlobalGiven{.remove = 0.4, .keep_at_least = 1}, scores);
    agree(LayerGiven{.granularity = KeepOf{.keep = 2, .of = 3}, .ignore = by_three}, scores);
    agree(GlobalMagnitude{.granularity = KeepOf{.keep = 1, .of = 3}, .ignore = by_three});
    agree(LayerTaylor{.granularity = KeepOf{.keep = 1, .of = 2}, .ignore = by_two});
    CHECK(threes > 0);  // the first layer reads three channels
    layers_by_two += twos;
  }
  CHECK(layers_by_two > 0);
}

// facebookresearch/open_lth pruning tests: two rounds keep (1 - p)^2, masks are nested, ignored layers stay full.
TEST_CASE("open_lth: two rounds of p keep (1 - p)^2, nested, with ignored layers full") {
  EigenCpu b({.threads = 2});
  std::vector<float> values(40'000);
  Rng rng(5);
  for (float& v : values) v = rng.normal();
  Bag<EigenCpu> net;
  net.add(b, "conv.weight", {200, 200}, values, Layout::linear).add(b, "fc.weight", {200, 200}, values, Layout::linear);
  for (const double p : {0.2, 0.5}) {
    const GlobalMagnitude policy{.remove = p, .ignore = {"fc"}};
    const Mask first = policy.first(b, net), second = policy.next(b, net, first);
    CHECK(std::abs(static_cast<double>(second.find("conv.weight")->survivors()) / 40'000 - (1 - p) * (1 - p)) < 1e-4);
    CHECK(second.within(first));
    CHECK(second.find("fc.weight")->survivors() == 40'000);
  }
}

}  // namespace unstructured_test
