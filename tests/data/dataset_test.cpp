// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <vector>

#include <espalier/data/dataset.hpp>
#include "io/scratch.hpp"

using espalier::PolicyError;
using espalier::Rng;
using namespace espalier::data;

namespace {

// Image i is 1 x 2 x 1 with the values i and 100 + i; its class is i mod 3.
ImageSet numbered(int count) {
  ImageSet set{count, 1, 2, 1, {}, {}, 3, "numbered", "made up", {"a", "b", "c"}};
  for (int i = 0; i < count; ++i) {
    set.pixels.push_back(static_cast<std::uint8_t>(i));
    set.pixels.push_back(static_cast<std::uint8_t>(100 + i));
    set.labels.push_back(i % 3);
  }
  return set;
}

}  // namespace

TEST_CASE("a subset is a run of images with all that belongs to them") {
  const ImageSet part = subset(numbered(10), 4, 3);
  CHECK(part.pixels == std::vector<std::uint8_t>{4, 104, 5, 105, 6, 106});
  CHECK(part.labels == std::vector<std::int32_t>{1, 2, 0});
  CHECK(part.count == 3);
  CHECK(part.name == "numbered");
  CHECK(part.class_names.size() == 3);
  CHECK(subset(numbered(10), 0, 10) == numbered(10));
  CHECK(subset(numbered(10), 10, 0).count == 0);
  CHECK_REFUSED(PolicyError, "asked for 4 images from 7, it holds 10", subset(numbered(10), 7, 4));
  CHECK_THROWS_AS(subset(numbered(10), -1, 4), PolicyError);
  CHECK_THROWS_AS(subset(numbered(10), 1, INT64_MAX), PolicyError);
  const std::vector<std::uint32_t> beyond = {3, 10};
  CHECK_THROWS_AS(select(numbered(10), beyond), PolicyError);
}

TEST_CASE("held-out images are a function of the seed, and the two parts are the whole") {
  const ImageSet set = numbered(50);
  const TrainValidation a = hold_out(set, 20, 1), again = hold_out(set, 20, 1), other = hold_out(set, 20, 2);
  CHECK(a.train.count == 30);
  CHECK(a.validation.count == 20);
  CHECK(a.train == again.train);
  CHECK(a.validation == again.validation);
  CHECK_FALSE(a.validation == other.validation);
  std::set<std::uint8_t> seen;
  for (const ImageSet* part : {&a.train, &a.validation}) {
    for (espalier::Index i = 0; i < part->count; ++i) {
      const std::uint8_t id = part->image(i)[0];
      CHECK(seen.insert(id).second);
      CHECK(part->label(i) == id % 3);
    }
  }
  CHECK(seen.size() == 50);
  CHECK_THROWS_AS(hold_out(set, 0, 1), PolicyError);
  CHECK_THROWS_AS(hold_out(set, 50, 1), PolicyError);
}

TEST_CASE("a shuffle is a permutation, and each of the 24 of four things comes equally often") {
  std::vector<std::uint32_t> order;
  std::vector<int> counts(256);
  for (std::uint64_t seed = 0; seed < 24000; ++seed) {
    shuffled(4, Rng(seed), order);
    ++counts[order[0] * 64 + order[1] * 16 + order[2] * 4 + order[3]];
    std::vector<std::uint32_t> sorted = order;
    std::sort(sorted.begin(), sorted.end());
    REQUIRE(sorted == std::vector<std::uint32_t>{0, 1, 2, 3});
  }
  double chi2 = 0;
  for (const int c : counts) {
    if (c != 0) chi2 += (c - 1000.0) * (c - 1000.0) / 1000.0;
  }
  CHECK(std::count_if(counts.begin(), counts.end(), [](int c) { return c > 0; }) == 24);
  CHECK(chi2 < 49.7);  // 23 degrees of freedom, p = 0.001
  shuffled(0, Rng(1), order);
  CHECK(order.empty());
}
