// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/op/loss.hpp>

#include "common/gradient_check.hpp"

using namespace espalier;

namespace loss_test {

using test::Double;
using test::shapes;
using CrossEntropy = op::CrossEntropy<Double>;
using op::MeanSquaredError;

static_assert(DifferentiableOp<CrossEntropy, Double>);
static_assert(DifferentiableOp<MeanSquaredError, Double>);

TEST_CASE("the gradients of the losses agree with central differences") {
  Double b;
  const auto labels = Ids<Double>::from(b, {4}, std::vector<std::int32_t>{2, 0, 4, 2});
  CHECK_GRADIENT(CrossEntropy{&labels}, {{4, 5}});
  CHECK_GRADIENT(MeanSquaredError{}, {{3, 4}, {3, 4}});
  CHECK_GRADIENT(MeanSquaredError{}, {{2, 2, 3}, {2, 2, 3}});
}

TEST_CASE("the cross-entropy of equal logits is log of the classes, and large logits stay finite") {
  Double b;
  const auto labels = Ids<Double>::from(b, {2}, std::vector<std::int32_t>{1, 3});
  CHECK(test::result(b, CrossEntropy{&labels}, {Tensor<Double>::full(b, {2, 8}, 3)})[0] == doctest::Approx(std::log(8.0)).epsilon(1e-14));
  const auto extreme = Tensor<Double>::from(b, {2, 4}, std::vector<double>{0, 1e4, 0, -1e4, 0, 0, 0, 1e4});
  CHECK(test::result(b, CrossEntropy{&labels}, {extreme})[0] == 0);
  const auto wrong = Tensor<Double>::from(b, {2, 4}, std::vector<double>{1e4, 0, 0, 0, 1e4, 0, 0, 0});
  CHECK(test::result(b, CrossEntropy{&labels}, {wrong})[0] == 1e4);
}

TEST_CASE("the mean squared error divides by the elements") {
  Double b;
  const auto x = Tensor<Double>::from(b, {2, 2}, std::vector<double>{1, 2, 3, 4}), y = Tensor<Double>::from(b, {2, 2}, std::vector<double>{1, 0, 3, 8});
  CHECK(test::result(b, MeanSquaredError{}, {x, y})[0] == 5);
}

TEST_CASE("losses of shapes that do not fit are errors") {
  Double b;
  const auto labels = Ids<Double>::from(b, {3}, std::vector<std::int32_t>{1, 2, 0});
  CHECK_THROWS_WITH_AS(CrossEntropy{&labels}.shape(shapes({{4, 5}})), doctest::Contains("3 labels"), ShapeError);
  CHECK_THROWS_AS(MeanSquaredError{}.shape(shapes({{4, 5}, {5, 4}})), ShapeError);
}

}  // namespace loss_test
