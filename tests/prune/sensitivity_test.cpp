// SPDX-License-Identifier: Apache-2.0
// A sensitivity scan prunes one whole group at a time, scores what shrink() leaves, and says why it left a group out.
#include <doctest/doctest.h>

#include <limits>
#include <map>

#include <espalier/prune/filter_l1.hpp>
#include <espalier/prune/sensitivity.hpp>

#include "archetypes/opaque_backend.hpp"
#include "laws/random_net.hpp"
#include "sketch.hpp"

using namespace espalier;
using namespace espalier::test;

namespace sensitivity_test {

using Sketch = SketchOn<Trace<Reference>>;

namespace {

const Shape image{1, 4, 4, 1};
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

// stem -> conv1 -> conv2 + stem -> head: stem and conv2 write the same four channels.
auto residual() {
  Sketch net{[](auto& run, const auto& x) {
    const auto h = run.relu(run("stem", x));
    return run("head", run.average(run.relu(run.add(run("conv2", run.relu(run("conv1", h))), h))));
  }};
  net.conv("stem", 1, 4).conv("conv1", 4, 6).conv("conv2", 6, 4).linear("head", 4, 2);
  return net;
}

const auto zero = [](const auto&) { return 0.0; };

const GroupSensitivity& row(const SensitivityScan& scan, const std::string& name) {
  for (const auto& group : scan.groups)
    if (group.name == name) return group;
  throw Error("no row '" + name + "'");
}

std::vector<Index> kept(const GroupSensitivity& group) {
  std::vector<Index> all;
  for (const auto& point : group.points) all.push_back(point.kept);
  return all;
}

bool may_be_pruned(const GroupSensitivity& group) {
  return !group.points.empty() || group.excluded_because == "it has one channel" || group.excluded_because.starts_with("no fraction");
}

// A scan of one group of ten channels with these (kept, score); the dense network scores 0.9.
SensitivityScan curve(const std::vector<std::pair<Index, double>>& points) {
  SensitivityScan scan{.score = 0.9, .groups = {{.name = "a", .channels = 10}}};
  for (const auto& [keep, score] : points) scan.groups[0].points.push_back({.kept = keep, .score = score});
  return scan;
}

}  // namespace

TEST_CASE("each point is what plan() and shrink() make of that group alone: score, parameters and multiply-adds") {
  Reference r;
  int points = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    CAPTURE(seed);
    const Shape input{1, RandomNet<Reference>::side, RandomNet<Reference>::side, RandomNet<Reference>::in};
    RandomNet<Reference> net(r, seed);
    season(r, net, input, seed);
    const auto x = random_images(r, input, Rng(seed));
    const auto score = [&](const RandomNet<Reference>& n) {
      double sum = 0;
      for (const float y : predict(r, n, x).to_host(r)) sum += static_cast<double>(y);
      return sum;
    };
    const Structured<L2Norm> policy{.linear = seed % 2 == 0 ? LinearLayers::prune : LinearLayers::keep, .round_to = seed % 3 == 0 ? 2 : 1};
    const auto scan = sensitivity(r, net, input, policy, {0.3, 0.6}, score);
    CHECK(scan.score == score(net));
    std::vector<Index> whole;  // of the groups that Widths counts
    for (const auto& group : scan.groups)
      if (may_be_pruned(group)) whole.push_back(group.channels);
    std::size_t open = 0;
    for (std::size_t g = 0; g < scan.groups.size(); ++g) {
      const auto& group = scan.groups[g];
      CAPTURE(group.name);
      if (!may_be_pruned(group)) continue;
      auto alone = policy;
      alone.round_to = 1;
      for (const auto& point : group.points) {
        auto widths = whole;
        widths.at(open) = point.kept;
        alone.amount = Widths{widths};
        ++points;
        if (point.kept == group.channels) {
          CHECK(point.score == scan.score);
          continue;
        }
        const Plan p = plan(r, net, input, alone);
        CHECK(p.parameters_after == point.parameters);
        CHECK(p.multiply_adds_after == point.multiply_adds);
        CHECK(score(shrink(r, net, p)) == point.score);
      }
      ++open;
    }
  }
  CHECK(points > 100);
}

