// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <set>

#include <espalier/prune/unstructured.hpp>

#include "bag.hpp"

using namespace espalier;
using namespace espalier::test;

namespace granularity_test {

namespace {

std::vector<float> drawn(Index n, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& v : values) v = rng.normal();
  return values;
}

}  // namespace

// tensorflow/model-optimization pruning_impl_test.py, testBlockMaskingAvg: half of four 2x2 blocks.
TEST_CASE("TFMOT: of four blocks of 2x2, the two with the lower means go") {
  Reference b;
  const auto net = one({4, 4}, {0.1F, 0.1F, 0.2F, 0.2F, 0.1F, 0.1F, 0.2F, 0.2F, 0.3F, 0.3F, 0.4F, 0.4F, 0.3F, 0.3F, 0.4F, 0.4F});
  const Mask m = LayerMagnitude{.sparsity = 0.5, .granularity = Block{.rows = 2, .columns = 2}}.first(b, net);
  CHECK(bits(m) == Bits{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1});
}

// The same file, testBlockMaskingMax: half of each block is 0, so that its mean is half of its largest, and the order is the same.
TEST_CASE("TFMOT: the two blocks of 2x2 with the lower maxima go, and by the mean the same two") {
  Reference b;
  const auto net = one({4, 4}, {0.1F, 0, 0.2F, 0, 0, -0.1F, 0, -0.2F, 0.3F, 0, 0.4F, 0, 0, -0.3F, 0, -0.4F});
  for (const BlockPooling pooling : {BlockPooling::max, BlockPooling::mean})
    CHECK(bits(LayerMagnitude{.sparsity = 0.5, .granularity = Block{.rows = 2, .columns = 2, .pooling = pooling}}.first(b, net)) == Bits{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1});
}

TEST_CASE("pooled by the largest, a block stays for one good weight that lives; by the mean it goes") {
  Reference b;
  const auto net = one({2, 4}, {5, 0, 0, 0, 2, 2, 2, 2});
  const Block max{.rows = 1, .columns = 4, .pooling = BlockPooling::max}, mean{.rows = 1, .columns = 4};
  CHECK(bits(LayerMagnitude{.remove = 0.5, .granularity = max}.first(b, net)) == Bits{1, 1, 1, 1, 0, 0, 0, 0});
  CHECK(bits(LayerMagnitude{.remove = 0.5, .granularity = mean}.first(b, net)) == Bits{0, 0, 0, 0, 1, 1, 1, 1});
  CHECK(bits(LayerMagnitude{.remove = 0.5, .granularity = max}.next(b, net, mask_of_bits("w", {2, 4}, {0, 1, 1, 1, 1, 1, 1, 1}))) == Bits{0, 0, 0, 0, 1, 1, 1, 1});
  // Scores with a sign, all below zero: the larger is the less negative.
  const Scores scores{.rule = "Given", .parts = {{"w", HostTensor{{2, 4}, {-1, -9, -9, -9, -2, -2, -2, -2}}}}};
  CHECK(bits(LayerGiven{.remove = 0.5, .granularity = max}.first(b, net, scores)) == Bits{1, 1, 1, 1, 0, 0, 0, 0});
  CHECK(bits(LayerGiven{.remove = 0.5, .granularity = mean}.first(b, net, scores)) == Bits{0, 0, 0, 0, 1, 1, 1, 1});
}

TEST_CASE("blocks of 4x1 are four outputs of one input each") {
  Reference b;
  // Two rows of three blocks: the columns' sums are 4, 10, 8 above and 12, 2, 6 below; no row of four weights has that order.
  const auto net = one({8, 3}, {1, 4, 2, 1, 3, 2, 1, 2, 2, 1, 1, 2, 3, 0, 1, 3, 1, 2, 3, 0, 1, 3, 1, 2});
  const auto left = [&](double remove) { return bits(LayerMagnitude{.remove = remove, .granularity = Block{.rows = 4, .columns = 1}}.first(b, net)); };
  CHECK(left(1.0 / 6) == Bits{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1});
  CHECK(left(0.5) == Bits{0, 1, 1, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0});
}

