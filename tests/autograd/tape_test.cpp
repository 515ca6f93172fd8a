// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include <espalier/autograd/eval.hpp>
#include <espalier/op/add.hpp>
#include <espalier/op/gelu.hpp>
#include <espalier/op/linear.hpp>
#include <espalier/op/loss.hpp>

#include "common/gradient_check.hpp"

using namespace espalier;

namespace tape_test {

using test::Double;

namespace {

struct Fixture {
  Double b;
  Tape<Double> tape{b};
  Rng rng{7};

  Parameter<Double> parameter(const Shape& shape) { return {test::spread(b, shape, rng), Layout::plain}; }
  Tensor<Double> values(const Shape& shape) { return test::spread(b, shape, rng); }
};

// d f / d p by central differences, f recomputing the whole loss.
template <class F>
std::vector<double> numeric(Parameter<Double>& p, F f) {
  std::vector<double> slopes;
  for (Index i = 0; i < p.value.count(); ++i) {
    double& v = p.value.data()[i];
    const double old = v, h = 6e-6;
    v = old + h;
    const double above = f();
    v = old - h;
    const double below = f();
    v = old;
    slopes.push_back((above - below) / (2 * h));
  }
  return slopes;
}

void check_close(const std::vector<double>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-7));
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "a parameter used twice on one tape gets the sum of both gradients") {
  auto w = parameter({3, 3});
  const auto x = values({2, 3}), target = values({2, 3});
  const auto loss = [&](Tape<Double>& t) {
    return t.apply(op::MeanSquaredError{}, t.apply(op::Linear{}, t.apply(op::Tanh{}, t.apply(op::Linear{}, t.input(x), w)), w), t.input(target));
  };
  tape.backward(loss(tape));
  const auto found = w.gradient.to_host(b);
  check_close(found, numeric(w, [&] {
                Tape<Double> again(b);
                return loss(again).value().item(b);
              }));
}

TEST_CASE_FIXTURE(Fixture, "a value used by two ops gets the sum of both gradients") {
  const auto x = tape.variable(Tensor<Double>::from(b, {1}, std::vector<double>{0.5}));
  const auto t = tape.apply(op::Tanh{}, x);
  tape.backward(tape.apply(op::WeightedSum{.weight_a = 2, .weight_b = 1}, t, tape.apply(op::Gelu{}, t)));
  const double u = std::tanh(0.5), slope_tanh = 1 - u * u;
  const double slope_gelu = op::detail::ExactGelu::slope(u);
  CHECK(x.gradient().item(b) == doctest::Approx(slope_tanh * (2 + slope_gelu)).epsilon(1e-14));
}

TEST_CASE_FIXTURE(Fixture, "gradients add up over backward passes until they are consumed") {
  auto w = parameter({3, 2});
  const auto x1 = values({4, 3}), x2 = values({4, 3}), target = values({4, 2});
  const auto backward = [&](const Tensor<Double>& x) {
    tape.backward(tape.apply(op::MeanSquaredError{}, tape.apply(op::Linear{}, tape.input(x), w), tape.input(target)));
    tape.clear();
    return w.gradient.to_host(b);
  };
  const auto first = backward(x1);
  auto both = backward(x2);
  w.has_gradient = false;  // as an optimiser does
  const auto second = backward(x2);
  for (std::size_t i = 0; i < both.size(); ++i) CHECK(both[i] == doctest::Approx(first[i] + second[i]).epsilon(1e-14));
}

TEST_CASE_FIXTURE(Fixture, "a const parameter is frozen: it gets no gradient, and passes one on") {
  auto w = parameter({3, 3});
  const auto frozen = parameter({3, 2});
  const auto target = values({2, 2});
  tape.backward(tape.apply(op::MeanSquaredError{}, tape.apply(op::Linear{}, tape.apply(op::Linear{}, tape.input(values({2, 3})), w), frozen), tape.input(target)));
  CHECK(w.has_gradient);
  CHECK_FALSE(frozen.has_gradient);
  CHECK_FALSE(frozen.gradient.has_elements());
}

