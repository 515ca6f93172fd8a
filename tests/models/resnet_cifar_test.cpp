// SPDX-License-Identifier: Apache-2.0
// The CIFAR ResNets against He et al.'s counts, PyTorch's names and the weights that others trained.
#include <doctest/doctest.h>

#include <map>

#include <espalier/models/resnet_cifar.hpp>

#include "checks.hpp"

using namespace espalier;
using namespace espalier::test;

namespace resnet_cifar_test {

using models::ResNetCifar;
using models::ShortcutA;
using R = Reference;

namespace {

// Depth 6n + 2: a stem, three stages of 2n convolutions each followed by batch norm, a linear layer.
struct ByFormula {
  Index parameters = 0, multiply_adds = 0;
  explicit ByFormula(Index depth) {
    const Index n = (depth - 2) / 6;
    const auto conv = [&](Index in, Index out, Index side) {
      parameters += 9 * in * out + 2 * out;
      multiply_adds += 9 * in * out * side * side;
    };
    conv(3, 16, 32);
    Index in = 16, side = 32;
    for (const Index width : {Index{16}, Index{32}, Index{64}}) {
      if (width > 16) side /= 2;
      for (Index block = 0; block < n; ++block) {
        conv(in, width, side);
        conv(width, width, side);
        in = width;
      }
    }
    parameters += 64 * 10 + 10;
    multiply_adds += 64 * 10;
  }
};

}  // namespace

TEST_CASE("ResNet-20 to 110 have the parameters of He et al.'s table 6 and of the formula") {
  R r;
  struct Row {
    int depth;
    Index parameters;
    double millions;  // as printed
  };
  for (const Row row : {Row{20, 269'722, 0.27}, {32, 464'154, 0.46}, {44, 658'586, 0.66}, {56, 853'018, 0.85}, {110, 1'727'962, 1.7}})
    for (const ShortcutA form : {ShortcutA::pad_both_sides, ShortcutA::pad_after}) {
      CAPTURE(row.depth);
      const ResNetCifar<R> net(r, {.depth = row.depth, .shortcut = form}, Rng(1));
      const ByFormula expected(row.depth);
      const NetworkCost c = cost<R>(net, {1, 32, 32, 3});
      CHECK(c.parameters == row.parameters);
      CHECK(c.parameters == expected.parameters);
      CHECK(c.multiply_adds == expected.multiply_adds);
      CHECK(std::abs(static_cast<double>(c.parameters) * 1e-6 - row.millions) < (row.depth == 110 ? 0.05 : 0.005));
    }
}

TEST_CASE("both shortcuts make images of any even size into logits") {
  R r;
  for (const ShortcutA form : {ShortcutA::pad_both_sides, ShortcutA::pad_after})
    for (const Index side : {8, 12, 32}) {
      const ResNetCifar<R> net(r, {.depth = 8, .shortcut = form, .widths = {4, 6, 8}, .classes = 7, .in = 2}, Rng(1));
      CHECK(predict(r, net, Tensor<R>::zeros(r, {3, side, side, 2})).shape() == Shape{3, 7});
    }
}

TEST_CASE("the shortcut's zero channels lie on both sides, or after") {
  R r;
  const ResNetCifar<R> both(r, {.depth = 8}, Rng(1)), after(r, {.depth = 8, .shortcut = ShortcutA::pad_after}, Rng(1));
  CHECK(both.layers[1][0].shortcut->pad_before.value == 8);
  CHECK(both.layers[1][0].shortcut->pad_after.value == 8);
  CHECK(after.layers[2][0].shortcut->pad_before.value == 0);
  CHECK(after.layers[2][0].shortcut->pad_after.value == 32);
  CHECK(!both.layers[0][0].shortcut);
}

TEST_CASE("parameters and buffers have PyTorch's names, in its order") {
  R r;
  check_names(ResNetCifar<R>(r, {.depth = 20}, Rng(1)), "resnet20_pad_both_sides.safetensors");
  check_names(ResNetCifar<R>(r, {.depth = 20, .shortcut = ShortcutA::pad_after}, Rng(1)), "resnet20_average_then_pad_after.safetensors");
}

TEST_CASE("the trained ResNet-20 and ResNet-56 of others have our names, order and shapes") {
  const auto folder = data_folder("models");
  if (!folder) return;
  R r;
  for (const int depth : {20, 56}) {
    CAPTURE(depth);
    const char* file_name = depth == 20 ? "resnet20-12fca82f.safetensors" : "resnet56-4bfd9763.safetensors";
    const ResNetCifar<R> net(r, {.depth = depth}, Rng(1));
    const auto file = SafetensorsFile::read((*folder / file_name).string());
    std::map<std::string, Shape> ours;
    for_each_member(net, [&](const std::string& path, const auto& member) {
      if constexpr (requires { to_host(r, member); }) ours[path] = to_host(r, member).shape;
    });
    CHECK(file.entries().size() == ours.size());
    for (const auto& entry : file.entries()) {
      const std::string name(entry.name);
      CAPTURE(name);
      REQUIRE(ours.count(name) == 1);
      CHECK(ours.at(name) == Shape(std::span<const Index>(entry.shape)));
    }
  }
}

TEST_CASE("convolutions start as N(0, 2 / (9 out)), batch norms at 1 and 0, the head uniform") {
  R r;
  const ResNetCifar<R> net(r, {.depth = 20}, Rng(3));
  for (const auto& name : parameter_names(net)) {
    CAPTURE(name);
    const HostTensor t = parameter(net, name);
    if (t.shape.rank() == 4) check_normal(t, std::sqrt(2.0 / static_cast<double>(9 * t.shape[0])));
    else if (name.find("bn") != std::string::npos) check_constant(t, name.ends_with(".weight") ? 1.0F : 0.0F);
  }
  for (const auto& name : buffer_names(net)) check_constant(parameter(net, name), name.ends_with(".running_var") ? 1.0F : 0.0F);
  const Moments head = moments(parameter(net, "linear.weight")), bias = moments(parameter(net, "linear.bias"));
  CHECK(head.largest <= 0.125);  // 1 / sqrt(64)
  CHECK(head.deviation == doctest::Approx(0.125 / std::sqrt(3.0)).epsilon(0.08));
  CHECK(bias.largest <= 0.125);
  CHECK(bias.largest > 0.01);
}

TEST_CASE("a copied ResNet is a value, and seeds say how it starts") {
  R r;
  const models::ResNetConfig small{.depth = 8, .widths = {4, 8, 16}};
  check_copy(ResNetCifar<R>(r, small, Rng(1)), {2, 8, 8, 3});
  check_seeds<ResNetCifar<R>>(small);
}

TEST_CASE("a depth that is not 6n + 2 is an error that lists the usual ones") {
  R r;
  for (const int depth : {-4, 0, 2, 7, 18, 52, 57}) {
    CAPTURE(depth);
    CHECK_THROWS_WITH_AS((ResNetCifar<R>(r, {.depth = depth}, Rng(1))),
                         str("a CIFAR ResNet has 6n + 2 layers (20, 32, 44, 56, 110); ", depth, " was asked for").c_str(), ShapeError);
  }
}

TEST_CASE("an image of other channels is an error that says which were expected") {
  R r;
  const ResNetCifar<R> net(r, {.depth = 8}, Rng(1));
  CHECK_THROWS_WITH_AS(predict(r, net, Tensor<R>::zeros(r, {1, 8, 8, 1})), doctest::Contains("the input has 1 channels, the weight expects 3"), ShapeError);
}

}  // namespace resnet_cifar_test
