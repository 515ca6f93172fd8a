// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/op/attention.hpp>

#include "common/gradient_check.hpp"

using namespace espalier;

namespace attention_test {

using test::Double;
using test::shapes;
using Embedding = op::Embedding<Double>;
using Scores = op::AttentionScores<Double>;
using op::AttentionApply;
using op::Softmax;

static_assert(DifferentiableOp<Embedding, Double>);
static_assert(DifferentiableOp<Scores, Double>);
static_assert(DifferentiableOp<Softmax, Double>);
static_assert(DifferentiableOp<AttentionApply, Double>);

TEST_CASE("the gradient of an embedding agrees with central differences, also for ids that repeat or never come") {
  Double b;
  const auto ids = Ids<Double>::from(b, {2, 3}, std::vector<std::int32_t>{4, 0, 4, 1, 4, 0});
  CHECK_GRADIENT(Embedding{&ids}, {{6, 3}});
  const auto few = Ids<Double>::from(b, {2}, std::vector<std::int32_t>{1, 1});
  CHECK_GRADIENT(Embedding{&few}, {{2, 4}});
}

TEST_CASE("the gradients of attention scores agree with central differences, with and without padding") {
  Double b;
  CHECK_GRADIENT((Scores{.heads = 2}), {{2, 3, 4}, {2, 3, 4}});
  CHECK_GRADIENT((Scores{.heads = 1}), {{1, 4, 3}, {1, 4, 3}});
  const auto bias = Tensor<Double>::from(b, {2, 3}, std::vector<double>{0, 0, -3, 0, -3, -3});
  CHECK_GRADIENT((Scores{.heads = 2, .key_bias = &bias}), {{2, 3, 4}, {2, 3, 4}});
}

TEST_CASE("the gradients of softmax and of applying attention agree with central differences") {
  CHECK_GRADIENT(Softmax{}, {{3, 5}});
  CHECK_GRADIENT(Softmax{}, {{2, 2, 3, 3}});
  CHECK_GRADIENT(AttentionApply{.heads = 2}, {{2, 2, 3, 3}, {2, 3, 4}});
  CHECK_GRADIENT(AttentionApply{.heads = 3}, {{1, 3, 2, 2}, {1, 2, 6}});
}

TEST_CASE("attention of one head by hand") {
  Double b;
  const auto q = Tensor<Double>::from(b, {1, 2, 4}, std::vector<double>{1, 0, 0, 0, 0, 2, 0, 0});
  const auto k = Tensor<Double>::from(b, {1, 2, 4}, std::vector<double>{4, 0, 0, 0, 0, 6, 0, 0});
  CHECK(test::result(b, Scores{}, {q, k}) == std::vector<double>{2, 0, 0, 6});  // divided by sqrt(4)
  const auto bias = Tensor<Double>::from(b, {1, 2}, std::vector<double>{0, -100});
  CHECK(test::result(b, Scores{.heads = 1, .key_bias = &bias}, {q, k}) == std::vector<double>{2, -100, 0, -94});
  const auto p = Tensor<Double>::from(b, {1, 1, 2, 2}, std::vector<double>{0.25, 0.75, 1, 0});
  const auto v = Tensor<Double>::from(b, {1, 2, 1}, std::vector<double>{4, 8});
  CHECK(test::result(b, AttentionApply{}, {p, v}) == std::vector<double>{7, 4});
}

TEST_CASE("a padded key takes no part: its softmax weight is zero") {
  Double b;
  Rng rng(1);
  const auto q = test::spread(b, {1, 3, 4}, rng), k = test::spread(b, {1, 3, 4}, rng);
  const auto bias = Tensor<Double>::from(b, {1, 3}, std::vector<double>{0, 0, -1e9});
  const auto scores = Tensor<Double>::from(b, {1, 2, 3, 3}, test::result(b, Scores{.heads = 2, .key_bias = &bias}, {q, k}));
  const auto p = test::result(b, Softmax{}, {scores});
  for (std::size_t row = 0; row < 6; ++row) {
    CHECK(p[row * 3 + 2] == 0);
    CHECK(p[row * 3] + p[row * 3 + 1] == doctest::Approx(1));
  }
}

TEST_CASE("attention's sizes are checked") {
  CHECK_THROWS_WITH_AS((Scores{.heads = 3}.shape(shapes({{1, 2, 4}, {1, 2, 4}}))), doctest::Contains("for 3 heads"), ShapeError);
  CHECK_THROWS_AS((Scores{.heads = 2}.shape(shapes({{1, 2, 4}, {1, 3, 4}}))), ShapeError);
  CHECK_THROWS_AS((AttentionApply{.heads = 2}.shape(shapes({{1, 2, 3, 3}, {1, 2, 4}}))), ShapeError);
  Double b;
  const auto bias = Tensor<Double>::zeros(b, {1, 3});
  CHECK_THROWS_AS((Scores{.heads = 2, .key_bias = &bias}.shape(shapes({{1, 2, 4}, {1, 2, 4}}))), ShapeError);
  const auto ids = Ids<Double>::from(b, {1}, std::vector<std::int32_t>{0});
  CHECK_THROWS_AS(Embedding{&ids}.shape(shapes({{4}})), ShapeError);
}

}  // namespace attention_test
