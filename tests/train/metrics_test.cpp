// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <limits>

#include <espalier/backend/reference.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/train/metrics.hpp>

#include "toys.hpp"

using namespace espalier;

namespace metrics_test {

TEST_CASE("a row counts as correct if its label has the largest value, ties going to the lower class") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto one = [](std::vector<float> row, std::int32_t label) {
    return correct_rows(std::span<const float>(row), std::span<const std::int32_t>(&label, 1));
  };
  CHECK(one({1, 3, 2}, 1) == 1);
  CHECK(one({1, 3, 2}, 2) == 0);
  CHECK(one({3, 3, 2}, 0) == 1);
  CHECK(one({3, 3, 2}, 1) == 0);
  CHECK(one({2, 3, 3}, 1) == 1);
  CHECK(one({2, 3, 3}, 2) == 0);
  CHECK(one({nan, nan, nan}, 0) == 0);
  CHECK(one({1, nan, 0}, 0) == 0);
  CHECK(one({1, 2}, 7) == 0);
  CHECK(correct_rows(std::span<const float>(), std::span<const std::int32_t>()) == 0);
}

TEST_CASE("an evaluation is the same for any batch size and equals a computation by hand") {
  Reference b;
  const auto set = test::toy_images(23, 5);
  const test::ToyNet<Reference> net(b, Rng(1));
  const Evaluation whole = evaluate(b, net, set, test::toy_channels(), 23);
  CHECK(whole.count == 23);
  double loss = 0;
  Index correct = 0;
  for (Index i = 0; i < 23; ++i) {
    std::vector<float> pixels;
    for (const std::uint8_t v : set.image(i)) pixels.push_back(static_cast<float>((v / 255.0 - double{0.3f}) / double{0.3f}));
    const auto y = predict(b, net, Tensor<Reference>::from(b, {1, 6, 6, 1}, pixels)).to_host(b);
    double total = 0;
    for (const float v : y) total += std::exp(static_cast<double>(v));
    const auto label = static_cast<std::size_t>(set.label(i));
    loss += std::log(total) - static_cast<double>(y[label]);
    correct += static_cast<std::size_t>(std::max_element(y.begin(), y.end()) - y.begin()) == label;
  }
  CHECK(whole.correct == correct);
  CHECK(whole.accuracy == static_cast<double>(correct) / 23);
  CHECK(whole.loss == doctest::Approx(loss / 23).epsilon(1e-6));
  CHECK(evaluate(b, net, set, test::toy_channels(), 5) == whole);
  CHECK(evaluate(b, net, set, test::toy_channels(), 1000) == whole);
}

TEST_CASE("a label that the network has no class for is an error, not a read outside") {
  Reference b;
  auto set = test::toy_images(4, 5);
  const models::Mlp<Reference> net(b, {36, 2}, Rng(1));
  set.labels[2] = 2;
  CHECK_THROWS_WITH_AS(evaluate(b, net, set, test::toy_channels()), doctest::Contains("found label 2, the network has 2 classes"), ShapeError);
}

TEST_CASE("evaluate refuses a batch below one and constants for other channels") {
  Reference b;
  const auto set = test::toy_images(4, 5);
  const test::ToyNet<Reference> net(b, Rng(1));
  CHECK_THROWS_AS(evaluate(b, net, set, test::toy_channels(), 0), PolicyError);
  CHECK_THROWS_AS(evaluate(b, net, set, data::cifar10_channels()), PolicyError);
}

}  // namespace metrics_test
