// SPDX-License-Identifier: Apache-2.0
// A scan as table, CSV, JSON and drawings: every number is there, and what was left out says why.
#include <doctest/doctest.h>

#include "espalier/io/json_reader.hpp"
#include "espalier/report/sensitivity.hpp"
#include "report/markup.hpp"

using namespace espalier;

namespace sensitivity_test {

namespace {

SensitivityScan example() {
  return {.input = {1, 8, 8, 3},
          .criterion = "L1Norm{}",
          .fractions = {0.25, 0.5},
          .score = 0.9,
          .parameters = 1000,
          .multiply_adds = 200'000,
          .groups = {{.name = "conv1+1", .layers = {"conv1", "conv3"}, .channels = 8, .points = {{0.25, 6, 0.91, 900, 150'000}, {0.5, 4, 0.5, 800, 100'000}}},
                     {.name = "conv2", .layers = {"conv2"}, .channels = 2, .points = {{0.25, 1, 0.875, 950, 180'000}, {0.5, 1, 0.875, 950, 180'000}}},
                     {.name = "head", .layers = {"head"}, .channels = 10, .excluded_because = "the network's output"}}};
}

}  // namespace

TEST_CASE("the table has a row for each group and a column for each fraction, and says what was left out") {
  CHECK(to_text(sensitivity_table(example()), 80, false) ==
        "group    channels  -25%   -50%\n"
        "------------------------------\n"
        "conv1+1         8  +1.0  -40.0\n"
        "conv2           2  -2.5   -2.5\n"
        "Change of accuracy in points, from 90.00%, with that share of one group's\n"
        "channels gone and nothing retrained. \"+n\": n more layers write the same channels\n"
        "and lose them too. By L1Norm{}.\n"
        "Not scanned: head (the network's output).\n");
  auto scan = example();
  scan.fractions = {0.07, 0.125};
  scan.groups.pop_back();
  const Table losses = sensitivity_table(scan, {.text = "minus loss", .percent = false});
  CHECK(losses.columns[2].title == "-7%");
  CHECK(losses.columns[3].title == "-12.5%");
  CHECK(losses.rows[0][2].text == "+0.010");
  CHECK(losses.rows[0][3].text == "-0.400");
  CHECK(losses.notes.size() == 1);
  CHECK(losses.notes[0].starts_with("Change of minus loss, from 0.900, "));
}

TEST_CASE("the table of costs shows what is left of all multiply-adds") {
  const Table table = sensitivity_cost_table(example());
  CHECK(table.rows[0][2].text == "75.0%");
  CHECK(table.rows[0][3].text == "50.0%");
  CHECK(table.rows[1][2].text == "90.0%");
  CHECK(table.notes[0].starts_with("Share of the network's 200,000 multiply-adds"));
}

TEST_CASE("CSV holds every point exactly, coupled layers together, and a reason where there is none") {
  CHECK(to_csv(sensitivity_points(example())) ==
        "group,layers,channels,remove,kept,score,drop,parameters,multiply_adds,not_scanned_because\n"
        "conv1+1,conv1 conv3,8,0.25,6,0.91,0,900,150000,\n"
        "conv1+1,conv1 conv3,8,0.5,4,0.5,0.4,800,100000,\n"
        "conv2,conv2,2,0.25,1,0.875,0.025000000000000022,950,180000,\n"
        "conv2,conv2,2,0.5,1,0.875,0.025000000000000022,950,180000,\n"
        "head,head,10,,10,,,1000,200000,the network's output\n");
}

TEST_CASE("JSON holds the whole scan") {
  const Json json = Json::parse(to_json(example()).dump());
  CHECK(json.find("score")->as_double() == 0.9);
  CHECK(json.find("macs")->as_int() == 200'000);
  const auto& groups = json.find("groups")->items();
  REQUIRE(groups.size() == 3);
  CHECK(groups[0].find("layers")->items().size() == 2);
  CHECK(groups[0].find("not_scanned_because") == nullptr);
  const auto& points = groups[0].find("points")->items();
  REQUIRE(points.size() == 2);
  CHECK(points[1].find("kept")->as_int() == 4);
  CHECK(points[1].find("score")->as_double() == 0.5);
  CHECK(points[1].find("params")->as_int() == 800);
  CHECK(groups[2].find("points")->items().empty());
  CHECK(groups[2].find("not_scanned_because")->as_string() == "the network's output");
}

TEST_CASE("curves start at the dense network and have one point for each width") {
  const auto scan = example();
  CHECK(most_sensitive(scan) == std::vector<std::size_t>{0, 1});
  CHECK(most_sensitive(scan, 1) == std::vector<std::size_t>{0});
  const LineChart chart = sensitivity_chart(scan, {1, 0});
  REQUIRE(chart.series.size() == 2);
  CHECK(chart.series[0] == Series{.name = "conv2", .x = {0, 0.5}, .y = {0.9, 0.875}});
  CHECK(chart.series[1] == Series{.name = "conv1+1", .x = {0, 0.25, 0.5}, .y = {0.9, 0.91, 0.5}});
  std::string fault;
  CHECK_FALSE(markup::parse(to_svg(chart), fault).empty());
  CHECK(fault == "");
}

TEST_CASE("bars show what each group alone can lose") {
  const BarChart chart = tolerated_chart(example(), 0.05);
  CHECK(chart.categories == std::vector<std::string>{"conv1+1", "conv2"});
  CHECK(chart.series[0].values == std::vector<double>{0.25, 0.5});
  CHECK(chart.title == "Channels that one group can lose for 5.0 points of accuracy");
  std::string fault;
  CHECK_FALSE(markup::parse(to_svg(chart), fault).empty());
  CHECK(fault == "");
}

TEST_CASE("the six most sensitive groups are told apart; more would not be") {
  SensitivityScan scan{.fractions = {0.5}, .score = 1, .groups = {}};
  for (int g = 0; g < 9; ++g) scan.groups.push_back({.name = str("conv", g), .channels = 4, .points = {{.remove = 0.5, .kept = 2, .score = 0.1 * g}}});
  CHECK(most_sensitive(scan) == std::vector<std::size_t>{0, 1, 2, 3, 4, 5});
  CHECK(sensitivity_chart(scan, most_sensitive(scan)).series.size() == 6);
}

}  // namespace sensitivity_test