// The same file, testConditionalMaskUpdate: 1 ... 100 at targets 0, .1, .1, .3, .3, .5; and testConstructsMaskAndThresholdCorrectly.
TEST_CASE("TFMOT: rising targets leave 100, 90, 90, 70, 70, 50 weights; 0.2 of 1 ... 10 leaves 3 ... 10") {
  Reference b;
  std::vector<float> values(100);
  for (std::size_t i = 0; i < 100; ++i) values[i] = static_cast<float>(i + 1);
  for (const Counting counting : {Counting::tfmot, Counting::exact}) {
    Mask mask = mask_of_bits("w", {1, 100}, {});
    std::vector<Index> left;
    for (const double target : {0.0, 0.1, 0.1, 0.3, 0.3, 0.5}) {
      mask = LayerMagnitude{.sparsity = target, .counting = counting}.next(b, one({1, 100}, values), mask);
      left.push_back(mask.survivors());
    }
    CHECK(left == std::vector<Index>{100, 90, 90, 70, 70, 50});
    CHECK(bits(LayerMagnitude{.sparsity = 0.200000018, .counting = counting}.first(b, one({1, 10}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}))) == Bits{0, 0, 1, 1, 1, 1, 1, 1, 1, 1});
  }
}

// neuralmagic/sparseml test_mask_creator.py: blocks of 1x4 on [64, 512] are the four-blocks; here against runs of four summed by hand.
TEST_CASE("SparseML: a mask of 1x4 blocks is the mask of runs of four, exact to the block") {
  Reference b;
  const auto values = drawn(64 * 512, 1);
  const Mask m = LayerMagnitude{.sparsity = 0.8, .granularity = Block{.rows = 1, .columns = 4}}.first(b, one({64, 512}, values));
  std::vector<std::pair<double, std::size_t>> runs;
  for (std::size_t run = 0; run < values.size() / 4; ++run) {
    double sum = 0;
    for (std::size_t i = 4 * run; i < 4 * run + 4; ++i) sum += std::abs(static_cast<double>(values[i]));
    runs.push_back({sum, run});
  }
  std::sort(runs.begin(), runs.end());
  Bits expected(values.size(), 1);
  for (std::size_t i = 0; i < 6554; ++i)  // 0.8 (8192) = 6553.6
    std::fill_n(expected.begin() + static_cast<std::ptrdiff_t>(4 * runs[i].second), 4, std::uint8_t{0});
  CHECK(bits(m) == expected);
  // A convolution's view is [out, all the rest].
  CHECK(bits(LayerMagnitude{.sparsity = 0.8, .granularity = Block{.rows = 1, .columns = 4}}.first(b, one({64, 128, 2, 2}, values))) == expected);
}

TEST_CASE("blocks at the edges are smaller, count as blocks, and are judged by their mean") {
  Reference b;
  //                       2x2 blocks: 1.25 | 3 ; 2 | 9 (one weight)
  const auto net = one({3, 3}, {1, 1, 3, 2, 1, 3, 2, 2, 9});
  const auto left = [&](double remove) { return bits(LayerMagnitude{.remove = remove, .granularity = Block{.rows = 2, .columns = 2}}.first(b, net)); };
  CHECK(left(0.25) == Bits{0, 0, 1, 0, 0, 1, 1, 1, 1});
  CHECK(left(0.5) == Bits{0, 0, 1, 0, 0, 1, 0, 0, 1});
  CHECK(left(0.75) == Bits{0, 0, 0, 0, 0, 0, 0, 0, 1});
}

TEST_CASE("a block is judged by what lives in it, and amounts count live blocks") {
  Reference b;
  const auto net = one({2, 4}, {9, 1, 4, 4, 3, 3, 5, 5});
  const Block pairs{.rows = 1, .columns = 2};
  // With the 9 dead the first block's mean is 1, not 5; the second one is dead altogether.
  const Mask before = mask_of_bits("w", {2, 4}, {0, 1, 0, 0, 1, 1, 1, 1});
  CHECK(bits(LayerMagnitude{.remove = 1.0 / 3, .granularity = pairs}.next(b, net, before)) == Bits{0, 0, 0, 0, 1, 1, 1, 1});
  CHECK(bits(LayerMagnitude{.sparsity = 0.75, .granularity = pairs}.next(b, net, before)) == Bits{0, 0, 0, 0, 0, 0, 1, 1});
  CHECK(LayerMagnitude{.sparsity = 0.25, .granularity = pairs}.next(b, net, before) == before);
  CHECK_THROWS_WITH_AS((LayerMagnitude{.sparsity = 0, .granularity = pairs}.next(b, net, before)), doctest::Contains("found 1 of 4 blocks dead already"), PolicyError);
}

