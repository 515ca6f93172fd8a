// SPDX-License-Identifier: Apache-2.0
// The check itself: it must reject gradients that are a little wrong, in each of the ways it drives an op.
#include <doctest/doctest.h>

#include <espalier/op/relu.hpp>

#include "common/gradient_check.hpp"

using namespace espalier;

namespace gradient_check_test {

using test::check_gradient;
using test::Double;

namespace {

enum class Mistake { none, factor, assigns_instead_of_adding, forgets_when_alone, not_a_number };

// y = a a b, elementwise, with a mistake of choice in its backward pass.
struct Cubic {
  Mistake mistake = Mistake::none;

  static constexpr std::string_view name = "cubic";
  template <Backend B> struct Saved {};
  Shape shape(const Shapes& in) const { return in[0]; }
  Tensor<Double> forward(Double& b, const Inputs<Double>& in, Saved<Double>&) const {
    auto y = Tensor<Double>::empty(b, in[0].shape());
    for (Index i = 0; i < y.count(); ++i) y.data()[i] = in[0].data()[i] * in[0].data()[i] * in[1].data()[i];
    return y;
  }
  void backward(Double& b, const Inputs<Double>& in, const Tensor<Double>&, const Saved<Double>&, const Tensor<Double>& dy, Gradients<Double>& d) const {
    const double factor = mistake == Mistake::factor ? 1.00001 : mistake == Mistake::not_a_number ? std::nan("") : 1;
    if (d.wants(0)) {
      auto g = Tensor<Double>::empty(b, dy.shape());
      for (Index i = 0; i < g.count(); ++i) g.data()[i] = 2 * in[0].data()[i] * in[1].data()[i] * dy.data()[i];
      d.give(0, std::move(g));
    }
    if (!d.wants(1) || (mistake == Mistake::forgets_when_alone && !d.wants(0))) return;
    auto [g, store] = d.target(1);
    for (Index i = 0; i < g.count(); ++i) {
      const double part = factor * in[0].data()[i] * in[0].data()[i] * dy.data()[i];
      if (store == Store::assign || mistake == Mistake::assigns_instead_of_adding) g.data()[i] = part;
      else g.data()[i] += part;
    }
  }
  void channels(ChannelFlow& flow) const { flow.couple(0, 1), flow.through(); }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }
};

double error(Mistake mistake) { return check_gradient(Cubic{mistake}, {{3, 4}, {3, 4}}).error; }

}  // namespace

TEST_CASE("a right gradient passes the check by a wide margin") { CHECK(error(Mistake::none) < 1e-7); }

TEST_CASE("a gradient wrong by one part in a hundred thousand is rejected") {
  CHECK(error(Mistake::factor) > test::gradient_tolerance);
  CHECK(error(Mistake::factor) == doctest::Approx(1e-5).epsilon(0.01));
}

TEST_CASE("a gradient that overwrites what it should add to is rejected") { CHECK(error(Mistake::assigns_instead_of_adding) > 0.4); }

TEST_CASE("a gradient that is only right if the others are wanted too is rejected") { CHECK(error(Mistake::forgets_when_alone) > 0.9); }

TEST_CASE("a gradient that is not a number is rejected") { CHECK(error(Mistake::not_a_number) > 1); }

TEST_CASE("operands are drawn away from the kink of a ReLU") {
  Rng rng(1);
  for (Index n : {1, 2, 3, 10, 11}) {
    auto values = test::spread(n, rng);
    std::sort(values.begin(), values.end());
    for (double v : values) CHECK(std::abs(v) >= 0.9 / static_cast<double>(n + 1));
    for (std::size_t i = 1; i < values.size(); ++i) CHECK(values[i] - values[i - 1] > 1.9 / static_cast<double>(n + 1));
  }
}

}  // namespace gradient_check_test
