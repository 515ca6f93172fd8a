// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/op/gelu.hpp>

#include "common/gradient_check.hpp"

using namespace espalier;

namespace gelu_test {

using test::Double;

static_assert(DifferentiableOp<op::Gelu, Double>);
static_assert(DifferentiableOp<op::GeluTanh, Double>);
static_assert(DifferentiableOp<op::Tanh, Double>);

TEST_CASE("the gradients of smooth activations agree with central differences") {
  CHECK_GRADIENT(op::Gelu{}, {{4, 6}});
  CHECK_GRADIENT(op::GeluTanh{}, {{4, 6}});
  CHECK_GRADIENT(op::Tanh{}, {{4, 6}});
}

TEST_CASE("smooth activations have their known values, and are zero at zero") {
  Double b;
  const auto x = Tensor<Double>::from(b, {4}, std::vector<double>{0, 1, -1, 3});
  const auto exact = test::result(b, op::Gelu{}, {x}), approximate = test::result(b, op::GeluTanh{}, {x}), tanh = test::result(b, op::Tanh{}, {x});
  CHECK(exact[0] == 0);
  CHECK(exact[1] == doctest::Approx(0.8413447460685429).epsilon(1e-14));  // Phi(1)
  CHECK(exact[2] == doctest::Approx(-0.15865525393145707).epsilon(1e-14));
  CHECK(exact[3] == doctest::Approx(3 * 0.9986501019683699).epsilon(1e-14));
  CHECK(approximate[0] == 0);
  CHECK(approximate[1] == doctest::Approx(0.8411919906082768).epsilon(1e-14));
  for (std::size_t i = 0; i < 4; ++i) CHECK(std::abs(approximate[i] - exact[i]) < 5e-4);
  CHECK(tanh[0] == 0);
  CHECK(tanh[1] == doctest::Approx(0.7615941559557649).epsilon(1e-14));
}

}  // namespace gelu_test
