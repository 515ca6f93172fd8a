// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <limits>
#include <vector>

#include <espalier/prune/sparsity_schedule.hpp>

using namespace espalier;

namespace sparsity_schedule_test {

namespace {

Step at(Index iteration) { return {.iteration = iteration, .epoch_length = 10}; }
bool near(double found, double expected) { return std::abs(found - expected) < 1e-6; }

template <SparsitySchedule S>
std::vector<Index> due_times(const S& s, Index until) {
  std::vector<Index> times;
  for (Index i = 0; i <= until; ++i)
    if (s.due(at(i))) times.push_back(i);
  return times;
}

}  // namespace

// tensorflow/model-optimization pruning_schedule_test.py: from 0.2 to 0.8 over steps 100 to 110, power 3.
TEST_CASE("TFMOT's polynomial is 0.2, 0.4928, 0.725 and 0.8 at steps 100, 102, 105 and 110") {
  const CubicSparsity s{.from = 0.2, .to = 0.8, .begin = iterations(100), .end = iterations(110), .frequency = iterations(1)};
  CHECK(near(s(at(100)), 0.2));
  CHECK(near(s(at(102)), 0.4928));
  CHECK(near(s(at(105)), 0.725));
  CHECK(s(at(110)) == 0.8);
  CHECK(s(at(1'000'000)) == 0.8);
  CHECK(s(at(99)) == 0);
  CubicSparsity square = s;
  square.power = 2;
  CHECK(near(square(at(105)), 0.8 - 0.6 * 0.25));
}

// NNCF, test_schedulers.py (before 9ca7ee808): 3 epochs of none, then five from 0.1 to 0.7.
TEST_CASE("NNCF's exponential with bias is 0, 0, 0, .1, .6489741, .6956869, .6996617, .7, .7, .7 by epoch") {
  const ExponentialSparsity s{.from = 0.1, .to = 0.7, .begin = epochs(3), .end = epochs(7), .frequency = epochs(1)};
  const std::vector<double> expected{0, 0, 0, 0.1, 0.6489741, 0.6956869, 0.6996617, 0.7, 0.7, 0.7};
  for (std::size_t epoch = 0; epoch < expected.size(); ++epoch) CHECK(near(s(at(10 * static_cast<Index>(epoch))), expected[epoch]));
}

TEST_CASE("the exponential passes three quarters of its end at an eighth of the way") {
  const ExponentialSparsity s{.from = 0.2, .to = 0.9, .begin = iterations(0), .end = iterations(80), .frequency = iterations(1)};
  CHECK(near(s(at(0)), 0.2));
  CHECK(near(s(at(10)), 0.675));
  CHECK(s(at(80)) == 0.9);
}

TEST_CASE("a linear schedule is a line") {
  const LinearSparsity s{.from = 0.1, .to = 0.5, .begin = iterations(10), .end = iterations(30), .frequency = iterations(1)};
  CHECK(s(at(9)) == 0);
  CHECK(near(s(at(10)), 0.1));
  CHECK(near(s(at(20)), 0.3));
  CHECK(near(s(at(25)), 0.4));
  CHECK(s(at(30)) == 0.5);
}

TEST_CASE("weights go at the begin, every frequency from there, and at the end, whether it divides or not") {
  CHECK(due_times(CubicSparsity{.begin = iterations(2), .end = iterations(11), .frequency = iterations(3)}, 20) == std::vector<Index>{2, 5, 8, 11});
  CHECK(due_times(LinearSparsity{.begin = iterations(2), .end = iterations(12), .frequency = iterations(3)}, 20) == std::vector<Index>{2, 5, 8, 11, 12});
  CHECK(due_times(ExponentialSparsity{.begin = epochs(0.5), .end = epochs(2), .frequency = epochs(1)}, 40) == std::vector<Index>{5, 15, 20});
  CHECK(due_times(LinearSparsity{.begin = iterations(4), .end = iterations(4)}, 20) == std::vector<Index>{4});
}

TEST_CASE("sparsity never falls, and changes only where it is due") {
  const auto check = [](const auto& s) {
    double before = 0;
    for (Index i = 0; i < 300; ++i) {
      const double value = s(at(i));
      CHECK(value >= before);
      if (value != before) CHECK(s.due(at(i)));
      before = value;
    }
    CHECK(before == s.to);
  };
  check(CubicSparsity{.from = 0.1, .to = 0.95, .begin = iterations(13), .end = epochs(20), .frequency = iterations(7)});
  check(LinearSparsity{.from = 0.3, .to = 0.31, .begin = epochs(1), .end = iterations(222), .frequency = iterations(10)});
  check(ExponentialSparsity{.from = 0, .to = 0.5, .begin = iterations(0), .end = iterations(250), .frequency = iterations(3)});
  check(ExponentialSparsity{.from = 0.6, .to = 0.85, .begin = iterations(0), .end = iterations(250), .frequency = iterations(1)});
}

TEST_CASE("schedules of sparsity say which field is out of range") {
  const auto refused = [](const auto& s, const char* why) { CHECK_THROWS_WITH_AS(s.validate(), doctest::Contains(why), PolicyError); };
  refused(CubicSparsity{.from = -0.1}, "CubicSparsity: found from = -0.1");
  refused(CubicSparsity{.from = 0.5, .to = 0.4}, "found to = 0.4, needed a share from .from to 1");
  refused(LinearSparsity{.to = std::numeric_limits<double>::quiet_NaN()}, "found to = nan");
  refused(LinearSparsity{.begin = iterations(10), .end = iterations(9)}, "found end = 9");
  refused(LinearSparsity{.frequency = iterations(0)}, "found frequency = 0");
  refused(CubicSparsity{.power = 0}, "found power = 0");
  refused(ExponentialSparsity{.from = 0.5, .to = 0.7}, "found from = 0.5, needed less than 5/7 of .to");
  CHECK_NOTHROW(CubicSparsity{}.validate());
  CHECK_NOTHROW(LinearSparsity{}.validate());
  CHECK_NOTHROW(ExponentialSparsity{}.validate());
}

TEST_CASE("schedules of sparsity are written as in code") {
  CHECK(str(CubicSparsity{}) == "CubicSparsity{.from = 0, .to = 0.9, .begin = iterations(0), .end = iterations(1000), .frequency = iterations(100), .power = 3}");
  CHECK(str(LinearSparsity{.to = 0.5, .end = epochs(4)}) == "LinearSparsity{.from = 0, .to = 0.5, .begin = iterations(0), .end = epochs(4), .frequency = iterations(100)}");
  CHECK(str(ExponentialSparsity{}).starts_with("ExponentialSparsity{.from = 0, "));
}

}  // namespace sparsity_schedule_test
