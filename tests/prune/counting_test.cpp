// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>

#include <espalier/models/mlp.hpp>
#include <espalier/prune/unstructured.hpp>

#include "bag.hpp"

using namespace espalier;
using namespace espalier::test;

namespace counting_test {

namespace {

const std::vector<PoolSize> lenet{{235'200, 0.2}, {30'000, 0.2}, {1'000, 0.1}};

// What is left of one tensor of magnitudes.
template <class P>
Bits left_of(const std::vector<float>& values, const P& policy) {
  Reference b;
  return bits(policy.first(b, one({1, static_cast<Index>(values.size())}, values)));
}
Index gone_of_ten(const GlobalMagnitude& policy) {
  const Bits left = left_of({3, 1, 4, 15, 9, 2, 6, 5, 35, 8}, policy);
  return std::count(left.begin(), left.end(), 0);
}

}  // namespace

// Frankle & Carbin 2019, figure 3: LeNet-300-100 keeps 51.3, 21.1, 13.5, 7.0, 3.6, 1.9 and 1.2 % of its weights after 3, 7, 9, 12, 15,
// 18 and 20 rounds of 20 % a layer and 10 % of the output layer. The integers are plain arithmetic.
TEST_CASE("the ladder of LeNet-300-100 is 266200, 213060, 170538, ... 3179") {
  const std::vector<Index> ladder = survivors_by_round(lenet, 20);
  REQUIRE(ladder.size() == 21);
  const std::vector<std::pair<std::size_t, Index>> expected{{0, 266'200}, {1, 213'060}, {2, 170'538}, {3, 136'511}, {4, 109'282}, {5, 87'490}, {7, 56'094}, {9, 35'981},
                                                            {10, 28'823}, {12, 18'506}, {15, 9'537}, {16, 7'650}, {18, 4'928}, {20, 3'179}};
  for (const auto& [round, survivors] : expected) CHECK(ladder[round] == survivors);
  const auto percent = [&](std::size_t round) { return 100 * static_cast<double>(ladder[round]) / 266'200; };
  const std::vector<std::pair<std::size_t, double>> labels{{3, 51.3}, {7, 21.1}, {9, 13.5}, {12, 7.0}, {15, 3.6}, {18, 1.9}, {20, 1.2}};
  for (const auto& [round, label] : labels) CHECK(std::abs(percent(round) - label) < 0.06);
}

// google-research/lottery-ticket-hypothesis, foundations/pruning.py: one weight more a layer and round.
TEST_CASE("Google's code ends rounds 3, 7 and 15 with 136503, 56081 and 9518") {
  const std::vector<Index> ladder = survivors_by_round(lenet, 15, Counting::lottery_reference);
  CHECK(ladder[3] == 136'503);
  CHECK(ladder[7] == 56'081);
  CHECK(ladder[15] == 9'518);
}

TEST_CASE("a policy's dry run on a mask is the ladder of its pools") {
  Reference b;
  const models::Mlp<Reference> net(b, models::lenet_300_100, Rng(1));
  const Mask mask = Mask::ones(net);
  CHECK(survivors_by_round(mask, LayerMagnitude{.remove = 0.2, .layers = {{"fc3", 0.1}}}, 20) == survivors_by_round(lenet, 20));
  CHECK(survivors_by_round(mask, GlobalMagnitude{.remove = 0.2, .ignore = {"fc3"}}, 4) == survivors_by_round({{265'200, 0.2}}, 4, Counting::exact, 1'000));
  CHECK(survivors_by_round(mask, GlobalMagnitude{.sparsity = 0.9}, 2) == std::vector<Index>{266'200, 26'620, 26'620});
}

// The same request, counted by six codes: pytorch torch/nn/utils/prune.py; Eric-mingjie/rethinking-network-pruning, weight-level;
// facebookresearch/open_lth pruning/sparse_global.py; tensorflow/model-optimization pruning_impl.py.
TEST_CASE("half of ten distinct weights is 5, or 6 in the codes that keep what is above a sorted entry") {
  CHECK(gone_of_ten({.remove = 0.5}) == 5);
  CHECK(gone_of_ten({.remove = 0.5, .counting = Counting::torch_prune}) == 5);
  CHECK(gone_of_ten({.sparsity = 0.5, .counting = Counting::rethinking}) == 6);
  CHECK(gone_of_ten({.remove = 0.5, .counting = Counting::rethinking_iterative}) == 6);
  CHECK(gone_of_ten({.remove = 0.5, .counting = Counting::open_lth}) == 6);
  CHECK(gone_of_ten({.remove = 0.5, .counting = Counting::lottery_reference}) == 6);
  CHECK(gone_of_ten({.sparsity = 0.5, .counting = Counting::tfmot}) == 5);
}

TEST_CASE("of .1 .8 .7 .2, half in the founding notebook's rule leaves only .8; exactly, .8 and .7") {
  const std::vector<float> w{0.1F, 0.8F, 0.7F, 0.2F};
  CHECK(left_of(w, GlobalMagnitude{.sparsity = 0.5, .counting = Counting::rethinking}) == Bits{0, 1, 0, 0});
  CHECK(left_of(w, GlobalMagnitude{.remove = 0.5}) == Bits{0, 1, 1, 0});
}

TEST_CASE("of ties .5 .5 .5 .5 .9 .1, half leaves only .9 where ties go, all but .1 where they stay, and three exactly") {
  const std::vector<float> w{0.5F, -0.5F, 0.5F, 0.5F, 0.9F, 0.1F};
  CHECK(left_of(w, GlobalMagnitude{.sparsity = 0.5, .counting = Counting::rethinking}) == Bits{0, 0, 0, 0, 1, 0});
  CHECK(left_of(w, GlobalMagnitude{.remove = 0.5, .counting = Counting::lottery_reference}) == Bits{0, 0, 0, 0, 1, 0});
  CHECK(left_of(w, GlobalMagnitude{.sparsity = 0.5, .counting = Counting::tfmot}) == Bits{1, 1, 1, 1, 1, 0});
  CHECK(left_of(w, GlobalMagnitude{.remove = 0.5}) == Bits{1, 1, 0, 0, 1, 0});
}

// Python: round(0.575 * 100) is 57, because the product is 57.49999999999999.
TEST_CASE("torch's half is where doubles fall, ours where the share says") {
  std::vector<float> values(100);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i + 1);
  const auto gone = [&](const GlobalMagnitude& policy) {
    const Bits left = left_of(values, policy);
    return std::count(left.begin(), left.end(), 0);
  };
  CHECK(gone({.remove = 0.575, .counting = Counting::torch_prune}) == 57);
  CHECK(gone({.remove = 0.575}) == 58);
}

TEST_CASE("the papers' codes remove one weight at a share of 0, and soon before 1 all of them, or cut behind the last; 1 is refused") {
  CHECK(gone_of_ten({.remove = 0}) == 0);
  CHECK(gone_of_ten({.sparsity = 0, .counting = Counting::rethinking}) == 1);
  CHECK(gone_of_ten({.remove = 0, .counting = Counting::open_lth}) == 1);
  CHECK(gone_of_ten({.remove = 0, .counting = Counting::lottery_reference}) == 1);
  CHECK(gone_of_ten({.sparsity = 0, .counting = Counting::tfmot}) == 0);
  CHECK(gone_of_ten({.sparsity = 0.999, .counting = Counting::tfmot}) == 9);  // it keeps one
  CHECK_THROWS_WITH_AS(gone_of_ten({.remove = 0.96, .counting = Counting::lottery_reference}), doctest::Contains("cuts at weight 11 of 10 alive"), PolicyError);
  CHECK_THROWS_WITH_AS(gone_of_ten({.remove = 0.96, .counting = Counting::open_lth}), doctest::Contains("cuts at weight 11 of 10 alive"), PolicyError);
  CHECK_THROWS_WITH_AS(gone_of_ten({.sparsity = 0.96, .counting = Counting::rethinking}), doctest::Contains("the layer would be empty"), PolicyError);
  CHECK_THROWS_WITH_AS(gone_of_ten({.remove = 0.96, .counting = Counting::rethinking_iterative}), doctest::Contains("the layer would be empty"), PolicyError);
  for (const Counting counting : {Counting::lottery_reference, Counting::open_lth, Counting::rethinking_iterative, Counting::torch_prune})
    CHECK_THROWS_WITH_AS(gone_of_ten({.remove = 1, .counting = counting}), doctest::Contains("found remove = 1, needed less than 1"), PolicyError);
}

TEST_CASE("rethinking counts the dead as its smallest weights, its iterative form only those alive") {
  Reference b;
  const auto net = one({1, 10}, {3, 1, 4, 15, 9, 2, 6, 5, 35, 8});
  const Mask half = GlobalMagnitude{.remove = 0.5}.first(b, net);
  CHECK(GlobalMagnitude{.sparsity = 0.7, .counting = Counting::rethinking}.next(b, net, half).survivors() == 2);            // int(7) + 1 dead in all
  CHECK(GlobalMagnitude{.remove = 0.5, .counting = Counting::rethinking_iterative}.next(b, net, half).survivors() == 2);  // int(2.5) + 1 of five go
}

// open_lth takes its share of every tensor in the mask, and then finds the weights in those that are not ignored.
TEST_CASE("open_lth's count includes the layers that it leaves alone") {
  Reference b;
  Bag<Reference> net;
  std::vector<float> values(100);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i + 1);
  net.add(b, "fc.weight", {10, 10}, values).add(b, "out.weight", {5, 10}, std::vector<float>(50, 1.0F));
  const GlobalMagnitude policy{.remove = 0.2, .ignore = {"out"}, .counting = Counting::open_lth};
  const Mask first = policy.first(b, net);
  CHECK(first.find("fc.weight")->survivors() == 100 - 31);  // ceil(0.2 (150)) and one more
  CHECK(first.find("out.weight")->survivors() == 50);
  CHECK(policy.next(b, net, first).find("fc.weight")->survivors() == 69 - 25);  // ceil(0.2 (119)) = 24
  CHECK(survivors_by_round(Mask::ones(net), policy, 2) == std::vector<Index>{150, 119, 94});
  CHECK(survivors_by_round({{100, 0.2}}, 2, Counting::open_lth, 50) == std::vector<Index>{150, 119, 94});
}

TEST_CASE("a share to the nearest whole number: halves to even, and a rounding error short of a half is a half") {
  using detail::nearest_even;
  CHECK(nearest_even(17, 0.4) == 7);  // pytorch test_pruning.py: round(0.4 * 17)
  CHECK(nearest_even(5, 0.5) == 2);
  CHECK(nearest_even(7, 0.5) == 4);
  CHECK(nearest_even(10, 0.35) == 4);    // exactly 3.5
  CHECK(nearest_even(100, 0.575) == 58);  // 57.49999999999999 in doubles
  CHECK(nearest_even(100, 0.545) == 54);  // 54.50000000000001
  CHECK(nearest_even(90, 0.15) == 14);
  CHECK(nearest_even(1, 0.5) == 0);
  CHECK(nearest_even(0, 0.5) == 0);
  CHECK(nearest_even(3, 0) == 0);
  CHECK(nearest_even(3, 1) == 3);
  CHECK(nearest_even(138'357'544, 1) == 138'357'544);
  int noticed = 0;  // halves as whole numbers compute them, in shares of a thousand
  for (Index thousandths = 1; thousandths < 1000; ++thousandths)
    for (Index n = 1; n < 3000; ++n) {
      const Index product = n * thousandths, whole = product / 1000, rest = product % 1000;
      const Index expected = rest == 500 ? whole + whole % 2 : rest > 500 ? whole + 1 : whole;
      if (nearest_even(n, static_cast<double>(thousandths) / 1000) != expected) FAIL_CHECK("n " << n << ", share 0." << thousandths);
      noticed += rest == 500 && std::nearbyint(static_cast<double>(n) * (static_cast<double>(thousandths) / 1000)) != static_cast<double>(expected);
    }
  CHECK(noticed > 0);  // that is, doubles alone would have been wrong
}

TEST_CASE("a rule that counts shares of all is refused where .remove is set, and the other way round") {
  Reference b;
  const auto net = one({1, 4}, {1, 2, 3, 4});
  CHECK_THROWS_WITH_AS((GlobalMagnitude{.remove = 0.5, .counting = Counting::rethinking}.first(b, net)), doctest::Contains("set .sparsity, not .remove"), PolicyError);
  CHECK_THROWS_WITH_AS((GlobalMagnitude{.sparsity = 0.5, .counting = Counting::open_lth}.first(b, net)), doctest::Contains("set .remove, not .sparsity"), PolicyError);
  CHECK_THROWS_WITH_AS((LayerMagnitude{.remove = 0.5, .counting = Counting::open_lth}.first(b, net)), doctest::Contains("ranks all layers together"), PolicyError);
  CHECK_THROWS_WITH_AS((LayerMagnitude{.remove = 0.5, .keep_at_least = 1, .counting = Counting::torch_prune}.first(b, net)), doctest::Contains("has no floors"), PolicyError);
  CHECK_THROWS_AS(survivors_by_round({{10, 1.5}}, 1), PolicyError);
  CHECK_THROWS_WITH_AS(survivors_by_round({{10, 0.5}}, 9, Counting::lottery_reference), doctest::Contains("fewer rounds"), PolicyError);
}

}  // namespace counting_test
