// SPDX-License-Identifier: Apache-2.0
// What survivors start from and how long they train: Liu et al. 2019's three baselines.
#include <doctest/doctest.h>

#include <espalier/models/vgg.hpp>
#include <espalier/prune/papers.hpp>
#include <espalier/prune/planning.hpp>
#include <espalier/prune/survivors.hpp>

#include <models/checks.hpp>

using namespace espalier;
using namespace espalier::test;

namespace survivors_test {

using R = Reference;

namespace {

// A pruned network with odd widths, whose every value is 7 and whose parameters hold gradients.
models::Vgg<R> used() {
  R r;
  const models::Vgg<R> net(r, {.stages = {{32, 32}, {48}}, .hidden = 128, .conv_bias = Bias::zeros}, Rng(1));
  auto slim = shrink(r, net, plan(r, net, {1, 8, 8, 3}, FilterL1{.amount = Fraction{0.3}}));
  for_each_member(slim, [&](const std::string&, auto& member) {
    member.value = Tensor<R>::full(r, member.value.shape(), 7.0F);
    if constexpr (requires { member.has_gradient; }) {
      member.gradient = member.value;
      member.has_gradient = true;
    }
  });
  return slim;
}

NetworkCost costing(Index multiply_adds, Index norm_elements = 0) {
  NetworkCost c{.layers = {}, .multiply_adds = multiply_adds};
  c.details = {.multiply_adds = multiply_adds, .norm_elements = norm_elements};
  return c;
}

}  // namespace

TEST_CASE("Scratch-E and Scratch-B start anew: by each parameter's own rule, at the pruned widths, statistics included") {
  R r;
  for (const std::uint64_t seed : {1U, 2U}) {
    auto net = used();
    if (seed == 1) ScratchE{seed}.start(r, net);
    else ScratchB{.seed = seed}.start(r, net);
    CHECK(parameter(net, "features.0.weight").shape == Shape{22, 3, 3, 3});
    check_normal(parameter(net, "features.0.weight"), std::sqrt(2.0 / (9 * 22)));
    check_normal(parameter(net, "features.3.weight"), std::sqrt(2.0 / (9 * 22)));
    check_normal(parameter(net, "features.7.weight"), std::sqrt(2.0 / (9 * 33)));
    check_normal(parameter(net, "classifier.0.weight"), 0.01);
    check_constant(parameter(net, "features.0.bias"), 0);
    check_constant(parameter(net, "features.1.weight"), 0.5F);
    check_constant(parameter(net, "features.1.bias"), 0);
    check_constant(parameter(net, "features.1.running_mean"), 0);
    check_constant(parameter(net, "features.1.running_var"), 1);
    for_each_parameter(net, [](const std::string& path, const auto& p) {
      CAPTURE(path);
      CHECK(!p.has_gradient);
    });
  }
}

TEST_CASE("a new start depends on the seed and the path, and on nothing else") {
  R r;
  auto a = used(), b = used(), c = used();
  ScratchE{3}.start(r, a);
  ScratchB{.seed = 3}.start(r, b);
  ScratchE{4}.start(r, c);
  CHECK(parameter(a, "features.3.weight") == parameter(b, "features.3.weight"));
  CHECK(parameter(a, "features.3.weight").values != parameter(c, "features.3.weight").values);
  CHECK(parameter(a, "features.3.weight").values[0] != parameter(a, "features.0.weight").values[0]);
}

TEST_CASE("fine-tuning keeps everything") {
  R r;
  auto net = used();
  FineTune{}.start(r, net);
  for (const auto& name : parameter_names(net)) check_constant(parameter(net, name), 7);
  for (const auto& name : buffer_names(net)) check_constant(parameter(net, name), 7);
}

TEST_CASE("epochs: fine-tuning has its own, Scratch-E the large network's, Scratch-B its compute") {
  const auto large = costing(300), small = costing(200);
  CHECK(FineTune{}.epochs(160, large, small) == 40);
  CHECK(FineTune{.fine_tune_epochs = 3}.epochs(160, large, small) == 3);
  CHECK(ScratchE{}.epochs(160, large, small) == 160);
  CHECK(ScratchB{}.epochs(160, large, small) == 240);
  CHECK(ScratchB{}.epochs(10, costing(199), costing(100)) == 19);  // rounded down
  // 2 per multiply-add and 2 per normalised element: (600 + 200) / (400 + 100).
  CHECK(ScratchB{.budget = ComputeBudget::rethinking_reference}.epochs(10, costing(300, 100), costing(200, 50)) == 16);
}

TEST_CASE("VGG-16-A gets 243 epochs of Scratch-B for 160, by either count") {
  R r;
  const models::Vgg<R> net(r, models::vgg16, Rng(1));
  const Shape image{1, 32, 32, 3};
  const auto large = cost<R>(net, image), small = cost<R>(shrink(r, net, plan(r, net, image, papers::li2017::vgg16_a())), image);
  CHECK(ScratchB{}.epochs(160, large, small) == 243);
  CHECK(ScratchB{.budget = ComputeBudget::rethinking_reference}.epochs(160, large, small) == 243);
}

TEST_CASE("survivor policies print as they are written") {
  CHECK(str(KeepWeights{}) == "KeepWeights{}");
  CHECK(str(Reinitialise{7}) == "Reinitialise{.seed = 7}");
  CHECK(str(FineTune{}) == "FineTune{.fine_tune_epochs = 40}");
  CHECK(str(ScratchE{.seed = 2}) == "ScratchE{.seed = 2}");
  CHECK(str(ScratchB{}) == "ScratchB{.seed = 0}");
  CHECK(str(ScratchB{.seed = 3, .budget = ComputeBudget::rethinking_reference}) == "ScratchB{.seed = 3, .budget = ComputeBudget::rethinking_reference}");
}

}  // namespace survivors_test