// pytorch test/nn/test_pruning.py: t = 1 ... 8 under a first mask, then ln_structured along rows, or along columns. There the
// column's norm counts dead weights, so the first goes; here 3, of which 7 is dead, ties with 1 and 5, and the later goes.
TEST_CASE("pytorch: rows and columns are blocks, after a mask that is there already") {
  Reference b;
  const auto net = one({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
  const Mask before = mask_of_bits("w", {2, 4}, {1, 1, 1, 0, 1, 1, 0, 1});
  const auto row = LayerMagnitude{.remove = 0.5, .granularity = Block{.rows = 1, .columns = 4}};
  const auto column = LayerMagnitude{.remove = 0.25, .granularity = Block{.rows = 2, .columns = 1}};
  CHECK(bits(row.next(b, net, before)) == Bits{0, 0, 0, 0, 1, 1, 0, 1});
  CHECK(bits(column.next(b, net, before)) == Bits{1, 1, 0, 0, 1, 1, 0, 1});
  // torch's [[0, 1, 1, 0], [0, 1, 0, 1]] is a decision on all weights, within the mask.
  Bits within = bits(column.first(b, net));
  CHECK(within == Bits{0, 1, 1, 1, 0, 1, 1, 1});
  for (std::size_t i = 0; i < within.size(); ++i) within[i] &= bits(before)[i];
  CHECK(within == Bits{0, 1, 1, 0, 0, 1, 0, 1});
  // A row, and of what is left a column.
  CHECK(bits(column.next(b, net, row.first(b, net))) == Bits{0, 0, 0, 0, 0, 1, 1, 1});
}

TEST_CASE("blocks of all layers are ranked together, with floors in blocks") {
  Reference b;
  Bag<Reference> net;
  net.add(b, "a", {1, 4}, {1, 1, 2, 2}).add(b, "c", {2, 4}, {3, 3, 4, 4, 5, 5, 6, 6});
  const Block pairs{.rows = 1, .columns = 2};
  const Mask m = GlobalMagnitude{.remove = 0.5, .granularity = pairs, .keep_at_least = 1}.first(b, net);
  CHECK(bits(m, "a") == Bits{0, 0, 1, 1});
  CHECK(bits(m, "c") == Bits{0, 0, 0, 0, 1, 1, 1, 1});
  CHECK_THROWS_WITH_AS((GlobalMagnitude{.remove = 0.5, .granularity = pairs}.first(b, net)), doctest::Contains("all 4 live weights of 'a' would go"), PolicyError);
}

TEST_CASE("a block of one weight is a weight") {
  Reference b;
  const auto net = one({20, 30}, drawn(600, 2));
  CHECK(GlobalMagnitude{.remove = 0.37, .granularity = Block{.rows = 1, .columns = 1}}.first(b, net) == GlobalMagnitude{.remove = 0.37}.first(b, net));
}

// tensorflow/model-optimization pruning_utils_test.py: of each four in a row, the two smallest are zero.
TEST_CASE("keep 2 of 4: the two largest of each four input channels stay, of equal ones the first") {
  Reference b;
  const auto net = one({2, 8}, {1, -3, 2, 0, 5, 5, 5, 5, -1, -1, 0, 9, 4, 3, 2, 1});
  const GlobalMagnitude policy{.granularity = KeepOf{.keep = 2, .of = 4}};
  const Mask m = policy.first(b, net);
  CHECK(bits(m) == Bits{0, 1, 1, 0, 1, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0, 0});
  CHECK(m.density() == 0.5);
  CHECK(policy.next(b, net, m) == m);
  // Within a mask, only the live are candidates.
  CHECK(bits(policy.next(b, net, mask_of_bits("w", {2, 8}, {1, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0}))) == Bits{1, 0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0});
}

// The same file: 2 of 4, and of five the three smallest (which there is m_by_n = (3, 5)).
TEST_CASE("TFMOT: 2 of 4 kept of two rows of four, 2 of 5 of two rows of five") {
  Reference b;
  CHECK(bits(LayerMagnitude{.granularity = KeepOf{.keep = 2, .of = 4}}.first(b, one({2, 4}, {.25F, -1.33F, .43F, -.11F, .47F, .92F, -.13F, -2.23F}))) == Bits{0, 1, 1, 0, 0, 1, 0, 1});
  CHECK(bits(LayerMagnitude{.granularity = KeepOf{.keep = 2, .of = 5}}.first(b, one({2, 5}, {1.71F, -.27F, -.3F, -.61F, -.19F, -.4F, 1.12F, .46F, -1.12F, .17F}))) ==
        Bits{1, 0, 0, 1, 0, 0, 1, 0, 1, 0});
}

// apex's ASP tries the six patterns of two in four and takes the one that keeps the largest sum of magnitudes.
TEST_CASE("apex: keep 2 of 4 is the best of the six patterns, for every order of four magnitudes") {
  Reference b;
  const GlobalMagnitude policy{.granularity = KeepOf{.keep = 2, .of = 4}};
  std::vector<float> w{0.5F, 1, 2, 4};
  std::set<Bits> seen;
  do {
    Bits best, pattern{0, 0, 1, 1};
    float most = 0;
    do {
      float sum = 0;
      for (std::size_t i = 0; i < 4; ++i) sum += static_cast<float>(pattern[i]) * w[i];
      if (sum > most) most = sum, best = pattern;
    } while (std::next_permutation(pattern.begin(), pattern.end()));
    std::vector<float> signed_w = w;
    signed_w[0] = -w[0], signed_w[3] = -w[3];
    CHECK(bits(policy.first(b, one({1, 4}, signed_w))) == best);
    seen.insert(best);
  } while (std::next_permutation(w.begin(), w.end()));
  CHECK(seen.size() == 6);
}

TEST_CASE("for a convolution, the runs are of input channels at each kernel position") {
  Reference b;
  // [1, 4, 1, 2]: channel by channel, two positions each.
  const auto net = one({1, 4, 1, 2}, {1, 8, 2, 7, 3, 6, 4, 5});
  CHECK(bits(LayerMagnitude{.granularity = KeepOf{.keep = 1, .of = 4}}.first(b, net)) == Bits{0, 1, 0, 0, 0, 0, 1, 0});
  CHECK(bits(LayerMagnitude{.granularity = KeepOf{.keep = 1, .of = 2}}.first(b, net)) == Bits{0, 1, 1, 0, 0, 1, 1, 0});
}

TEST_CASE("3 of 4 kept is one of four removed: the fraction says which is counted") {
  Reference b;
  CHECK(LayerMagnitude{.granularity = KeepOf{.keep = 3, .of = 4}}.first(b, one({4, 8}, drawn(32, 3))).survivors() == 24);
}

TEST_CASE("a width that the runs do not divide is refused by name, or the layer ignored") {
  Reference b;
  Bag<Reference> net;
  net.add(b, "conv1.weight", {2, 3, 1, 1}, drawn(6, 4)).add(b, "fc.weight", {2, 4}, drawn(8, 5));
  CHECK_THROWS_WITH_AS((LayerMagnitude{.granularity = KeepOf{}}.first(b, net)),
                       "LayerMagnitude: KeepOf{.keep = 2, .of = 4}: found 3 input channels in 'conv1.weight', needed a multiple of 4; put the layer in .ignore", PolicyError);
  const Mask m = LayerMagnitude{.granularity = KeepOf{}, .ignore = {"conv1"}}.first(b, net);
  CHECK(m.find("conv1.weight")->survivors() == 6);
  CHECK(m.find("fc.weight")->survivors() == 4);
}

TEST_CASE("keep of refuses other amounts, and both units refuse sizes without sense") {
  const auto refused = [](const auto& policy, const char* why) { CHECK_THROWS_WITH_AS(policy.validate(), doctest::Contains(why), PolicyError); };
  refused(GlobalMagnitude{.remove = 0.5, .granularity = KeepOf{}}, "says how much stays");
  refused(GlobalMagnitude{.granularity = KeepOf{}, .keep_at_least = 1}, "says how much stays");
  refused(GlobalMagnitude{.granularity = KeepOf{.keep = 4, .of = 4}}, "found granularity.keep = 4, needed at least 1 and less than .of, which is 4");
  refused(GlobalMagnitude{.granularity = KeepOf{.keep = 0, .of = 4}}, "granularity.keep = 0");
  refused(GlobalMagnitude{.remove = 0.5, .granularity = Block{.rows = 0, .columns = 4}}, "found granularity.rows = 0");
  refused(GlobalMagnitude{.remove = 0.5, .granularity = Block{}, .counting = Counting::torch_prune}, "counts single weights");
}

TEST_CASE("a NaN is refused with its weight's place, whatever the unit") {
  Reference b;
  const auto net = one({1, 4}, {1, 2, std::numeric_limits<float>::quiet_NaN(), 4});
  CHECK_THROWS_WITH_AS((LayerMagnitude{.remove = 0.5, .granularity = Block{.rows = 1, .columns = 2}}.first(b, net)), doctest::Contains("the score of 'w' at 2: found NaN"), PolicyError);
  CHECK_THROWS_WITH_AS((LayerMagnitude{.granularity = KeepOf{}}.first(b, net)), doctest::Contains("the score of 'w' at 2: found NaN"), PolicyError);
}

TEST_CASE("units are written as in code") {
  CHECK(str(GlobalMagnitude{.granularity = KeepOf{}}) == "GlobalMagnitude{.granularity = KeepOf{.keep = 2, .of = 4}}");
  CHECK(str(Block{.pooling = BlockPooling::max}) == "Block{.rows = 1, .columns = 4, .pooling = BlockPooling::max}");
  CHECK(str(LayerMagnitude{.remove = 0.5, .granularity = Block{.rows = 4, .columns = 1}}) == "LayerMagnitude{.remove = 0.5, .granularity = Block{.rows = 4, .columns = 1}}");
}

}  // namespace granularity_test
