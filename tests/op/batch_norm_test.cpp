// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/op/batch_norm.hpp>

#include "common/gradient_check.hpp"

using namespace espalier;

namespace batch_norm_test {

using test::Double;
using test::shapes;
using Norm = op::BatchNorm<Double>;

static_assert(DifferentiableOp<Norm, Double>);

namespace {

Norm batch(Activation activation = Activation::none) { return {.statistics = Statistics::batch, .activation = activation}; }

struct Running {
  Double b;
  Buffer<Double> mean{Tensor<Double>::from(b, {3}, std::vector<double>{0.3, -0.2, 0.1})};
  Buffer<Double> var{Tensor<Double>::from(b, {3}, std::vector<double>{0.5, 2, 1.25})};
  Norm norm(Activation activation = Activation::none) {
    return {.statistics = Statistics::running, .activation = activation, .running_mean = &mean, .running_var = &var};
  }
};

}  // namespace

TEST_CASE("the gradients of a batch norm with batch statistics agree with central differences") {
  CHECK_GRADIENT(batch(), {{6, 3}, {3}, {3}});                              // 1-D
  CHECK_GRADIENT(batch(), {{2, 3, 2, 3}, {3}, {3}});                        // 2-D
  CHECK_GRADIENT(batch(), {{2, 3, 2, 3}, {3}, {3}, {2, 3, 2, 3}});          // and a residual
  CHECK_GRADIENT(Norm{.eps = 0.5, .statistics = Statistics::batch}, {{2, 3}, {3}, {3}});
}

TEST_CASE("the gradients of a batch norm with running statistics agree with central differences") {
  Running r;
  CHECK_GRADIENT(r.norm(), {{4, 3}, {3}, {3}});
  CHECK_GRADIENT(r.norm(), {{2, 2, 2, 3}, {3}, {3}, {2, 2, 2, 3}});
}

TEST_CASE("the gradients through a batch norm's fused ReLU agree with central differences") {
  Running r;
  const Norm plain = batch(), running = r.norm();
  CHECK_GRADIENT(batch(Activation::relu), {{6, 3}, {3}, {3}}, {}, &plain);
  CHECK_GRADIENT(batch(Activation::relu), {{2, 2, 3, 2}, {2}, {2}, {2, 2, 3, 2}}, {}, &plain);
  CHECK_GRADIENT(r.norm(Activation::relu), {{4, 3}, {3}, {3}}, {}, &running);
  CHECK_GRADIENT(r.norm(Activation::relu), {{4, 3}, {3}, {3}, {4, 3}}, {}, &running);
}

TEST_CASE("two values a channel, by hand: they become -1 and 1, and the running statistics move by the momentum") {
  Double b;
  Buffer<Double> mean{Tensor<Double>::from(b, {1}, std::vector<double>{10})}, var{Tensor<Double>::from(b, {1}, std::vector<double>{1})};
  const Norm norm{.eps = 0, .momentum = 0.25, .statistics = Statistics::batch, .running_mean = &mean, .running_var = &var, .update_mean = &mean, .update_var = &var};
  const auto x = Tensor<Double>::from(b, {2, 1}, std::vector<double>{1, 5});
  const auto gamma = Tensor<Double>::from(b, {1}, std::vector<double>{2}), beta = Tensor<Double>::from(b, {1}, std::vector<double>{0.5});
  CHECK(test::result(b, norm, {x, gamma, beta}) == std::vector<double>{-1.5, 2.5});
  CHECK(mean.value.to_host(b)[0] == doctest::Approx(0.75 * 10 + 0.25 * 3));
  CHECK(var.value.to_host(b)[0] == doctest::Approx(0.75 * 1 + 0.25 * 8));  // unbiased: (4 + 4) / 1
  const Norm applied{.eps = 0, .running_mean = &mean, .running_var = &var};
  CHECK(test::result(b, applied, {x, gamma, beta})[0] == doctest::Approx((1 - 8.25) / std::sqrt(2.75) * 2 + 0.5));
  CHECK(mean.value.to_host(b)[0] == doctest::Approx(8.25));  // untouched by applying
}

TEST_CASE("a single value a channel has no batch statistics, and says what to do") {
  Double b;
  const auto one = Tensor<Double>::full(b, {1, 2}, 1);
  const auto gamma = Tensor<Double>::full(b, {2}, 1);
  CHECK_THROWS_WITH_AS(test::result(b, batch(), {one, gamma, gamma}), doctest::Contains("use a larger batch or evaluate"), ShapeError);
  CHECK_THROWS_WITH_AS(batch().shape(shapes({{4, 3}, {2}, {2}})), doctest::Contains("3 channels, the layer 2"), ShapeError);
  CHECK_THROWS_AS(batch().shape(shapes({{4, 3}, {3}, {3}, {2, 3}})), ShapeError);
}

}  // namespace batch_norm_test