TEST_CASE_FIXTURE(Fixture, "nothing upstream of frozen parameters alone is differentiated") {
  const auto frozen = parameter({3, 2});
  const auto hidden = tape.keep(tape.apply(op::Linear{}, tape.input(values({2, 3})), frozen));
  tape.backward(tape.apply(op::MeanSquaredError{}, hidden, tape.variable(values({2, 2}))));
  CHECK_FALSE(hidden.gradient().has_elements());
}

TEST_CASE_FIXTURE(Fixture, "a kept result has its value and gradient after the backward pass, others release theirs") {
  auto w = parameter({3, 3});
  const auto x = tape.input(values({2, 3}));
  const auto first = tape.apply(op::Linear{}, x, w);
  const auto kept = tape.keep(tape.apply(op::Tanh{}, first));
  const auto target = values({2, 3});
  const auto loss = tape.apply(op::MeanSquaredError{}, kept, tape.input(target));
  tape.backward(loss);
  REQUIRE(kept.gradient().shape() == Shape{2, 3});
  const auto value = kept.value().to_host(b), goal = target.to_host(b), gradient = kept.gradient().to_host(b);
  for (std::size_t i = 0; i < 6; ++i) CHECK(gradient[i] == doctest::Approx(2 * (value[i] - goal[i]) / 6).epsilon(1e-14));
  CHECK_FALSE(first.value().has_elements());
  CHECK_FALSE(first.gradient().has_elements());
  CHECK(loss.value().count() == 1);  // a loop reads it after the backward pass
}

TEST_CASE_FIXTURE(Fixture, "results that the loss does not depend on are harmless") {
  auto w = parameter({2, 2}), unused = parameter({2, 2});
  const auto x = tape.input(values({3, 2}));
  tape.apply(op::Linear{}, x, unused);
  const auto loss = tape.apply(op::MeanSquaredError{}, tape.apply(op::Linear{}, x, w), tape.input(values({3, 2})));
  tape.apply(op::Linear{}, x, unused);
  tape.backward(loss);
  CHECK(w.has_gradient);
  CHECK_FALSE(unused.has_gradient);
}

TEST_CASE_FIXTURE(Fixture, "a backward pass starts from a scalar") {
  CHECK_THROWS_WITH_AS(tape.backward(tape.input(values({2, 2}))), doctest::Contains("scalar loss"), ShapeError);
}

TEST_CASE_FIXTURE(Fixture, "a tape can be read: op names, values and first parameters, in order") {
  auto w = parameter({3, 2});
  const auto h = tape.apply(op::Linear{}, tape.input(values({4, 3})), w);
  tape.apply(op::Tanh{}, h);
  std::vector<std::string> names;
  std::vector<const Parameter<Double>*> parameters;
  tape.for_each([&](std::size_t, std::string_view name, const Tensor<Double>& value, const Parameter<Double>* first) {
    names.emplace_back(name);
    parameters.push_back(first);
    CHECK(value.has_elements());
  });
  CHECK(names == std::vector<std::string>{"input", "linear", "tanh"});
  CHECK(parameters == std::vector<const Parameter<Double>*>{nullptr, &w, nullptr});
  CHECK(tape.size() == 3);
  tape.clear();
  CHECK(tape.size() == 0);
}

TEST_CASE_FIXTURE(Fixture, "a long tape spans many chunks of memory and still differentiates") {
  const auto x = tape.variable(Tensor<Double>::full(b, {1}, 1));
  auto y = x;
  for (int i = 0; i < 2000; ++i) y = tape.apply(op::WeightedSum{.weight_a = 0.5, .weight_b = 0.5}, y, y);
  tape.backward(y);
  CHECK(x.gradient().item(b) == doctest::Approx(1).epsilon(1e-12));
}

TEST_CASE_FIXTURE(Fixture, "inference gives the tape's values and records nothing") {
  const auto w = parameter({3, 2});
  const auto x = values({4, 3});
  Eval<Double> eval(b);
  const auto plain = eval.apply(op::Linear{Activation::relu}, x, w);
  CHECK(plain.to_host(b) == tape.apply(op::Linear{Activation::relu}, tape.input(x), w).value().to_host(b));
  static_assert(std::is_same_v<decltype(eval)::Value, Tensor<Double>>);
}

}  // namespace tape_test
