// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/op/flatten.hpp>

#include "common/gradient_check.hpp"

using namespace espalier;
using namespace espalier::op;

namespace flatten_test {

using test::Double;
using test::shapes;

static_assert(DifferentiableOp<Flatten, Double>);
static_assert(DifferentiableOp<Concat, Double>);
static_assert(DifferentiableOp<PadChannels, Double>);
static_assert(DifferentiableOp<SelectRow, Double>);

TEST_CASE("the gradients of ops that move values agree with central differences") {
  CHECK_GRADIENT(Flatten{}, {{2, 3, 4, 2}});
  CHECK_GRADIENT(Concat{}, {{2, 3, 2}, {2, 3, 4}});
  CHECK_GRADIENT(Concat{}, {{2, 2, 3, 1}, {2, 2, 3, 3}, {2, 2, 3, 2}});
  CHECK_GRADIENT(SelectRow{}, {{2, 3, 4}});
  CHECK_GRADIENT(SelectRow{.position = 2}, {{2, 3, 4}});
  const Extent none{0}, two{2}, three{3};
  CHECK_GRADIENT((PadChannels{.stride = 1, .before = &none, .after = &two}), {{2, 3, 4, 2}});
  CHECK_GRADIENT((PadChannels{.stride = 2, .before = &two, .after = &three}), {{2, 3, 5, 2}});  // odd maps
  CHECK_GRADIENT((PadChannels{.stride = 2, .before = &two, .after = &two}), {{1, 4, 4, 3}});
}

TEST_CASE("flatten orders features by channel, then row, then column, as PyTorch does") {
  Double b;
  const auto x = Tensor<Double>::from(b, {1, 2, 3, 2}, std::vector<double>{0, 10, 1, 11, 2, 12, 3, 13, 4, 14, 5, 15});
  CHECK(Flatten{}.shape(shapes({x.shape()})) == Shape{1, 12});
  CHECK(test::result(b, Flatten{}, {x}) == std::vector<double>{0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15});
  CHECK_THROWS_AS(Flatten{}.shape(shapes({{2, 3}})), ShapeError);
}

TEST_CASE("concat puts channels side by side, padding puts zeros around them, a row is selected") {
  Double b;
  const auto x = Tensor<Double>::from(b, {2, 1}, std::vector<double>{1, 2}), y = Tensor<Double>::from(b, {2, 2}, std::vector<double>{3, 4, 5, 6});
  CHECK(test::result(b, Concat{}, {x, y}) == std::vector<double>{1, 3, 4, 2, 5, 6});
  CHECK_THROWS_WITH_AS(Concat{}.shape(shapes({{2, 1}, {3, 1}})), doctest::Contains("all axes but the channels must be equal"), ShapeError);
  const Extent one{1}, two{2};
  const auto map = Tensor<Double>::from(b, {1, 3, 3, 1}, std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8, 9});
  const PadChannels pad{.stride = 2, .before = &one, .after = &two};
  CHECK(pad.shape(shapes({map.shape()})) == Shape{1, 2, 2, 4});
  CHECK(test::result(b, pad, {map}) == std::vector<double>{0, 1, 0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0});
  const auto sequence = Tensor<Double>::from(b, {2, 2, 1}, std::vector<double>{1, 2, 3, 4});
  CHECK(test::result(b, SelectRow{.position = 1}, {sequence}) == std::vector<double>{2, 4});
  CHECK_THROWS_AS(SelectRow{.position = 2}.shape(shapes({sequence.shape()})), ShapeError);
}

}  // namespace flatten_test
