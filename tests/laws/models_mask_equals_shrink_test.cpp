// SPDX-License-Identifier: Apache-2.0
// Law: masked and shrunk models of the zoo compute the same; and masking the filters alone does not.
#include <doctest/doctest.h>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/models/convnet.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/models/resnet_cifar.hpp>
#include <espalier/models/vgg.hpp>
#include <espalier/prune/filter_l1.hpp>

#include "agreement.hpp"

using namespace espalier;
using namespace espalier::test;

namespace models_mask_equals_shrink_test {

using C = EigenCpu;

namespace {

template <class Net>
void check(C& c, Net net, const Shape& image, const FilterL1& policy, std::uint64_t seed) {
  season(c, net, image, seed);
  const Plan p = plan(c, net, image, policy);
  check_agreement(c, net, p);
  check_plan(c, net, p);
}

}  // namespace

TEST_CASE("random VGGs agree masked and shrunk") {
  C c;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    CAPTURE(seed);
    Rng rng = Rng(seed).split("vgg");
    models::VggConfig config{.stages = {}, .hidden = 24};
    const auto depth = 1 + rng.below(3);
    for (std::uint32_t stage = 0; stage < depth; ++stage) {
      auto& widths = config.stages.emplace_back();
      for (std::uint32_t i = 0; i <= rng.below(2); ++i) widths.push_back(5 + rng.below(30));
    }
    config.head = rng.bernoulli(0.5) ? models::VggHead::hidden : models::VggHead::linear;
    config.conv_bias = rng.bernoulli(0.5) ? Bias::uniform_fan_in : Bias::none;
    check(c, models::Vgg<C>(c, config, rng), {1, 16, 16, 3},
          {.amount = Fraction{0.2 + 0.5 * rng.uniform_double()}, .linear = rng.bernoulli(0.5) ? LinearLayers::prune : LinearLayers::keep}, seed);
  }
}

TEST_CASE("ResNets of either shortcut agree masked and shrunk, their residual groups pruned too") {
  C c;
  for (const auto form : {models::ShortcutA::pad_both_sides, models::ShortcutA::pad_after})
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      CAPTURE(static_cast<int>(form));
      CAPTURE(seed);
      const models::ResNetConfig config{.depth = seed == 0 ? 20 : 8, .shortcut = form, .widths = {8, 16, 32}};
      const models::ResNetCifar<C> net(c, config, Rng(seed));
      check(c, net, {1, 16, 16, 3}, {.amount = Fraction{0.3 + 0.1 * static_cast<double>(seed)}}, seed);
      check(c, net, {1, 16, 16, 3}, {.amount = Global{.remove = 0.4}, .keep_at_least = 1}, seed);
    }
}

TEST_CASE("networks with biases and flattened maps agree masked and shrunk, linear units included") {
  C c;
  const models::ConvNetConfig config{.stages = {{12, 10}, {14}}, .hidden = {20, 16}, .image = 12, .in = 2};
  for (const auto linear : {LinearLayers::keep, LinearLayers::prune}) {
    check(c, models::ConvNet<C>(c, config, Rng(1)), {1, 12, 12, 2}, {.amount = Fraction{0.5}, .linear = linear}, 1);
    check(c, models::ConvNet<C>(c, models::lenet_5, Rng(2)), {1, 28, 28, 1}, {.amount = Fraction{0.3}, .linear = linear, .selection = Selection::greedy}, 2);
  }
  check(c, models::Mlp<C>(c, models::lenet_300_100, Rng(3)), {1, 784}, {.amount = Fraction{0.5}, .linear = LinearLayers::prune}, 3);
}

// The mistake that the law is there for: a batch norm's shift passes through the ReLU of a zeroed filter (NNI#2130).
TEST_CASE("zeroing filters alone is not pruning when a batch norm with a shift follows") {
  C c;
  const Shape image{1, 16, 16, 3};
  models::Vgg<C> net(c, {.stages = {{16, 16}, {16}}, .hidden = 16}, Rng(1));
  season(c, net, image, 1);
  const auto outputs = [&](const models::Vgg<C>& n) { return predict(c, n, random_images(c, image.with(0, 4), Rng(2))).to_host(c); };
  const auto only_filters = [&](models::Vgg<C> n, const Plan& p) {
    const auto dead = detail::slices_of<C>(n, p, [](ChannelRole role) { return role == ChannelRole::producer; });
    for_each_parameter(n, [&](const std::string& path, auto& parameter) {
      const auto found = dead.of.find(path);
      if (found == dead.of.end()) return;
      HostTensor host = to_host(c, parameter);
      for (const auto& [axis, removed] : found->second) detail::silence(host, axis, removed);
      parameter.value = from_host(c, host, parameter.layout);
    });
    return n;
  };
  const Plan p = plan(c, net, image, FilterL1{.amount = Fraction{0.5}});
  CHECK(difference(outputs(only_filters(net, p)), outputs(shrink(c, net, p))) > 1e-2);

  // Without shifts, and with running means of zero, it would have been the same.
  for_each_member(net, [&](const std::string& path, auto& member) {
    if constexpr (requires { member.value.data(); })
      if (path.ends_with(".bias") || path.ends_with(".running_mean")) member.value = Tensor<C>::zeros(c, member.value.shape());
  });
  CHECK(difference(outputs(only_filters(net, p)), outputs(shrink(c, net, p))) <= 1e-5);
}

}  // namespace models_mask_equals_shrink_test
