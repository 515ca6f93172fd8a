// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <vector>

#include <espalier/backend/reference.hpp>
#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>

using namespace espalier;

namespace layers_test {

namespace {

struct Fixture {
  Reference b;
  Rng rng{1};
  Tensor<Reference> values(const Shape& shape) {
    std::vector<float> v(static_cast<std::size_t>(shape.count()));
    for (float& x : v) x = rng.normal();
    return Tensor<Reference>::from(b, shape, v);
  }
};

double deviation(const std::vector<float>& v) {
  double squares = 0;
  for (float x : v) squares += static_cast<double>(x) * static_cast<double>(x);
  return std::sqrt(squares / static_cast<double>(v.size()));
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "layers have PyTorch's shapes outside") {
  CHECK(Conv2d<Reference>(b, 6, 8, {.kernel = 5}, rng).weight.outside_shape() == Shape{8, 6, 5, 5});
  CHECK(Conv2d<Reference>(b, 6, 8, {.groups = 2}, rng).weight.outside_shape() == Shape{8, 3, 3, 3});
  CHECK(Conv2d<Reference>(b, 6, 12, {.depthwise = true}, rng).weight.outside_shape() == Shape{12, 1, 3, 3});
  CHECK(Linear<Reference>(b, 3, 5, {}, rng).weight.outside_shape() == Shape{5, 3});
  CHECK(Conv2d<Reference>(b, 2, 4, {}, rng).bias.has_value() == false);
  CHECK(Linear<Reference>(b, 3, 5, {.bias = Bias::none}, rng).bias.has_value() == false);
  CHECK_THROWS_AS((Conv2d<Reference>(b, 6, 8, {.groups = 4}, rng)), ShapeError);
  CHECK_THROWS_AS((Conv2d<Reference>(b, 6, 8, {.depthwise = true}, rng)), ShapeError);
}

TEST_CASE_FIXTURE(Fixture, "initial weights have the deviations that the papers say") {
  const auto conv = [&](Init init) { return deviation(to_host(b, Conv2d<Reference>(b, 16, 64, {.init = init}, rng).weight).values); };
  CHECK(conv(Init::he_normal_fan_in) == doctest::Approx(std::sqrt(2.0 / (16 * 9))).epsilon(0.03));
  CHECK(conv(Init::he_normal_fan_out) == doctest::Approx(std::sqrt(2.0 / (64 * 9))).epsilon(0.03));
  CHECK(conv(Init::xavier_normal) == doctest::Approx(std::sqrt(2.0 / (80 * 9))).epsilon(0.03));
  CHECK(conv(Init::uniform_fan_in) == doctest::Approx(1 / std::sqrt(3.0 * 16 * 9)).epsilon(0.03));
  CHECK(conv(Init::normal_1e_2) == doctest::Approx(0.01).epsilon(0.03));
  CHECK(conv(Init::normal_2e_2) == doctest::Approx(0.02).epsilon(0.03));
  CHECK(conv(Init::half) == 0.5);
  const Linear<Reference> linear(b, 100, 40, {.bias = Bias::uniform_fan_in, .init = Init::uniform_fan_in}, rng);
  for (float v : to_host(b, linear.weight).values) CHECK(std::abs(v) <= 0.1f);
  for (float v : to_host(b, *linear.bias).values) CHECK(std::abs(v) <= 0.1f);
  CHECK(deviation(to_host(b, *linear.bias).values) > 0.03);
  CHECK(deviation(to_host(b, *Linear<Reference>(b, 10, 4, {}, rng).bias).values) == 0);
}

TEST_CASE_FIXTURE(Fixture, "the same stream gives the same weights on every backend") {
  BasicReference<double> other;
  Rng first(5), second(5);
  const Conv2d<Reference> a(b, 3, 4, {.bias = Bias::uniform_fan_in}, first);
  const Conv2d<BasicReference<double>> c(other, 3, 4, {.bias = Bias::uniform_fan_in}, second);
  CHECK(to_host(b, a.weight) == to_host(other, c.weight));
  CHECK(to_host(b, *a.bias) == to_host(other, *c.bias));
}

TEST_CASE_FIXTURE(Fixture, "a batch norm updates its running statistics on a training tape only, and not if it is const") {
  BatchNorm<Reference> norm(b, 2);
  const auto x = values({50, 2});
  const auto mean = [&] { return norm.running_mean.value.to_host(b); };
  CHECK(mean() == std::vector<float>{0, 0});
  Tape<Reference> evaluation(b, {.training = false});
  forward(evaluation, norm, evaluation.input(x));
  predict(b, norm, x);
  Tape<Reference> training(b);
  forward(training, std::as_const(norm), training.input(x));
  Trace<Reference> trace;
  forward(trace, norm, trace.input({50, 2}));
  CHECK(mean() == std::vector<float>{0, 0});
  forward(training, norm, training.input(x));
  CHECK(mean() != std::vector<float>{0, 0});
  CHECK(norm.running_var.value.to_host(b) != std::vector<float>{1, 1});
}

TEST_CASE_FIXTURE(Fixture, "an untrained batch norm evaluates to its input, but for eps") {
  const BatchNorm<Reference> norm(b, 3);
  const auto x = values({4, 3});
  const auto y = predict(b, norm, x).to_host(b), expected = x.to_host(b);
  for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i] == doctest::Approx(expected[i]).epsilon(1e-4));
  CHECK(BatchNorm<Reference>(b, 3, Init::half).weight.value.to_host(b) == std::vector<float>{0.5f, 0.5f, 0.5f});
}

