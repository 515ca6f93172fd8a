// SPDX-License-Identifier: Apache-2.0
// Multilayer perceptrons: shapes, names, initial weights, errors.
#include <doctest/doctest.h>

#include <espalier/models/mlp.hpp>

#include "checks.hpp"

using namespace espalier;
using namespace espalier::test;

namespace mlp_test {

using models::Mlp;
using R = Reference;

TEST_CASE("LeNet-300-100 takes images or rows and returns ten logits") {
  R r;
  const Mlp<R> net(r, models::lenet_300_100, Rng(1));
  CHECK(predict(r, net, Tensor<R>::zeros(r, {2, 28, 28, 1})).shape() == Shape{2, 10});
  CHECK(predict(r, net, Tensor<R>::zeros(r, {2, 784})).shape() == Shape{2, 10});
  CHECK(cost<R>(net, {1, 784}).multiply_adds == 266'200);
}

TEST_CASE("parameters have PyTorch's names, in its order") {
  R r;
  check_names(Mlp<R>(r, models::lenet_300_100, Rng(1)), "lenet300100_sgd.safetensors");
}

TEST_CASE("weights start as Xavier normal, biases at zero") {
  R r;
  const Mlp<R> net(r, models::lenet_300_100, Rng(4));
  check_normal(parameter(net, "fc1.weight"), std::sqrt(2.0 / (784 + 300)));
  check_normal(parameter(net, "fc2.weight"), std::sqrt(2.0 / (300 + 100)));
  check_normal(parameter(net, "fc3.weight"), std::sqrt(2.0 / (100 + 10)));
  for (const char* bias : {"fc1.bias", "fc2.bias", "fc3.bias"}) check_constant(parameter(net, bias), 0);
}

TEST_CASE("a copied Mlp is a value, and seeds say how it starts") {
  R r;
  check_copy(Mlp<R>(r, {6, 5, 4}, Rng(1)), {2, 6});
  check_seeds<Mlp<R>>(std::vector<Index>{6, 5, 4});
}

TEST_CASE("an Mlp without two widths, or with an input of another width, is an error") {
  R r;
  CHECK_THROWS_WITH_AS((Mlp<R>(r, {784}, Rng(1))), "an Mlp needs an input and an output width, 1 were given", ShapeError);
  CHECK_THROWS_AS((Mlp<R>(r, {}, Rng(1))), ShapeError);
  const Mlp<R> net(r, {6, 3}, Rng(1));
  CHECK_THROWS_WITH_AS(predict(r, net, Tensor<R>::zeros(r, {2, 5})), doctest::Contains("the input has 5 channels, the weight expects 6"), ShapeError);
}

}  // namespace mlp_test
