// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <sstream>

#include <espalier/train/schedule.hpp>

using namespace espalier;

namespace schedule_test {

namespace {

constexpr Index far_out = Index{1} << 40;

Step at(Index iteration) { return {iteration, 100}; }

struct Halves {  // the least a schedule can be
  double operator()(const Step& step) const { return step.iteration < 1 ? 1.0 : 0.5; }
  bool operator==(const Halves&) const = default;
};
struct Forgetful {
  double operator()(Step) { return 0; }  // not const
  bool operator==(const Forgetful&) const = default;
};
static_assert(Schedule<Halves>);
static_assert(!Schedule<Forgetful>);

}  // namespace

TEST_CASE("a constant has one value at every step, in range or not") {
  const Constant s{.value = 0.25};
  for (const Index i : {Index{-5}, Index{0}, Index{1}, far_out}) CHECK(s(at(i)) == 0.25);
}

TEST_CASE("a multi-step schedule multiplies by its factor at its times, counted in epochs or iterations") {
  const MultiStep s{.from = 0.1, .factor = 0.5, .at = {epochs(2), iterations(350)}};
  CHECK(s(at(-1)) == 0.1);
  CHECK(s(at(0)) == 0.1);
  CHECK(s(at(199)) == 0.1);
  CHECK(s(at(200)) == 0.05);
  CHECK(s(at(349)) == 0.05);
  CHECK(s(at(350)) == 0.025);
  CHECK(s(at(far_out)) == 0.025);
  CHECK(MultiStep{.from = 3}(at(far_out)) == 3);
  CHECK_THROWS_AS(s(Step{5}), PolicyError);  // epochs, but of what length?
}

TEST_CASE("a cosine falls along half a wave and stays at its end") {
  const Cosine s{.from = 1, .to = 0.2, .over = epochs(4)};
  CHECK(s(at(-7)) == 1);
  CHECK(s(at(0)) == 1);
  CHECK(s(at(100)) == doctest::Approx(0.2 + 0.8 * (1 + std::sqrt(0.5)) / 2));
  CHECK(s(at(200)) == doctest::Approx(0.6));
  CHECK(s(at(300)) == doctest::Approx(0.2 + 0.8 * (1 - std::sqrt(0.5)) / 2));
  CHECK(s(at(400)) == 0.2);
  CHECK(s(at(far_out)) == 0.2);
}

TEST_CASE("warm-up rises to the peak in a line and decay falls to zero in a line") {
  const LinearWarmUpDecay s{.peak = 2, .warm_up = iterations(10), .over = iterations(50)};
  CHECK(s(at(-3)) == 0);
  CHECK(s(at(0)) == 0);
  CHECK(s(at(5)) == 1);
  CHECK(s(at(10)) == 2);
  CHECK(s(at(30)) == 1);
  CHECK(s(at(49)) == doctest::Approx(2.0 / 40));
  CHECK(s(at(50)) == 0);
  CHECK(s(at(far_out)) == 0);
  CHECK(LinearWarmUpDecay{.peak = 2, .over = iterations(4)}(at(0)) == 2);  // no warm-up
}

TEST_CASE("Then gives its second schedule a step that counts from the change") {
  const Then<Constant, MultiStep> s{.first = {.value = 9}, .steps = epochs(1), .second = {.from = 4, .factor = 0.5, .at = {iterations(5)}}};
  CHECK(s(at(-1)) == 9);
  CHECK(s(at(99)) == 9);
  CHECK(s(at(100)) == 4);
  CHECK(s(at(104)) == 4);
  CHECK(s(at(105)) == 2);
  CHECK(s(at(far_out)) == 2);
}

TEST_CASE("schedules compare by value and print as they are written") {
  CHECK(MultiStep{.at = {epochs(1)}} == MultiStep{.at = {epochs(1)}});
  CHECK(MultiStep{.at = {epochs(1)}} != MultiStep{.at = {iterations(1)}});
  CHECK(str(Constant{.value = 0.1}) == "Constant{.value = 0.1}");
  CHECK(str(MultiStep{.from = 0.1, .factor = 0.1, .at = {epochs(80), epochs(120)}}) == "MultiStep{.from = 0.1, .factor = 0.1, .at = {epochs(80), epochs(120)}}");
  CHECK(str(Cosine{}) == "Cosine{.from = 0.1, .to = 0, .over = epochs(160)}");
  CHECK(str(LinearWarmUpDecay{}) == "LinearWarmUpDecay{.peak = 5e-05, .warm_up = iterations(0), .over = epochs(3)}");
  std::ostringstream out;
  out << Then<Constant, Cosine>{};
  CHECK(out.str() == "Then{.first = Constant{.value = 0.001}, .steps = epochs(1), .second = Cosine{.from = 0.1, .to = 0, .over = epochs(160)}}");
}

TEST_CASE("a schedule out of range is refused with its field, value and range") {
  CHECK_THROWS_WITH_AS((MultiStep{.factor = 0}.validate()), "MultiStep: found factor = 0, needed a finite number above 0; correct the policy", PolicyError);
  CHECK_THROWS_WITH_AS((MultiStep{.at = {epochs(2), epochs(2)}}.validate()), doctest::Contains("at[1] = 2"), PolicyError);
  CHECK_THROWS_AS((Cosine{.over = epochs(0)}.validate()), PolicyError);
  CHECK_THROWS_AS((LinearWarmUpDecay{.warm_up = epochs(3), .over = epochs(3)}.validate()), PolicyError);
  CHECK_THROWS_AS((Constant{.value = std::nan("")}.validate()), PolicyError);
  CHECK_THROWS_WITH_AS((Then<Constant, MultiStep>{.second = {.factor = -1}}.validate()), doctest::Contains("factor = -1"), PolicyError);
  detail::check_policy(Halves{});  // nothing to check, nothing thrown
  CHECK_NOTHROW(detail::check_policy(MultiStep{.at = {epochs(80), epochs(120)}}));
}

}  // namespace schedule_test
