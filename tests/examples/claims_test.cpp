// SPDX-License-Identifier: Apache-2.0
// What the examples claim of their results, on made-up ones: where each claim stops to hold. And what their JSON says.
#include <doctest/doctest.h>

#include "../../examples/common/result.hpp"
#include "../../examples/lottery_ticket/claims.hpp"
#include "../../examples/sensitivity/seeds.hpp"

using namespace examples;

namespace {

Point trained(const std::string& kind, std::uint64_t seed, esp::Index round, double accuracy, esp::Index stop = 1000) {
  return {.kind = kind, .seed = seed, .round = round, .early_stop = stop, .early_stop_accuracy = accuracy, .fingerprint = {}};
}

std::vector<bool> holding(const std::vector<Point>& points) {
  std::vector<bool> holds;
  for (const Claim& claim : lottery_claims(points)) holds.push_back(claim.holds);
  return holds;
}

esp::SensitivityScan scan(double dense, double half) {
  return {.score = dense, .groups = {{.name = "conv1", .channels = 8, .points = {{.remove = 0.5, .kept = 4, .score = half}}}}};
}

}  // namespace

TEST_CASE("a ticket may be worse than the dense network by 0.1 points and no more, on the mean over seeds") {
  const Point dense = trained("ticket", 1, 0, 0.97);
  CHECK(holding({dense, trained("ticket", 1, 3, 0.9691), trained("ticket", 1, 7, 0.9689), trained("ticket", 1, 9, 0.99)}) == std::vector<bool>{true, false, true});
  CHECK(holding({dense, trained("ticket", 1, 3, 0.95), trained("ticket", 2, 0, 0.95), trained("ticket", 2, 3, 0.97)}) == std::vector<bool>{true});
  CHECK(lottery_claims({dense, trained("ticket", 1, 3, 0.9651)}).front().found == "-0.49 points");
}

TEST_CASE("at 3.6 % a ticket beats each re-initialisation by half a point and is faster") {
  const std::vector<Point> points{trained("ticket", 1, 15, 0.96, 500), trained("re-initialised 1", 1, 15, 0.9549, 600), trained("re-initialised 2", 1, 15, 0.9551, 600), trained("re-initialised 3", 1, 15, 0.90, 500)};
  CHECK(holding(points) == std::vector<bool>{true, true, false, true, true, false});
  CHECK(lottery_claims(points)[1].found == "-100 iterations");
}

TEST_CASE("differences are taken seed by seed, so that what seeds have in common is not in their interval") {
  const std::vector<Point> points{trained("ticket", 1, 0, 0.90), trained("ticket", 1, 3, 0.91), trained("ticket", 2, 0, 0.96), trained("ticket", 2, 3, 0.97), trained("ticket", 3, 3, 0.1)};
  CHECK(lottery_claims(points).front().found == "+1.00 +- 0.00 points");
}

TEST_CASE("rounds that were not trained are not claimed, nor is anything of a random mask") {
  CHECK(lottery_claims({}).empty());
  CHECK(lottery_claims({trained("ticket", 1, 0, 0.9), trained("ticket", 1, 2, 0.1), trained("random mask", 1, 15, 0.1)}).empty());
}

TEST_CASE("--check refuses a plan above its budget, or further below than the budget allows") {
  Options checks;
  checks.check = true;
  const auto leaves = [](esp::Index left) { return esp::Plan{.parameters_before = 500, .parameters_after = 500, .multiply_adds_before = 1000, .multiply_adds_after = left}; };
  const esp::Budget macs{.multiply_adds = 0.7};
  CHECK_NOTHROW(check_budget(checks, macs, leaves(700)));
  CHECK_NOTHROW(check_budget(checks, macs, leaves(681)));
  CHECK_THROWS_AS(check_budget(checks, macs, leaves(701)), esp::ClaimFailed);
  CHECK_THROWS_AS(check_budget(checks, macs, leaves(679)), esp::ClaimFailed);
  CHECK_THROWS_AS(check_budget(checks, esp::Budget{.parameters = 0.7}, leaves(700)), esp::ClaimFailed);
  CHECK_NOTHROW(check_budget(Options{}, macs, leaves(900)));
}

TEST_CASE("the mean of scans is taken point by point, and its band is Student's") {
  const std::map<std::uint64_t, SeedScan> seeds{{1, {.scan = scan(0.9, 0.5)}}, {2, {.scan = scan(0.8, 0.7)}}};
  const esp::SensitivityScan mean = mean_of(seeds);
  CHECK(mean.score == doctest::Approx(0.85));
  CHECK(mean.groups[0].points[0].score == doctest::Approx(0.6));
  const esp::Series band = chart_of(seeds, mean, {0}).series.at(0);
  CHECK(band.high.back() - band.y.back() == doctest::Approx(12.706 * 0.1));  // half the distance of two is their standard error
  CHECK(band.y.back() - band.low.back() == doctest::Approx(12.706 * 0.1));
}

TEST_CASE("a plan as JSON says what goes, and leaves out the groups that lose nothing") {
  esp::Plan plan{.parameters_before = 30, .parameters_after = 20, .multiply_adds_before = 300, .multiply_adds_after = 200};
  plan.groups = {{.name = "whole", .channels = 3}, {.name = "cut", .channels = 5, .remove = {1, 4}}};
  CHECK(plan_json(plan).dump() == R"({"removed_channels":2,"params_before":30,"params_after":20,"macs_before":300,"macs_after":200,"groups":[{"group":"cut","channels":5,"removed":[1,4]}]})");
}
