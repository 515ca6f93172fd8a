// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/op/conv2d.hpp>

#include "common/gradient_check.hpp"

using namespace espalier;

namespace conv2d_test {

using test::Double;
using test::shapes;
using op::Conv2d;

static_assert(DifferentiableOp<Conv2d, Double>);

namespace {

// The same convolution without its ReLU.
Conv2d linear_part(Conv2d conv) {
  conv.activation = Activation::none;
  return conv;
}

}  // namespace

TEST_CASE("the gradients of a dense convolution agree with central differences") {
  CHECK_GRADIENT(Conv2d{.pad_h = 1, .pad_w = 1}, {{2, 4, 5, 2}, {3, 3, 2, 3}, {3}});
  CHECK_GRADIENT(Conv2d{}, {{2, 3, 4, 3}, {1, 1, 3, 2}});
  CHECK_GRADIENT(Conv2d{.stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1}, {{1, 6, 5, 2}, {3, 3, 2, 2}, {2}});
  CHECK_GRADIENT(Conv2d{.stride_h = 2, .stride_w = 3, .pad_h = 2, .pad_w = 0}, {{2, 5, 7, 2}, {5, 2, 2, 3}});
  CHECK_GRADIENT(Conv2d{.stride_h = 2, .stride_w = 2}, {{2, 4, 4, 2}, {1, 1, 2, 3}});  // reads a quarter of the map
}

TEST_CASE("the gradients of a convolution in groups agree with central differences") {
  CHECK_GRADIENT(Conv2d{.pad_h = 1, .pad_w = 1, .groups = 2}, {{2, 3, 4, 4}, {3, 3, 2, 6}, {6}});
  CHECK_GRADIENT(Conv2d{.stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1, .groups = 3}, {{1, 5, 4, 3}, {3, 3, 1, 3}});
}

TEST_CASE("the gradients of a depthwise convolution agree with central differences, several filters a channel included") {
  CHECK_GRADIENT(Conv2d{.pad_h = 1, .pad_w = 1, .depthwise = true}, {{2, 4, 3, 3}, {3, 3, 1, 3}, {3}});
  CHECK_GRADIENT(Conv2d{.stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1, .depthwise = true}, {{1, 5, 5, 2}, {3, 3, 1, 6}, {6}});
}

TEST_CASE("the gradients through a fused ReLU agree with central differences") {
  const Conv2d with_bias{.pad_h = 1, .pad_w = 1, .activation = Activation::relu}, before = linear_part(with_bias);
  CHECK_GRADIENT(with_bias, {{1, 4, 3, 2}, {3, 3, 2, 2}, {2}}, {}, &before);
  const Conv2d bare{.stride_h = 2, .stride_w = 2, .groups = 2, .activation = Activation::relu}, bare_before = linear_part(bare);
  CHECK_GRADIENT(bare, {{1, 4, 4, 2}, {2, 2, 1, 2}}, {}, &bare_before);
}

TEST_CASE("a 2x2 convolution by hand") {
  Double b;
  const auto x = Tensor<Double>::from(b, {1, 2, 3, 1}, std::vector<double>{1, 2, 3, 4, 5, 6});
  const auto w = Tensor<Double>::from(b, {2, 2, 1, 1}, std::vector<double>{1, 0, 0, -1});
  CHECK(test::result(b, Conv2d{}, {x, w}) == std::vector<double>{1 - 5, 2 - 6});  // cross-correlation: the kernel is not flipped
}

TEST_CASE("a convolution's cost is counted exactly") {
  const Conv2d conv{.pad_h = 1, .pad_w = 1, .activation = Activation::relu};
  const auto in = shapes({{2, 8, 8, 3}, {3, 3, 3, 16}, {16}});
  const OpCost cost = conv.cost(in, conv.shape(in));
  CHECK(cost.multiply_adds == 2 * 8 * 8 * 16 * 27);
  CHECK(cost.bias_adds == 2 * 8 * 8 * 16);
  CHECK(cost.relu_elements == 2 * 8 * 8 * 16);
  const auto grouped = shapes({{1, 8, 8, 4}, {3, 3, 2, 8}});
  CHECK(Conv2d{.groups = 2}.cost(grouped, {1, 6, 6, 8}).multiply_adds == 6 * 6 * 8 * 9 * 2);
  const auto depthwise = shapes({{1, 8, 8, 4}, {3, 3, 1, 4}});
  CHECK(Conv2d{.depthwise = true}.cost(depthwise, {1, 6, 6, 4}).multiply_adds == 6 * 6 * 4 * 9);
}

TEST_CASE("sizes that do not fit are errors that name the sizes") {
  CHECK_THROWS_WITH_AS(Conv2d{}.shape(shapes({{1, 8, 8, 3}, {3, 3, 4, 8}})), doctest::Contains("input has 3 channels, the weight expects 4"), ShapeError);
  CHECK_THROWS_WITH_AS(Conv2d{}.shape(shapes({{8, 8, 3}, {3, 3, 3, 8}})), doctest::Contains("needed are four axes"), ShapeError);
  CHECK_THROWS_WITH_AS(Conv2d{}.shape(shapes({{1, 2, 2, 3}, {3, 3, 3, 8}})), doctest::Contains("smaller than the 3x3 kernel"), ShapeError);
  CHECK_THROWS_WITH_AS(Conv2d{.groups = 2}.shape(shapes({{1, 8, 8, 3}, {3, 3, 1, 8}})), doctest::Contains("cannot be split into 2 groups"), ShapeError);
}

}  // namespace conv2d_test
