// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/op/layer_norm.hpp>

#include "common/gradient_check.hpp"

using namespace espalier;

namespace layer_norm_test {

using test::Double;
using op::LayerNorm;

static_assert(DifferentiableOp<LayerNorm, Double>);

TEST_CASE("the gradients of a layer norm agree with central differences") {
  CHECK_GRADIENT(LayerNorm{}, {{4, 5}, {5}, {5}});
  CHECK_GRADIENT(LayerNorm{.eps = 1e-12}, {{2, 3, 4}, {4}, {4}});
  CHECK_GRADIENT(LayerNorm{.eps = 0.1}, {{3, 2}, {2}, {2}});
}

TEST_CASE("a row of two becomes -1 and 1, scaled and shifted") {
  Double b;
  const auto x = Tensor<Double>::from(b, {1, 2}, std::vector<double>{3, 7});
  const auto gamma = Tensor<Double>::from(b, {2}, std::vector<double>{2, 10}), beta = Tensor<Double>::from(b, {2}, std::vector<double>{1, 0});
  CHECK(test::result(b, LayerNorm{.eps = 0}, {x, gamma, beta}) == std::vector<double>{-1, 10});
  CHECK_THROWS_AS(LayerNorm{}.shape(test::shapes({{4, 3}, {2}, {2}})), ShapeError);
}

}  // namespace layer_norm_test