TEST_CASE("coupled layers are one row and are pruned together: a residual branch does not look robust because the rest stayed") {
  // fasterai before 0.3.3 pruned one layer of a residual sum in its scan and ranked such layers as the robust ones.
  Reference r;
  const auto net = residual();
  std::vector<std::pair<Index, Index>> widths;
  const auto scan = sensitivity(r, net, image, FilterL1{}, {0.25, 0.75}, [&](const auto& slim) {
    widths.emplace_back(get(slim, "stem.weight").shape[0], get(slim, "conv2.weight").shape[0]);
    CHECK(get(slim, "head.weight").shape[1] == widths.back().first);
    return 1.0;
  });
  REQUIRE(scan.groups.size() == 3);
  CHECK(scan.groups[0].layers == std::vector<std::string>{"stem", "conv2"});
  CHECK(scan.groups[1].layers == std::vector<std::string>{"conv1"});
  CHECK(widths == std::vector<std::pair<Index, Index>>{{4, 4}, {3, 3}, {1, 1}, {4, 4}, {4, 4}});
}

TEST_CASE("the channels that a criterion ranks lowest go first, and equal widths are scored once") {
  Reference r;
  auto net = residual();
  set(net, "conv1.weight", {1, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0});
  std::vector<std::vector<float>> left;
  const auto scan = sensitivity(r, net, image, FilterL1{.skip = {"stem"}}, {0.1, 0.15, 0.5, 0.51, 0.9}, [&](const auto& slim) {
    std::vector<float> first;
    const HostTensor w = get(slim, "conv1.weight");
    for (std::size_t i = 0; i < w.values.size(); i += 4) first.push_back(w.values[i]);
    left.push_back(first);
    return static_cast<double>(first.size());
  });
  CHECK(left == std::vector<std::vector<float>>{{1, 6, 2, 5, 3, 4}, {6, 2, 5, 3, 4}, {6, 5, 4}, {6, 5}, {6}});
  CHECK(kept(row(scan, "conv1")) == std::vector<Index>{5, 5, 3, 2, 1});
  CHECK(row(scan, "conv1").points[1].score == 5);
  CHECK(row(scan, "conv1").points[1].remove == 0.15);
}

TEST_CASE("groups that stay out of the scan say why") {
  Reference r;
  Sketch net{[](auto& run, const auto& x) { return run("head", run("hidden", run.average(run("conv3", run("conv2", run("conv1", x)))))); }};
  net.conv("conv1", 1, 1).conv("conv2", 1, 2).conv("conv3", 2, 8).linear("hidden", 8, 5).linear("head", 5, 2);
  const auto scan = sensitivity(r, net, image, FilterL1{.skip = {"conv3"}}, {0.4, 0.9}, zero);
  CHECK(row(scan, "conv1").excluded_because == "it has one channel");
  CHECK(kept(row(scan, "conv2")) == std::vector<Index>{1, 1});  // one channel stays, whatever the grid says
  CHECK(row(scan, "conv3").excluded_because == "skipped by 'conv3'");
  CHECK(row(scan, "hidden").excluded_because == "'hidden' is a linear layer; set .linear = LinearLayers::prune to prune its units");
  CHECK(row(scan, "head").excluded_because == "the network's output");
  CHECK(scan.by_sensitivity() == std::vector<std::size_t>{1});
  const auto coarse = sensitivity(r, net, image, FilterL1{.skip = {"conv2"}, .linear = LinearLayers::prune, .round_to = 4}, {0.2}, zero);
  CHECK(row(coarse, "conv3").excluded_because == "no fraction up to 0.2 removes one of its 8 channels");
  CHECK(kept(row(coarse, "hidden")) == std::vector<Index>{4});
  CHECK(kept(row(sensitivity(r, net, image, FilterL1{.keep_at_least = 3}, {0.9}, zero), "conv3")) == std::vector<Index>{3});
}

