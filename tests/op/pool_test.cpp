// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/op/pool.hpp>

#include "common/gradient_check.hpp"

using namespace espalier;
using namespace espalier::op;

namespace pool_test {

using test::Double;
using test::shapes;

static_assert(DifferentiableOp<MaxPool, Double>);
static_assert(DifferentiableOp<AvgPool, Double>);
static_assert(DifferentiableOp<GlobalAvgPool, Double>);

TEST_CASE("the gradients of max pooling agree with central differences") {
  CHECK_GRADIENT(MaxPool{}, {{2, 4, 6, 3}});
  CHECK_GRADIENT(MaxPool{{.kernel = 2}}, {{1, 5, 5, 2}});                            // the last row and column are not read
  CHECK_GRADIENT(MaxPool{{.kernel = 3, .stride = 2, .pad = 1}}, {{2, 5, 6, 2}});     // windows overlap
  CHECK_GRADIENT(MaxPool{{.kernel = 3, .stride = 1, .pad = 1}}, {{1, 4, 3, 2}});
}

TEST_CASE("the gradients of average pooling agree with central differences") {
  CHECK_GRADIENT(AvgPool{}, {{2, 4, 4, 3}});
  CHECK_GRADIENT(AvgPool{{.kernel = 3, .stride = 2, .pad = 1}}, {{2, 5, 6, 2}});
  CHECK_GRADIENT(GlobalAvgPool{}, {{2, 3, 5, 4}});
}

TEST_CASE("pooling by hand: padding never wins a maximum and counts in an average's divisor") {
  Double b;
  const auto x = Tensor<Double>::from(b, {1, 2, 2, 1}, std::vector<double>{-1, -2, -3, -4});
  const Window padded{.kernel = 2, .stride = 2, .pad = 1};
  CHECK(test::result(b, MaxPool{padded}, {x}) == std::vector<double>{-1, -2, -3, -4});
  CHECK(test::result(b, AvgPool{padded}, {x}) == std::vector<double>{-0.25, -0.5, -0.75, -1});
  CHECK(test::result(b, MaxPool{}, {x}) == std::vector<double>{-1});
  CHECK(test::result(b, GlobalAvgPool{}, {x}) == std::vector<double>{-2.5});
}

TEST_CASE("of equal values the first takes the whole gradient") {
  Double b;
  Tape<Double> tape(b);
  const auto x = tape.variable(Tensor<Double>::full(b, {1, 2, 2, 1}, 7));
  const auto one = Tensor<Double>::full(b, {1, 1, 1, 1}, 1);
  tape.backward(tape.apply(test::Project{&one}, tape.apply(MaxPool{}, x)));
  CHECK(x.gradient().to_host(b) == std::vector<double>{1, 0, 0, 0});
}

TEST_CASE("a window larger than its map is an error") {
  CHECK_THROWS_WITH_AS(MaxPool{}.shape(shapes({{1, 1, 4, 3}})), doctest::Contains("does not fit a map of 1x4"), ShapeError);
  CHECK_THROWS_AS(AvgPool{}.shape(shapes({{4, 3}})), ShapeError);
  CHECK_THROWS_AS(GlobalAvgPool{}.shape(shapes({{4, 3}})), ShapeError);
  CHECK(MaxPool{{.kernel = 3, .stride = 2, .pad = 1}}.shape(shapes({{2, 5, 6, 2}})) == Shape{2, 3, 3, 2});
}

}  // namespace pool_test
