// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/op/linear.hpp>

#include "common/gradient_check.hpp"

using namespace espalier;

namespace linear_test {

using test::Double;
using test::shapes;
using op::Linear;

static_assert(DifferentiableOp<Linear, Double>);

TEST_CASE("the gradients of a linear map of rows agree with central differences") {
  CHECK_GRADIENT(Linear{}, {{4, 3}, {3, 5}, {5}});
  CHECK_GRADIENT(Linear{}, {{4, 3}, {3, 5}});
  CHECK_GRADIENT(Linear{}, {{1, 7}, {7, 1}, {1}});
}

TEST_CASE("the gradients of a linear map of sequences agree with central differences") {
  CHECK_GRADIENT(Linear{}, {{2, 3, 4}, {4, 5}, {5}});
}

TEST_CASE("the gradients through a linear map's fused ReLU agree with central differences") {
  const Linear before{};
  CHECK_GRADIENT(Linear{Activation::relu}, {{4, 3}, {3, 5}, {5}}, {}, &before);
  CHECK_GRADIENT(Linear{Activation::relu}, {{2, 3, 4}, {4, 2}}, {}, &before);
}

TEST_CASE("y = x W + b by hand, and its cost") {
  Double b;
  const auto x = Tensor<Double>::from(b, {1, 2}, std::vector<double>{1, 2});
  const auto w = Tensor<Double>::from(b, {2, 3}, std::vector<double>{1, 0, -1, 0, 2, -3});
  const auto bias = Tensor<Double>::from(b, {3}, std::vector<double>{10, 20, 0});
  CHECK(test::result(b, Linear{}, {x, w, bias}) == std::vector<double>{11, 24, -7});
  CHECK(test::result(b, Linear{Activation::relu}, {x, w, bias}) == std::vector<double>{11, 24, 0});
  const auto in = shapes({{2, 3, 4}, {4, 5}, {5}});
  CHECK(Linear{}.cost(in, {2, 3, 5}).multiply_adds == 6 * 4 * 5);
}

TEST_CASE("a linear map of another width is an error that names both") {
  CHECK_THROWS_WITH_AS(Linear{}.shape(shapes({{4, 3}, {5, 2}})), doctest::Contains("the input has 3 channels, the weight expects 5"), ShapeError);
}

}  // namespace linear_test
