// SPDX-License-Identifier: Apache-2.0
// Compares an op's hand-derived gradients with central differences, in double over the reference
// backend. The tape is driven as models drive it: operands as variables, as parameters that already
// hold a gradient, and one at a time, so that every path a backward pass may take is compared.
#pragma once

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <vector>

#include <espalier/autograd/tape.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/tensor/rng.hpp>

namespace espalier::test {

using Double = BasicReference<double>;

inline Shapes shapes(std::initializer_list<Shape> all) {
  Shapes s;
  for (const Shape& shape : all) s.push(shape);
  return s;
}

/// An op's result on operands given as host values.
template <class Op>
std::vector<double> result(Double& b, const Op& op, const std::vector<Tensor<Double>>& operands) {
  Inputs<Double> in;
  for (const auto& operand : operands) in.push(operand);
  typename Op::template Saved<Double> saved{};
  return op.forward(b, in, saved).to_host(b);
}

/// loss = sum of y * weights: turns any result into a scalar whose gradient tests all of it.
struct Project {
  const Tensor<Double>* weights = nullptr;

  static constexpr std::string_view name = "project";
  template <Backend B> struct Saved {};
  struct Term {
    double operator()(Index, const double& y, const double& w) const { return y * w; }
  };
  struct Scale {
    double by;
    void operator()(Index, double& d, const double& w) const { d = by * w; }
  };
  Shape shape(const Shapes&) const { return {1}; }
  Tensor<Double> forward(Double& b, const Inputs<Double>& in, Saved<Double>&) const {
    auto loss = Tensor<Double>::empty(b, {1});
    b.sum(in[0].count(), Term{}, loss.data(), in[0].data(), weights->data());
    return loss;
  }
  void backward(Double& b, const Inputs<Double>& in, const Tensor<Double>&, const Saved<Double>&, const Tensor<Double>& dy, Gradients<Double>& d) const {
    if (!d.wants(0)) return;
    auto dx = Tensor<Double>::empty(b, in[0].shape());
    b.each(dx.count(), Scale{dy.item(b)}, dx.data(), weights->data());
    d.give(0, std::move(dx));
  }
  void channels(ChannelFlow& flow) const { flow.barrier(1, "a loss"); }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }
};

/// Values spread evenly over [-1, 1] in random order: distinct by 2 / n and never nearer to 0 than 1 / n,
/// so that no ReLU or maximum of them sits on its kink.
inline std::vector<double> spread(Index n, Rng& rng) {
  std::vector<double> values(static_cast<std::size_t>(n));
  // An even count keeps the middle value off 0.
  const double slots = static_cast<double>(n + n % 2);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = (2 * static_cast<double>(i) + 1) / slots - 1;
  for (std::size_t i = values.size(); i > 1; --i) std::swap(values[i - 1], values[rng.below(static_cast<std::uint32_t>(i))]);
  return values;
}

inline Tensor<Double> spread(Double& b, const Shape& shape, Rng& rng) { return Tensor<Double>::from(b, shape, spread(shape.count(), rng)); }

/// The worst disagreement found.
struct GradientReport {
  double error = 0;  // |analytic - numeric| relative to the larger of the two; of those below a thousandth of the largest, to that
  std::string where = "everything agrees";
};

/// The bound that every op must meet.
inline constexpr double gradient_tolerance = 1e-6;

/// Where the operands come from.
struct GradientOptions {
  std::uint64_t seed = 1;
  std::vector<int> positive{};  // operands drawn from [1/2, 3/2], such as variances and scales
};

namespace detail {

template <class Op, class Operand>
Var<Double> apply_all(Tape<Double>& tape, const Op& op, std::vector<Operand>& x) {
  switch (x.size()) {
    case 1: return tape.apply(op, x[0]);
    case 2: return tape.apply(op, x[0], x[1]);
    case 3: return tape.apply(op, x[0], x[1], x[2]);
    case 4: return tape.apply(op, x[0], x[1], x[2], x[3]);
    default: throw ShapeError(str("the gradient check applies ops to one to four operands, not ", x.size()));
  }
}

template <class Op>
double projected(Double& b, const Op& op, const std::vector<Tensor<Double>>& x, const Tensor<Double>& weights) {
  const auto y = result(b, op, x);
  double total = 0;
  for (std::size_t i = 0; i < y.size(); ++i) total += y[i] * weights.data()[i];
  return total;
}

inline void compare(const std::vector<double>& expected, const std::vector<double>& found, std::string_view what, std::size_t operand, GradientReport& report) {
  if (expected.size() != found.size()) {
    report = {1e300, str("operand ", operand, ", ", what, ": a gradient of ", found.size(), " elements, expected ", expected.size())};
    return;
  }
  double largest = 0.1;
  for (double e : expected) largest = std::max(largest, std::abs(e));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    double error = std::abs(expected[i] - found[i]) / std::max({std::abs(expected[i]), std::abs(found[i]), 1e-3 * largest});
    if (!std::isfinite(error)) error = 1e300;
    if (error > report.error)
      report = {error, str("operand ", operand, ", element ", i, ", ", what, ": analytic ", found[i], ", expected ", expected[i])};
  }
}

