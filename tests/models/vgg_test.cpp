// SPDX-License-Identifier: Apache-2.0
// VGG against counts from its table of widths, PyTorch's names, and the initial weights of the papers.
#include <doctest/doctest.h>

#include <espalier/models/vgg.hpp>

#include "checks.hpp"

using namespace espalier;
using namespace espalier::test;
using models::Vgg;
using models::VggHead;
using R = Reference;

namespace {

// Simonyan & Zisserman 2015, table 1, columns A, B, D, E: convolutions per stage.
struct Column {
  const models::VggConfig& config;
  std::array<int, 5> convolutions;
  Index parameters;              // with the hidden linear layer, no convolution biases: Li et al.
  Index parameters_with_biases;  // with one linear layer: as in the unstructured experiments (VGG-19: 20.04M)
};
const Column columns[] = {{models::vgg11, {1, 1, 2, 2, 2}, 9'492'042, 9'231'114},
                          {models::vgg13, {2, 2, 2, 2, 2}, 9'676'746, 9'416'010},
                          {models::vgg16, {2, 2, 3, 3, 3}, 14'987'722, 14'728'266},
                          {models::vgg19, {2, 2, 4, 4, 4}, 20'298'698, 20'040'522}};

Index by_formula(const std::array<int, 5>& convolutions, bool hidden, bool bias) {
  Index count = 0, in = 3, width = 64;
  for (const int layers : convolutions) {
    for (int i = 0; i < layers; ++i) {
      count += 9 * in * width + 2 * width + (bias ? width : 0);
      in = width;
    }
    width = std::min<Index>(2 * width, 512);
  }
  if (hidden) count += 512 * 512 + 512 + 2 * 512;
  return count + 512 * 10 + 10;
}

const models::VggConfig small{.stages = {{8, 6}, {10}}, .hidden = 12, .classes = 4, .in = 2};

}  // namespace

TEST_CASE("VGG-11, 13, 16 and 19 have the parameters of the literature and of the formula") {
  R r;
  for (const auto& column : columns) {
    CAPTURE(column.parameters);
    CHECK(by_formula(column.convolutions, true, false) == column.parameters);
    CHECK(by_formula(column.convolutions, false, true) == column.parameters_with_biases);
    auto config = column.config;
    CHECK(parameter_count(Vgg<R>(r, config, Rng(1))) == column.parameters);
    config.head = VggHead::linear;
    config.conv_bias = Bias::zeros;
    CHECK(parameter_count(Vgg<R>(r, config, Rng(1))) == column.parameters_with_biases);
  }
}

TEST_CASE("images of any size that survives the poolings become logits") {
  R r;
  const Vgg<R> net(r, small, Rng(1));
  for (const Index side : {2, 5, 28}) CHECK(predict(r, net, Tensor<R>::zeros(r, {3, side, side, 2})).shape() == Shape{3, 4});
  CHECK_THROWS_AS(predict(r, net, Tensor<R>::zeros(r, {1, 1, 1, 2})), ShapeError);
  CHECK_THROWS_WITH_AS(predict(r, net, Tensor<R>::zeros(r, {1, 8, 8, 3})), doctest::Contains("the input has 3 channels, the weight expects 2"), ShapeError);
}

TEST_CASE("parameters and buffers have the names of PyTorch's Sequential, in its order") {
  R r;
  check_names(Vgg<R>(r, {.stages = {{4}, {4}, {4}}, .hidden = 4}, Rng(1)), "small_vgg.safetensors");
  CHECK(parameter_names(Vgg<R>(r, {.stages = {{4, 4}, {4}}, .head = VggHead::linear, .conv_bias = Bias::zeros}, Rng(1))) ==
        Names{"features.0.weight", "features.0.bias", "features.1.weight", "features.1.bias", "features.3.weight", "features.3.bias", "features.4.weight",
              "features.4.bias", "features.7.weight", "features.7.bias", "features.8.weight", "features.8.bias", "classifier.weight", "classifier.bias"});
}

TEST_CASE("convolutions start as N(0, 2 / (9 out)), linear layers as N(0, 0.01), batch norms at 0.5 (the head's at 1) and 0") {
  R r;
  const Vgg<R> net(r, {.stages = {{32, 32}, {64}}, .hidden = 128}, Rng(5));
  for (const auto& name : parameter_names(net)) {
    CAPTURE(name);
    const HostTensor t = parameter(net, name);
    if (t.shape.rank() == 4) check_normal(t, std::sqrt(2.0 / static_cast<double>(9 * t.shape[0])));
    else if (t.shape.rank() == 2) check_normal(t, 0.01);
    else check_constant(t, name == "classifier.1.weight" ? 1.0F : name.ends_with(".weight") ? 0.5F : 0.0F);
  }
  for (const auto& name : buffer_names(net)) check_constant(parameter(net, name), name.ends_with(".running_var") ? 1.0F : 0.0F);
}

TEST_CASE("the unstructured experiments' form starts from fan-in and scales of 1") {
  R r;
  const Vgg<R> net(r, {.stages = {{32}, {64}}, .head = VggHead::linear, .conv_bias = Bias::zeros, .conv_init = Init::he_normal_fan_in, .gamma = Init::ones}, Rng(5));
  check_normal(parameter(net, "features.4.weight"), std::sqrt(2.0 / (9 * 32)));
  check_constant(parameter(net, "features.5.weight"), 1);
  check_constant(parameter(net, "features.4.bias"), 0);
}

TEST_CASE("a copied VGG is a value, and seeds say how it starts") {
  R r;
  check_copy(Vgg<R>(r, small, Rng(1)), {2, 8, 8, 2});
  check_seeds<Vgg<R>>(small);
}
