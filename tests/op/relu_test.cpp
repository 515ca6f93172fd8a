// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <limits>

#include <espalier/op/relu.hpp>

#include "common/gradient_check.hpp"

using namespace espalier;

namespace relu_test {

using test::Double;

static_assert(DifferentiableOp<op::Relu, Double>);

TEST_CASE("the gradient of a ReLU agrees with central differences") {
  CHECK_GRADIENT(op::Relu{}, {{3, 5}});
  CHECK_GRADIENT(op::Relu{}, {{2, 3, 3, 2}});
}

TEST_CASE("a ReLU is zero at zero and below, and so is its slope") {
  Double b;
  Tape<Double> tape(b);
  const auto x = tape.variable(Tensor<Double>::from(b, {4}, std::vector<double>{-1, -0.0, 0, 2}));
  const auto y = tape.apply(op::Relu{}, x);
  CHECK(y.value().to_host(b) == std::vector<double>{0, 0, 0, 2});
  const auto ones = Tensor<Double>::full(b, {4}, 1);
  tape.backward(tape.apply(test::Project{&ones}, y));
  CHECK(x.gradient().to_host(b) == std::vector<double>{0, 0, 0, 1});
}

TEST_CASE("the gradient before a fused activation is masked where the result is zero") {
  Double b;
  const auto y = Tensor<Double>::from(b, {3}, std::vector<double>{0, 1, 2}), dy = Tensor<Double>::from(b, {3}, std::vector<double>{5, 6, 7});
  CHECK(op::before_activation(b, Activation::relu, y, dy).to_host(b) == std::vector<double>{0, 6, 7});
  CHECK(op::before_activation(b, Activation::none, y, dy).to_host(b) == std::vector<double>{5, 6, 7});
}

}  // namespace relu_test
