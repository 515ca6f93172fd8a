// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/train/step.hpp>

using namespace espalier;

namespace step_test {

TEST_CASE("a step converts to epochs by the length it carries") {
  const Step step{.iteration = 1000, .epoch_length = 391};
  CHECK(step.epoch() == 2);
  CHECK(step.in_epoch() == 218);
  CHECK(step.epochs() == doctest::Approx(2.5575).epsilon(1e-4));
}

TEST_CASE("a step without an epoch length refuses to be converted") {
  CHECK_THROWS_WITH_AS(Step{5}.epoch(), doctest::Contains("epoch_length = 0"), PolicyError);
  CHECK_THROWS_AS(Step{5}.in_epoch(), PolicyError);
  CHECK_THROWS_AS(Step{5}.epochs(), PolicyError);
}

TEST_CASE("steps compare by iteration, and refuse if their epochs differ in length") {
  CHECK(Step{3, 10} < Step{4, 10});
  CHECK(Step{4, 10} == Step{4, 10});
  CHECK(Step{3} != Step{4});
  CHECK_THROWS_WITH_AS(static_cast<void>(Step{3, 10} < Step{4, 11}), doctest::Contains("epoch lengths 10 and 11"), PolicyError);
  CHECK_THROWS_AS(static_cast<void>(Step{3, 10} == Step{3, 11}), PolicyError);
}

TEST_CASE("durations convert to iterations only where an epoch has a length") {
  CHECK(iterations(7).in_iterations(0) == 7);
  CHECK(epochs(1.5).in_iterations(391) == 586.5);
  CHECK(epochs(1.5).whole_iterations(391) == 587);
  CHECK_THROWS_AS(epochs(1).in_iterations(0), PolicyError);
}

TEST_CASE("steps and durations print as they are written") {
  CHECK(str(Step{3, 10}) == "Step{.iteration = 3, .epoch_length = 10}");
  CHECK(str(epochs(80), ' ', iterations(2.5)) == "epochs(80) iterations(2.5)");
}

TEST_CASE("a list of durations compares by content and refuses to overflow") {
  Durations list{epochs(1), iterations(2)};
  CHECK(list == Durations{epochs(1), iterations(2)});
  CHECK(list != Durations{epochs(1)});
  CHECK(list[1] == iterations(2));
  while (list.size() < Durations::capacity) list.push_back(epochs(3));
  CHECK_THROWS_AS(list.push_back(epochs(4)), PolicyError);
  CHECK(static_cast<std::size_t>(list.end() - list.begin()) == Durations::capacity);
}

}  // namespace step_test
