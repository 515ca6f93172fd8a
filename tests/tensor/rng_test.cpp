// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <concepts>
#include <vector>

#include <espalier/tensor/rng.hpp>

using espalier::philox4x32;
using espalier::PhiloxBlock;
using espalier::Rng;

static_assert(std::regular<Rng>);
static_assert(Rng::word(7, 5) == Rng::block(7, 1).word[1]);

TEST_CASE("Philox4x32-10 gives the known answers of the Random123 distribution") {
  CHECK(philox4x32({}, 0) == PhiloxBlock{{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
  CHECK(philox4x32({{~0u, ~0u, ~0u, ~0u}}, ~std::uint64_t{0}) ==
        PhiloxBlock{{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
  CHECK(philox4x32({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0x299f31d0a4093822) ==
        PhiloxBlock{{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}});
}

TEST_CASE("the stream of seed 0 starts with the known block, and word() reads it at random") {
  Rng rng(0);
  CHECK(rng.u32() == 0x6627e8d5);
  CHECK(rng.u32() == 0xe169c58d);
  Rng stream(42);
  for (std::uint64_t i = 0; i < 50; ++i) CHECK(stream.u32() == Rng::word(42, i));
}

TEST_CASE("a stream continues from its saved state at every position") {
  Rng rng(123);
  for (int drawn = 0; drawn < 12; ++drawn) {
    Rng saved = Rng::from_state(rng.state()), copy = rng;
    CHECK(saved == rng);
    for (int i = 0; i < 9; ++i) CHECK(saved.u32() == copy.u32());
    rng.u32();
  }
}

TEST_CASE("sub-streams depend on the key and the name alone") {
  Rng rng(9);
  const Rng before = rng.split("dropout");
  rng.u32();
  CHECK(rng.split("dropout") == before);
  CHECK_FALSE(rng.split("dropout") == rng.split("shuffle"));
  CHECK_FALSE(rng.split(1) == rng.split(2));
  CHECK_FALSE(Rng(10).split("dropout") == before);
  CHECK_FALSE(before.key() == rng.key());
  // A name whose hash equals an index must not collide with that index: FNV-1a of "" is its basis.
  CHECK_FALSE(rng.split("") == rng.split(std::uint64_t{0xCBF29CE484222325u}));
}

TEST_CASE("uniform numbers lie in [0, 1) and have the right mean and variance") {
  CHECK(Rng::unit(0) == 0.0f);
  CHECK(Rng::unit(~0u) < 1.0f);
  Rng rng(1);
  double sum = 0, squares = 0, sum_double = 0;
  const int n = 200000;
  for (int i = 0; i < n; ++i) {
    const double u = rng.uniform();
    sum += u;
    squares += u * u;
    const double d = rng.uniform_double();
    REQUIRE(d < 1.0);
    sum_double += d;
  }
  CHECK(std::abs(sum / n - 0.5) < 0.003);  // five standard errors are 0.0032
  CHECK(std::abs(sum_double / n - 0.5) < 0.003);
  CHECK(std::abs(squares / n - 1.0 / 3) < 0.004);
}

TEST_CASE("normal numbers have the moments and the tails of the normal distribution") {
  Rng rng(2);
  const int n = 400000;
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0;
  int beyond_two = 0;
  for (int i = 0; i < n; ++i) {
    const double z = rng.normal();
    REQUIRE(std::isfinite(z));
    m1 += z;
    m2 += z * z;
    m3 += z * z * z;
    m4 += z * z * z * z;
    beyond_two += std::abs(z) > 2 ? 1 : 0;
  }
  CHECK(std::abs(m1 / n) < 0.008);
  CHECK(std::abs(m2 / n - 1) < 0.012);
  CHECK(std::abs(m3 / n) < 0.032);
  CHECK(std::abs(m4 / n - 3) < 0.08);
  CHECK(std::abs(beyond_two / double(n) - 0.0455) < 0.0017);
}

TEST_CASE("below(n) hits every outcome equally often, also where 2^32 is far from a multiple of n") {
  Rng rng(3);
  std::array<int, 7> count{};
  for (int i = 0; i < 70000; ++i) ++count[rng.below(7)];
  double chi2 = 0;
  for (const int c : count) chi2 += (c - 10000.0) * (c - 10000.0) / 10000.0;
  CHECK(chi2 < 22.5);  // six degrees of freedom, p = 0.001

  const std::uint32_t n = 3u << 30;  // without rejection, a third of the outcomes comes twice as often
  int low = 0;
  for (int i = 0; i < 30000; ++i) low += rng.below(n) % 3 == 0 ? 1 : 0;
  CHECK(std::abs(low - 10000) < 410);
  CHECK(rng.below(1) == 0);
  CHECK_THROWS_AS(rng.below(0), espalier::PolicyError);
}

TEST_CASE("bernoulli is certain at 0 and at 1, and fair between") {
  Rng rng(4);
  int heads = 0;
  for (int i = 0; i < 100000; ++i) {
    REQUIRE_FALSE(rng.bernoulli(0));
    REQUIRE(rng.bernoulli(1));
    heads += rng.bernoulli(0.3) ? 1 : 0;
  }
  CHECK(std::abs(heads - 30000) < 725);
}

TEST_CASE("these exact numbers never change: runs recorded years ago must repeat") {
  Rng rng = Rng(2024).split("golden").split(3);
  CHECK(rng.key() == 7276179650519725274u);
  CHECK(rng.uniform() == 0x1.c78f14p-2f);
  CHECK(rng.normal() == 0x1.f1e97ep-2f);
  CHECK(rng.below(1000) == 634);
}