// True if a ReLU behind this op would be well away from its kink everywhere.
template <class Op>
bool off_the_kink(Double& b, const Op& op, const std::vector<Tensor<Double>>& x) {
  for (double y : result(b, op, x))
    if (std::abs(y) < 1e-3) return false;
  return true;
}

}  // namespace detail

/// Every operand's gradient, with h = 6e-6 max(1, |x|). `before_relu` is the same op without its fused
/// activation, or null: operands are drawn again until its results keep away from 0.
template <class Op>
GradientReport check_gradient(const Op& op, const std::vector<Shape>& operand_shapes, const GradientOptions& options = {}, const Op* before_relu = nullptr) {
  Double b;
  Rng rng(options.seed);
  std::vector<Tensor<Double>> x;
  for (int attempt = 0; attempt < 1000; ++attempt) {
    x.clear();
    for (const Shape& shape : operand_shapes) x.push_back(spread(b, shape, rng));
    for (int i : options.positive) {
      auto& operand = x[static_cast<std::size_t>(i)];
      for (Index j = 0; j < operand.count(); ++j) operand.data()[j] = 1 + operand.data()[j] / 2;
    }
    if (before_relu == nullptr || detail::off_the_kink(b, *before_relu, x)) break;
    if (attempt == 999) return {1e300, "no operands away from the ReLU's kink were found; use a smaller shape"};
  }
  Shapes all;
  for (const Shape& shape : operand_shapes) all.push(shape);
  auto weights = Tensor<Double>::empty(b, op.shape(all));
  for (Index i = 0; i < weights.count(); ++i) weights.data()[i] = 2 * rng.uniform_double() - 1;

  GradientReport report;
  Tape<Double> tape(b);
  std::vector<Var<Double>> variables;
  for (const auto& operand : x) variables.push_back(tape.variable(operand));
  tape.backward(tape.apply(Project{&weights}, detail::apply_all(tape, op, variables)));
  std::vector<std::vector<double>> analytic;
  for (const auto& v : variables) analytic.push_back(v.gradient().to_host(b));
  tape.clear();

  for (std::size_t i = 0; i < x.size(); ++i) {
    std::vector<double> numeric;
    for (Index j = 0; j < x[i].count(); ++j) {
      double& value = x[i].data()[j];
      const double old = value, h = 6e-6 * std::max(1.0, std::abs(old));
      value = old + h;
      const double up = value, above = detail::projected(b, op, x, weights);
      value = old - h;
      const double down = value, below = detail::projected(b, op, x, weights);
      value = old;
      numeric.push_back((above - below) / (up - down));
    }
    detail::compare(numeric, analytic[i], "as a variable", i, report);
  }

  // As parameters, twice: the second pass adds to the first.
  std::vector<Parameter<Double>> parameters;
  for (const auto& operand : x) parameters.emplace_back(operand, Layout::plain);
  for (int pass = 0; pass < 2; ++pass) {
    tape.backward(tape.apply(Project{&weights}, detail::apply_all(tape, op, parameters)));
    tape.clear();
  }
  for (std::size_t i = 0; i < x.size(); ++i) {
    auto half = parameters[i].gradient.to_host(b);
    for (double& g : half) g /= 2;
    detail::compare(analytic[i], half, "as a parameter, accumulated", i, report);
  }

  // Each operand alone wants a gradient.
  for (std::size_t i = 0; i < x.size(); ++i) {
    std::vector<Var<Double>> operands;
    for (std::size_t k = 0; k < x.size(); ++k) operands.push_back(k == i ? tape.variable(x[k]) : tape.input(x[k]));
    tape.backward(tape.apply(Project{&weights}, detail::apply_all(tape, op, operands)));
    detail::compare(analytic[i], operands[i].gradient().to_host(b), "alone", i, report);
    tape.clear();
  }
  return report;
}

}  // namespace espalier::test

/// Fails, saying where, unless the op's gradients agree with central differences.
#define CHECK_GRADIENT(...)                                                      \
  do {                                                                           \
    const auto espalier_report = ::espalier::test::check_gradient(__VA_ARGS__);  \
    INFO(espalier_report.where);                                                 \
    CHECK(espalier_report.error <= ::espalier::test::gradient_tolerance);        \
  } while (false)
