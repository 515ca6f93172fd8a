// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/op/dropout.hpp>

#include "common/gradient_check.hpp"

using namespace espalier;

namespace dropout_test {

using test::Double;
using op::Dropout;

static_assert(DifferentiableOp<Dropout, Double>);

TEST_CASE("the gradient of dropout with a fixed key agrees with central differences") {
  CHECK_GRADIENT((Dropout{.probability = 0.5, .key = 3}), {{4, 7}});
  CHECK_GRADIENT((Dropout{.probability = 0.1, .key = 4}), {{2, 3, 5}});
}

TEST_CASE("dropout keeps the expected share and scales what it keeps") {
  Double b;
  const auto ones = Tensor<Double>::full(b, {100000}, 1);
  const auto y = test::result(b, Dropout{.probability = 0.25, .key = 9}, {ones});
  Index dropped = 0;
  for (double v : y) {
    REQUIRE((v == 0 || v == 1 / 0.75));
    dropped += v == 0 ? 1 : 0;
  }
  CHECK(std::abs(static_cast<double>(dropped) / 1e5 - 0.25) < 0.007);  // five standard errors
  CHECK(test::result(b, Dropout{.probability = 0.25, .key = 9}, {ones}) == y);
  CHECK(test::result(b, Dropout{.probability = 0.25, .key = 10}, {ones}) != y);
}

TEST_CASE("dropout with probability zero is the identity") {
  Double b;
  Rng rng(1);
  const auto x = test::spread(b, {50}, rng);
  CHECK(test::result(b, Dropout{.probability = 0, .key = 1}, {x}) == x.to_host(b));
}

}  // namespace dropout_test
