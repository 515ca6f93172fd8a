// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/models/mlp.hpp>
#include <espalier/prune/mask_controls.hpp>
#include <espalier/prune/unstructured.hpp>

#include "bag.hpp"

using namespace espalier;
using namespace espalier::test;

namespace mask_controls_test {

TEST_CASE("a shuffled mask has as many live weights in each layer, elsewhere") {
  Reference b;
  const models::Mlp<Reference> net(b, {50, 40, 30, 10}, Rng(1));
  const Mask mask = GlobalMagnitude{.remove = 0.7}.first(b, net), other = shuffled(mask, 1);
  REQUIRE(other.parts().size() == mask.parts().size());
  for (std::size_t i = 0; i < mask.parts().size(); ++i) {
    CHECK(other.parts()[i].path == mask.parts()[i].path);
    CHECK(other.parts()[i].survivors() == mask.parts()[i].survivors());
    CHECK(other.parts()[i].words != mask.parts()[i].words);
  }
  CHECK_NOTHROW(check_fits(other, net));
}

TEST_CASE("the draw depends on seed and path, not on the mask's own places or on other layers") {
  MaskPart a = MaskPart::ones("a", {10, 10}), b = MaskPart::ones("a", {10, 10}), c = MaskPart::ones("c", {10, 10});
  for (Index i = 0; i < 50; ++i) a.kill(i), b.kill(99 - i), c.kill(i);
  CHECK(shuffled(Mask({a}), 3) == shuffled(Mask({b}), 3));
  CHECK(shuffled(Mask({a}), 3).parts()[0] == shuffled(Mask({c, a}), 3).parts()[1]);
  CHECK(shuffled(Mask({a}), 3) != shuffled(Mask({a}), 4));
  CHECK(shuffled(Mask({a, c}), 3).parts()[0].words != shuffled(Mask({a, c}), 3).parts()[1].words);
}

TEST_CASE("full and empty layers stay what they are, whatever their size") {
  for (const Index n : {Index{1}, Index{63}, Index{64}, Index{65}}) {
    MaskPart none = MaskPart::ones("none", {n, 1});
    for (Index i = 0; i < n; ++i) none.kill(i);
    const Mask mask({MaskPart::ones("all", {n, 1}), none});
    CHECK(shuffled(mask, 5) == mask);
  }
}

TEST_CASE("every weight is as likely to live") {
  MaskPart part = MaskPart::ones("w", {8});
  for (const Index i : {0, 1, 2, 3, 4}) part.kill(i);
  std::vector<double> lived(8);
  constexpr int draws = 4000;
  for (std::uint64_t seed = 0; seed < draws; ++seed) {
    const auto alive = shuffled(Mask({part}), seed).parts()[0].unpacked();
    for (std::size_t i = 0; i < 8; ++i) lived[i] += alive[i];
  }
  const double expected = draws * 3.0 / 8, deviation = std::sqrt(draws * (3.0 / 8) * (5.0 / 8));
  for (const double count : lived) CHECK(std::abs(count - expected) < 4 * deviation);
}

}  // namespace mask_controls_test
