// SPDX-License-Identifier: Apache-2.0
// The lottery paper's convolutional nets and LeNet-5: shapes, names, initial weights, errors.
#include <doctest/doctest.h>

#include <espalier/models/convnet.hpp>

#include "checks.hpp"

using namespace espalier;
using namespace espalier::test;

namespace convnet_test {

using models::ConvNet;
using R = Reference;

namespace {

const models::ConvNetConfig small{.stages = {{6, 4}, {5}}, .hidden = {7}, .image = 8, .in = 2, .classes = 3};

}  // namespace

TEST_CASE("Conv-2, 4, 6 and LeNet-5 make their images into ten logits") {
  R r;
  for (const auto* config : {&models::conv_2, &models::conv_4, &models::conv_6, &models::lenet_5}) {
    const ConvNet<R> net(r, *config, Rng(1));
    const Trace<R> trace = dry_run<R>(net, {2, config->image, config->image, config->in});
    CHECK(trace.ops().back().out == Shape{2, 10});
  }
}

TEST_CASE("Conv-2 has no batch norm: convolution, convolution, pool, then 16,384 features to 256, 256 and 10") {
  R r;
  const ConvNet<R> net(r, models::conv_2, Rng(1));
  CHECK(parameter_names(net) == Names{"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "fc3.weight", "fc3.bias"});
  CHECK(parameter(net, "fc1.weight").shape == Shape{256, 64 * 16 * 16});
  CHECK(parameter(net, "fc3.weight").shape == Shape{10, 256});
  CHECK(buffer_names(net).empty());
}

TEST_CASE("LeNet-5 is 20 and 50 filters of 5x5, then 800 features to 500 and 10, with ReLU after the hidden layer alone") {
  R r;
  const ConvNet<R> net(r, models::lenet_5, Rng(1));
  CHECK(parameter(net, "conv1.weight").shape == Shape{20, 1, 5, 5});
  CHECK(parameter(net, "conv2.weight").shape == Shape{50, 20, 5, 5});
  CHECK(parameter(net, "fc1.weight").shape == Shape{500, 800});
  CHECK(cost<R>(net, {1, 28, 28, 1}).details.relu_elements == 500);
}

TEST_CASE("weights start as Xavier normal, biases at zero") {
  R r;
  const ConvNet<R> net(r, {.stages = {{16, 24}}, .hidden = {40}, .image = 8}, Rng(2));
  check_normal(parameter(net, "conv1.weight"), std::sqrt(2.0 / (9 * 3 + 9 * 16)));
  check_normal(parameter(net, "conv2.weight"), std::sqrt(2.0 / (9 * 16 + 9 * 24)));
  check_normal(parameter(net, "fc1.weight"), std::sqrt(2.0 / (24 * 16 + 40)));
  check_normal(parameter(net, "fc2.weight"), std::sqrt(2.0 / (40 + 10)));
  for (const char* bias : {"conv1.bias", "conv2.bias", "fc1.bias", "fc2.bias"}) check_constant(parameter(net, bias), 0);
}

TEST_CASE("a copied ConvNet is a value, and seeds say how it starts") {
  R r;
  check_copy(ConvNet<R>(r, small, Rng(1)), {2, 8, 8, 2});
  check_seeds<ConvNet<R>>(small);
}

TEST_CASE("images too small for the stages are an error") {
  R r;
  auto config = models::conv_6;
  config.image = 4;
  CHECK_THROWS_WITH_AS((ConvNet<R>(r, config, Rng(1))), "images of 4x4 are too small for these stages", ShapeError);
  config = models::lenet_5;
  config.image = 3;
  CHECK_THROWS_AS((ConvNet<R>(r, config, Rng(1))), ShapeError);
}

}  // namespace convnet_test