TEST_CASE("a scan of nothing is an error that lists the reasons") {
  Reference r;
  Sketch net{[](auto& run, const auto& x) { return run("head", run.average(run("conv1", x))); }};
  net.conv("conv1", 1, 1).linear("head", 1, 2);
  CHECK_THROWS_WITH_AS(sensitivity(r, net, image, FilterL1{}, {0.5}, zero),
                       "sensitivity(): no group can be scanned:\n  conv1: it has one channel\n  head: the network's output\nAsk for larger fractions, or skip less.", PolicyError);
}

TEST_CASE("a score that is not finite is an error that names the group and its width") {
  Reference r;
  const auto net = residual();
  const auto bad_at = [&](int call, double value) {
    return sensitivity(r, net, image, FilterL1{}, {0.25, 0.75}, [=, n = 0](const auto&) mutable { return n++ == call ? value : 0.5; });
  };
  CHECK_THROWS_WITH_AS(bad_at(0, not_a_number), doctest::Contains("evaluate gave the dense network the score NaN"), PolicyError);
  CHECK_THROWS_WITH_AS(bad_at(2, not_a_number),
                       "sensitivity(): evaluate gave 'stem+1' at 1 of 4 channels the score NaN; needed is a finite number that grows with quality, such as an accuracy. "
                       "Look at the weights, or map the value to a number",
                       PolicyError);
  CHECK_THROWS_WITH_AS(bad_at(3, std::numeric_limits<double>::infinity()), doctest::Contains("'conv1' at 4 of 6 channels the score infinity"), PolicyError);
  CHECK_NOTHROW(bad_at(5, not_a_number));  // there is no sixth call
}

TEST_CASE("a grid out of range, an amount of one's own and a name that matches nothing are refused before anything is scored") {
  Reference r;
  const auto net = residual();
  const auto never = [](const auto&) -> double { throw Error("scored"); };
  for (const std::vector<double>& grid : std::vector<std::vector<double>>{{}, {0.0}, {1.0}, {0.5, 0.5}, {0.5, 0.2}, {not_a_number}, {-0.1}})
    CHECK_THROWS_WITH_AS(sensitivity(r, net, image, FilterL1{}, grid, never), doctest::Contains("needed are ascending fractions above 0 and below 1"), PolicyError);
  CHECK_THROWS_WITH_AS(sensitivity(r, net, image, FilterL1{.amount = Fraction{0.3}}, {0.5}, never), doctest::Contains("Leave .amount out"), PolicyError);
  CHECK_THROWS_WITH_AS(sensitivity(r, net, image, FilterL1{.skip = {"conv9"}}, {0.5}, never), doctest::Contains("'conv9', which matches no layer"), PolicyError);
  CHECK_THROWS_WITH_AS(sensitivity(r, net, image, FilterL1{}, {0.5}, never), "scored", Error);  // what evaluate throws ends the scan
}

TEST_CASE("evaluate may ask where the scan is") {
  Reference r;
  const auto net = residual();
  std::vector<std::string> steps;
  sensitivity(r, net, image, L1Norm{}, {0.3, 0.34, 0.9}, [&](const auto&, const SensitivityStep& s) {
    steps.push_back(str(s.done + 1, " of ", s.total, ": ", s.group, ' ', s.kept, '/', s.channels));
    return 0.0;
  });
  CHECK(steps == std::vector<std::string>{"1 of 6:  0/0", "2 of 6: stem+1 2/4", "3 of 6: stem+1 1/4", "4 of 6: conv1 4/6", "5 of 6: conv1 3/6", "6 of 6: conv1 1/6"});
}

