// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <vector>

#include "espalier/report/latency.hpp"

using namespace espalier;

namespace latency_test {

namespace {

/// A clock that moves only when told, by quarter seconds, which are exact.
struct HandClock {
  double* now;
  double operator()() const { return *now; }
};

}  // namespace

TEST_CASE("median, p95, minimum and spread are those of known samples") {
  std::vector<double> samples;
  for (int i = 100; i >= 1; --i) samples.push_back(i);
  const LatencyStats stats = summarize(samples);
  CHECK(stats.median == 50.5);
  CHECK(stats.p95 == 95);
  CHECK(stats.min == 1);
  CHECK(stats.spread == 25);
  CHECK(stats.runs == 100);
}

TEST_CASE("p95 is the nearest rank: the largest of few samples, and never past the end") {
  CHECK(summarize({7}).p95 == 7);
  CHECK(summarize({7}).median == 7);
  CHECK(summarize({7}).spread == 0);
  CHECK(summarize({3, 1, 2}).p95 == 3);
  CHECK(summarize({3, 1, 2}).median == 2);
  CHECK(summarize({3, 1, 2}).spread == 1);
  std::vector<double> twenty;
  for (int i = 1; i <= 20; ++i) twenty.push_back(i);
  CHECK(summarize(twenty).p95 == 19);
  twenty.push_back(21);
  CHECK(summarize(twenty).p95 == 20);
}

TEST_CASE("one slow call moves neither the median nor the spread") {
  const LatencyStats stats = summarize({2, 2, 3, 2, 1000, 3, 2});
  CHECK(stats.median == 2);
  CHECK(stats.spread == 0);
  CHECK(stats.p95 == 1000);
}

TEST_CASE("warm-up calls are made and not timed") {
  double now = 0;
  int calls = 0;
  const LatencyStats stats =
      measure([&] { now += ++calls <= 3 ? 100 : 0.25; }, {.warm_up = 3, .runs = 5}, HandClock{&now});
  CHECK(calls == 8);
  CHECK(stats == LatencyStats{.median = 0.25, .p95 = 0.25, .min = 0.25, .spread = 0, .runs = 5});
}

TEST_CASE("measuring goes on until the least time is spent, but not past the most runs") {
  double now = 0;
  const auto quarter = [&] { now += 0.25; };
  CHECK(measure(quarter, {.warm_up = 0, .runs = 2, .min_seconds = 2}, HandClock{&now}).runs == 8);
  CHECK(measure(quarter, {.warm_up = 0, .runs = 2, .min_seconds = 2, .max_runs = 3}, HandClock{&now}).runs == 3);
  CHECK(measure(quarter, {.warm_up = 0, .runs = 20, .min_seconds = 2}, HandClock{&now}).runs == 20);
  CHECK(measure([] {}, {.warm_up = 0, .runs = 1, .min_seconds = 1, .max_runs = 50}, HandClock{&now}).runs == 50);
}

TEST_CASE("the real clock does not go backwards") {
  CHECK(measure([] {}, {.warm_up = 0, .runs = 100}).min >= 0);
}

TEST_CASE("impossible options and missing samples are refused with their names") {
  CHECK_THROWS_WITH_AS(LatencyOptions{.runs = 0}.validate(), doctest::Contains("LatencyOptions.runs is 0"),
                       PolicyError);
  CHECK_THROWS_WITH_AS(LatencyOptions{.warm_up = -1}.validate(), doctest::Contains("warm_up is -1"), PolicyError);
  CHECK_THROWS_WITH_AS((LatencyOptions{.runs = 5, .max_runs = 4}.validate()), doctest::Contains("max_runs is 4"),
                       PolicyError);
  CHECK_THROWS_WITH_AS(LatencyOptions{.min_seconds = -1}.validate(), doctest::Contains("min_seconds"), PolicyError);
  CHECK_THROWS_AS(summarize({}), Error);
}

}  // namespace latency_test
