// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/backend/reference.hpp>
#include <espalier/models/convnet.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/nn/mask.hpp>
#include <espalier/nn/run.hpp>

using namespace espalier;

namespace mask_test {

namespace {

Mask with_dead(const std::string& path, const Shape& shape, std::initializer_list<Index> dead) {
  MaskPart part = MaskPart::ones(path, shape);
  for (const Index i : dead) part.kill(i);
  return Mask({part});
}

}  // namespace

TEST_CASE("a mask of ones names every weight of LeNet-300-100 and no bias") {
  Reference b;
  const models::Mlp<Reference> net(b, models::lenet_300_100, Rng(1));
  const Mask mask = Mask::ones(net);
  REQUIRE(mask.parts().size() == 3);
  CHECK(mask.weights() == 266'200);  // Frankle & Carbin 2019, figure 2: 266K
  CHECK(mask.survivors() == 266'200);
  CHECK(mask.density() == 1);
  CHECK(mask.parts()[0].shape == Shape{300, 784});
  for (const MaskPart& part : mask.parts()) CHECK(part.path.ends_with(".weight"));
}

TEST_CASE("bits count at and around the border of a word") {
  for (const Index n : {Index{0}, Index{1}, Index{63}, Index{64}, Index{65}, Index{128}}) {
    MaskPart part = MaskPart::ones("w", {n});
    CHECK(part.survivors() == n);
    if (n == 0) continue;
    part.kill(n - 1);
    CHECK_FALSE(part.alive(n - 1));
    CHECK(part.survivors() == n - 1);
    const auto bytes = part.unpacked();
    CHECK(static_cast<Index>(bytes.size()) == n);
    CHECK(bytes.back() == 0);
    part.revive(n - 1);
    CHECK(part == MaskPart::ones("w", {n}));
  }
}

TEST_CASE("masks are nested only if every live weight lives in the wider one") {
  const Mask wide = with_dead("w", {70}, {3}), narrow = with_dead("w", {70}, {3, 69}), other = with_dead("w", {70}, {4});
  CHECK(narrow.within(wide));
  CHECK(wide.within(wide));
  CHECK_FALSE(wide.within(narrow));
  CHECK_FALSE(other.within(wide));
  CHECK_FALSE(with_dead("v", {70}, {3, 69}).within(wide));
  CHECK_FALSE(with_dead("w", {7, 10}, {3, 69}).within(wide));
  CHECK(wide.survivors() == 69);
  CHECK(wide.sparsity() == doctest::Approx(1.0 / 70));
}

TEST_CASE("density and sparsity are shares of all weights, of a part as of the whole mask") {
  MaskPart half = MaskPart::ones("half", {4}), whole = MaskPart::ones("whole", {12});
  half.kill(0);
  half.kill(3);
  CHECK(half.density() == 0.5);
  CHECK(half.sparsity() == 0.5);
  CHECK(whole.density() == 1);
  CHECK(MaskPart::ones("none", {0, 3}).density() == 1);
  CHECK(Mask({half, whole}).density() == 0.875);
}

TEST_CASE("a masked network is zero where the mask is dead, in PyTorch's order, and untouched elsewhere") {
  Reference b;
  const models::Mlp<Reference> net(b, {5, 4, 3}, Rng(1));
  const std::string path = Mask::ones(net).parts()[0].path;
  const Mask dead = with_dead(path, {4, 5}, {1, 19});  // weight[0, 1] and weight[3, 4]
  const auto masked = mask(b, net, dead);
  const HostTensor before = to_host(b, net.layers[0].weight), after = to_host(b, masked.layers[0].weight);
  for (std::size_t i = 0; i < 20; ++i) CHECK(after.values[i] == (i == 1 || i == 19 ? 0 : before.values[i]));
  CHECK(to_host(b, masked.layers[1].weight) == to_host(b, net.layers[1].weight));

  const auto x = Tensor<Reference>::from(b, {1, 5}, std::vector<float>{0, 1, 0, 0, 0});
  CHECK(predict(b, masked, x).to_host(b) != predict(b, net, x).to_host(b));
}

TEST_CASE("a mask for another network is refused with path and shapes") {
  Reference b;
  const models::Mlp<Reference> net(b, {5, 4, 3}, Rng(1));
  const std::string path = Mask::ones(net).parts()[0].path;
  CHECK_THROWS_WITH_AS(mask(b, net, with_dead("nowhere.weight", {4, 5}, {})), doctest::Contains("nowhere.weight"), StaleState);
  CHECK_THROWS_WITH_AS(mask(b, net, with_dead(path, {5, 4}, {})), doctest::Contains("found shape [5, 4], needed [4, 5]"), StaleState);
  MaskPart part = MaskPart::ones("w", {3});
  CHECK_THROWS_AS(Mask({part, part}), StaleState);
  part.words[0] = ~std::uint64_t{0};
  CHECK_THROWS_AS(Mask({part}), StaleState);
}

}  // namespace mask_test