TEST_CASE("the network stays as it is, and two scans of it are equal values") {
  Reference r;
  const auto net = residual();
  const auto weights = get(net, "stem.weight").values;
  const auto score = [&](const auto& slim) { return static_cast<double>(parameter_count(slim)); };
  const auto by_policy = sensitivity(r, net, image, FilterL1{}, {0.5}, score), by_criterion = sensitivity(r, net, image, L1Norm{}, {0.5}, score);
  CHECK(by_policy == by_criterion);
  CHECK(get(net, "stem.weight").values == weights);
  CHECK(by_policy != sensitivity(r, net, image, L1Norm{}, {0.25}, score));
  CHECK(by_policy.criterion == "L1Norm{}");
}

TEST_CASE("a backend that the host cannot read scans as the reference does") {
  const auto scan_on = [](auto& b) {
    using B = std::remove_cvref_t<decltype(b)>;
    const Shape input{1, RandomNet<B>::side, RandomNet<B>::side, RandomNet<B>::in};
    const RandomNet<B> net(b, 3);
    return sensitivity(b, net, input, L1Norm{}, {0.5}, [&](const auto& slim) {
      return static_cast<double>(predict(b, slim, random_images(b, input, Rng(1))).to_host(b).front());
    });
  };
  Reference r;
  OpaqueBackend<float> opaque;
  CHECK(scan_on(opaque) == scan_on(r));
}

TEST_CASE("the drop is linear between points, never falls, and is unknown beyond them") {
  const auto scan = curve({{8, 0.9}, {6, 0.8}, {4, 0.85}, {4, 0.85}, {2, 0.5}});
  const auto& a = scan.groups[0];
  const std::map<Index, double> expected{{10, 0}, {9, 0}, {8, 0}, {7, 0.05}, {6, 0.1}, {5, 0.1}, {4, 0.1}, {3, 0.25}, {2, 0.4}};
  for (const auto& entry : expected) {
    CAPTURE(entry.first);
    CHECK(scan.drop(a, entry.first) == doctest::Approx(entry.second));
  }
  CHECK(scan.drop(a, 1) == std::numeric_limits<double>::infinity());
  const auto better = curve({{5, 0.95}, {2, 0.85}});  // a network that gains loses nothing
  CHECK(better.drop(better.groups[0], 5) == 0);
  CHECK(better.drop(better.groups[0], 2) == doctest::Approx(0.05));
}

TEST_CASE("the width within a drop is the narrowest that costs no more") {
  const auto scan = curve({{8, 0.9}, {6, 0.8}, {4, 0.85}, {2, 0.5}});
  const auto& a = scan.groups[0];
  CHECK(scan.width_within(a, 0) == 8);
  CHECK(scan.width_within(a, 0.051) == 7);
  CHECK(scan.width_within(a, 0.11) == 4);
  CHECK(scan.width_within(a, 0.3) == 3);
  CHECK(scan.width_within(a, 1) == 2);
  for (double allowed = 0; allowed < 0.5; allowed += 0.01) CHECK(scan.drop(a, scan.width_within(a, allowed)) <= allowed);
}

TEST_CASE("groups are ranked by their mean drop, the most sensitive first, the earlier of equal ones before") {
  SensitivityScan scan{.score = 1, .groups = {{.name = "robust", .channels = 4}, {.name = "out", .channels = 4, .excluded_because = "it is"}, {.name = "fragile", .channels = 4}, {.name = "as robust", .channels = 4}}};
  scan.groups[0].points = scan.groups[3].points = {{.kept = 3, .score = 1}, {.kept = 1, .score = 0.9}};
  scan.groups[2].points = {{.kept = 3, .score = 0.9}, {.kept = 1, .score = 0.95}};  // once lost, not regained
  CHECK(scan.by_sensitivity() == std::vector<std::size_t>{2, 0, 3});
}

}  // namespace sensitivity_test