TEST_CASE_FIXTURE(Fixture, "dropout acts on a training tape only; each use draws another mask, equal streams equal masks") {
  const Dropout dropout{0.5};
  const auto x = Tensor<Reference>::full(b, {100}, 1);
  const auto draw = [&](Tape<Reference>& tape) { return forward(tape, dropout, tape.input(x)).value().to_host(b); };
  Tape<Reference> a(b, {.training = true, .dropout = Rng(1)}), c(b, {.training = true, .dropout = Rng(1)}), evaluation(b, {.training = false});
  const auto first = draw(a), second = draw(a);
  CHECK(std::set<float>(first.begin(), first.end()) == std::set<float>{0, 2});
  CHECK(first != second);
  CHECK(draw(c) == first);
  CHECK(draw(c) == second);
  CHECK(draw(evaluation) == x.to_host(b));
  CHECK(predict(b, dropout, x).to_host(b) == x.to_host(b));
}

// There one number decided for all modules of a pass.
TEST_CASE_FIXTURE(Fixture, "two dropouts in one pass draw different masks (BERT-of-Theseus, bert-of-theseus-tf#2)") {
  const Dropout first{0.5}, second{0.5};
  Tape<Reference> tape(b, {.training = true, .dropout = Rng(1)});
  const auto x = tape.input(Tensor<Reference>::full(b, {1000}, 1));
  const auto kept_by_first = forward(tape, first, x).value().to_host(b), kept_by_second = forward(tape, second, x).value().to_host(b);
  int equal = 0;
  for (std::size_t i = 0; i < 1000; ++i) equal += kept_by_first[i] == kept_by_second[i] ? 1 : 0;
  CHECK(std::abs(equal - 500) < 80);  // five standard errors
}

TEST_CASE_FIXTURE(Fixture, "a frozen model gives what prediction gives, again and again") {
  const Conv2d<Reference> conv(b, 3, 4, {.bias = Bias::uniform_fan_in}, rng);
  const auto x = values({2, 5, 5, 3});
  const auto expected = predict(b, conv, x).to_host(b);
  Frozen<Reference, Conv2d<Reference>> frozen(b, conv);
  CHECK(frozen(x).to_host(b) == expected);
  CHECK(frozen(x).to_host(b) == expected);
}

TEST_CASE_FIXTURE(Fixture, "a dry run refuses layers that do not fit, and leaves the model as it is") {
  const Conv2d<Reference> conv(b, 3, 4, {}, rng);
  CHECK_THROWS_AS(dry_run<Reference>(conv, {1, 8, 8, 2}), ShapeError);
  const auto trace = dry_run<Reference>(conv, {1, 8, 8, 3});
  CHECK(trace.ops().size() == 1);
  CHECK(trace.graph().frozen().size() == 3 + 4);  // input and output
}

}  // namespace layers_test
