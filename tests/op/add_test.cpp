// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/op/add.hpp>

#include "common/gradient_check.hpp"

using namespace espalier;
using namespace espalier::op;

namespace add_test {

using test::Double;
using test::shapes;

static_assert(DifferentiableOp<Add, Double>);
static_assert(DifferentiableOp<WeightedSum, Double>);

TEST_CASE("the gradients of sums agree with central differences") {
  const Add plain{};
  CHECK_GRADIENT(Add{}, {{2, 3, 2}, {2, 3, 2}});
  CHECK_GRADIENT(Add{Activation::relu}, {{2, 3, 2}, {2, 3, 2}}, {}, &plain);
  CHECK_GRADIENT((WeightedSum{.weight_a = 0.25, .weight_b = -3}), {{1}, {1}});
  CHECK_GRADIENT((WeightedSum{.weight_a = 2, .weight_b = 0.5}), {{2, 3}, {2, 3}});
}

TEST_CASE("one value added to itself has gradient two") {
  Double b;
  Tape<Double> tape(b);
  const auto x = tape.variable(Tensor<Double>::full(b, {1}, 3));
  tape.backward(tape.apply(Add{}, x, x));
  CHECK(x.gradient().item(b) == 2);
}

TEST_CASE("sums of different shapes are errors that ask about the residual group") {
  CHECK_THROWS_WITH_AS(Add{}.shape(shapes({{2, 3}, {2, 4}})), doctest::Contains("Was only one side of a residual group shrunk?"), ShapeError);
  CHECK_THROWS_AS(WeightedSum{}.shape(shapes({{2}, {1}})), ShapeError);
}

}  // namespace add_test
