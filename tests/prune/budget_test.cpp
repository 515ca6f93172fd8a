// SPDX-License-Identifier: Apache-2.0
// A budget is met by counting: by the smallest drop that all groups share, or by an error that says how near one can get.
#include <doctest/doctest.h>

#include <set>
#include <sstream>

#include <espalier/models/resnet_cifar.hpp>
#include <espalier/prune/budget.hpp>
#include <espalier/prune/filter_l1.hpp>

#include "laws/random_net.hpp"
#include "sketch.hpp"

using namespace espalier;
using namespace espalier::test;

namespace budget_test {

using Sketch = SketchOn<Trace<Reference>>;

namespace {

const std::vector<double> tenths{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9};
const auto zero = [](const auto&) { return 0.0; };

// What a scan would find if every group lost by its share of removed channels, `weight[g]` times.
SensitivityScan losing(SensitivityScan scan, const std::vector<double>& weight = {}) {
  for (std::size_t g = 0; g < scan.groups.size(); ++g)
    for (auto& point : scan.groups[g].points)
      point.score = -(weight.empty() ? 1 : weight.at(g)) * (1 - static_cast<double>(point.kept) / static_cast<double>(scan.groups[g].channels));
  return scan;
}

std::vector<Index> widths(const Plan& plan) {
  std::vector<Index> all;
  for (const auto& group : plan.groups) all.push_back(group.keep());
  return all;
}

double left(const Plan& plan, const Budget& budget) {
  return budget.parameters ? static_cast<double>(plan.parameters_after) / static_cast<double>(plan.parameters_before)
                           : static_cast<double>(plan.multiply_adds_after) / static_cast<double>(plan.multiply_adds_before);
}

// stem -> conv1 -> conv2 + stem -> head.
auto residual(Index outer, Index inner) {
  Sketch net{[](auto& run, const auto& x) {
    const auto h = run.relu(run("stem", x));
    return run("head", run.average(run.relu(run.add(run("conv2", run.relu(run("conv1", h))), h))));
  }};
  net.conv("stem", 1, outer).conv("conv1", outer, inner).conv("conv2", inner, outer).linear("head", outer, 2);
  return net;
}

}  // namespace

TEST_CASE("law: plan() finds the budget met within 2 %, or an error says that it cannot be") {
  Reference r;
  const Shape input{1, RandomNet<Reference>::side, RandomNet<Reference>::side, RandomNet<Reference>::in};
  int met = 0, refused = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    RandomNet<Reference> net(r, seed);
    Rng rng = Rng(seed).split("budget");
    CAPTURE(seed);
    CAPTURE(net.kinds);
    const Structured<L2Norm> policy{.linear = rng.bernoulli(0.5) ? LinearLayers::prune : LinearLayers::keep, .round_to = rng.bernoulli(0.2) ? 2 : 1,
                                    .selection = rng.bernoulli(0.3) ? Selection::greedy : Selection::independent};
    const auto scan = sensitivity(r, net, input, policy, tenths, [&](const auto&) { return rng.uniform_double(); });
    const double share = 0.2 + 0.7 * rng.uniform_double();
    const Budget budget = rng.bernoulli(0.5) ? Budget{.multiply_adds = share} : Budget{.parameters = share};
    CAPTURE(share);
    try {
      const auto fitted = within_budget(r, net, policy, scan, budget);
      const Plan p = plan(r, net, input, fitted);
      CHECK(left(p, budget) <= share);
      CHECK(left(p, budget) >= share - 0.02);
      for (std::size_t g = 0; g < p.groups.size(); ++g)  // nothing goes that the scan did not look at
        CHECK(p.groups[g].keep() >= (scan.groups[g].points.empty() ? p.groups[g].channels : scan.groups[g].points.back().kept));
      ++met;
    } catch (const PolicyError& e) {
      const std::string sentence = e.what();
      CAPTURE(sentence);
      CHECK(sentence.find("cannot be met") != std::string::npos);
      ++refused;
    }
  }
  CHECK(met > 20);
  CHECK(refused > 5);
}

TEST_CASE("law: all groups share the smallest drop that meets the budget, found here by trying every drop") {
  Reference r;
  const Shape input{1, RandomNet<Reference>::side, RandomNet<Reference>::side, RandomNet<Reference>::in};
  int compared = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    RandomNet<Reference> net(r, seed);
    Rng rng = Rng(seed).split("drops");
    CAPTURE(seed);
    CAPTURE(net.kinds);
    const FilterL1 policy{.linear = LinearLayers::prune};
    const auto scan = sensitivity(r, net, input, policy, tenths, [&](const auto&) { return rng.uniform_double(); });
    std::set<double> drops;
    for (const auto& group : scan.groups)
      for (Index keep = group.channels; keep >= 1; --keep)
        if (std::isfinite(scan.drop(group, keep))) drops.insert(scan.drop(group, keep));
    const auto allowed = [&](double drop) {
      Plan all{.input = input};
      for (const auto& group : scan.groups) {
        PlannedGroup g{.name = group.name, .channels = group.channels};
        for (Index channel = scan.width_within(group, drop); channel < group.channels; ++channel) g.remove.push_back(channel);
        all.groups.push_back(g);
      }
      return all;
    };
    const Index dense = cost<Reference>(net, input).multiply_adds;
    const auto share = [&](const Plan& p) { return static_cast<double>(cost<Reference>(shrink(r, net, p), input).multiply_adds) / static_cast<double>(dense); };
    const Budget budget{.multiply_adds = 0.5, .within = 0.9};  // so wide that the first drop to go below is taken
    const auto first = std::find_if(drops.begin(), drops.end(), [&](double drop) { return share(allowed(drop)) <= 0.5; });
    if (first == drops.end()) {
      CHECK_THROWS_AS(within_budget(r, net, policy, scan, budget), PolicyError);
      continue;
    }
    const auto found = widths(plan(r, net, input, within_budget(r, net, policy, scan, budget)));
    const auto narrow = widths(allowed(*first));
    const auto wide = first == drops.begin() ? widths(allowed(-1)) : widths(allowed(*std::prev(first)));
    for (std::size_t g = 0; g < found.size(); ++g) {  // between this drop and the one before: where groups tie, some may be spared
      CHECK(found[g] >= narrow[g]);
      CHECK(found[g] <= wide[g]);
    }
    CHECK(found != wide);
    ++compared;
  }
  CHECK(compared > 25);
}

// NNCF, tests/torch/pruning/filter_pruning/test_flops_pruning.py (before 9ca7ee808): the FLOPs that one rate for all layers
// arrives at, in widths that are multiples of eight. Asked for those FLOPs, groups that lose alike must get those widths.
TEST_CASE("NNCF: groups that lose alike get its widths for its FLOPs") {
  Reference r;
  const Shape input{1, 8, 8, 1};
  const FilterL1 eights{.round_to = 8};
  const auto meet = [&](const auto& net, Index flops, Index of, double within) {
    const auto scan = losing(sensitivity(r, net, input, eights, tenths, zero));
    CHECK(2 * scan.multiply_adds == of);
    return plan(r, net, input, within_budget(r, net, eights, scan, {.multiply_adds = static_cast<double>(flops) / static_cast<double>(of), .within = within}));
  };
  Sketch concat{[](auto& run, const auto& x) {
    const auto h = run("conv1", x), second = run("conv2", h);
    return run("conv4", run.concat(second, run("conv3", h)));
  }};
  concat.conv("conv1", 1, 512).conv("conv2", 512, 1024).conv("conv3", 512, 1024).conv("conv4", 2048, 2048);
  const Plan a = meet(concat, 399'057'920, 671'154'176, 0);
  CHECK(2 * a.multiply_adds_after == 399'057'920);
  CHECK(widths(a) == std::vector<Index>{328, 656, 656, 2048});

  Sketch eltwise{[](auto& run, const auto& x) {
    const auto h = run("conv1", x), second = run("conv2", h);
    return run("conv4", run.add(second, run("conv3", h)));
  }};
  eltwise.conv("conv1", 1, 512).conv("conv2", 512, 1024).conv("conv3", 512, 1024).conv("conv4", 1024, 1024);
  const Plan b = meet(eltwise, 160'773'120, 268'500'992, 0);
  CHECK(2 * b.multiply_adds_after == 160'773'120);
  CHECK(widths(b) == std::vector<Index>{360, 720, 1024});
}

TEST_CASE("what is robust in the scan pays, what is fragile stays") {
  Reference r;
  const Shape input{1, 4, 4, 1};
  Sketch net{[](auto& run, const auto& x) { return run("head", run.average(run("conv3", run("conv2", run("conv1", x))))); }};
  net.conv("conv1", 1, 100).conv("conv2", 100, 100).conv("conv3", 100, 100).linear("head", 100, 2);
  const auto scan = losing(sensitivity(r, net, input, FilterL1{}, tenths, zero), {1, 1, 10, 1});
  const Plan p = plan(r, net, input, within_budget(r, net, FilterL1{}, scan, {.multiply_adds = 0.5}));
  // A share x of the first two groups and x / 10 of the third: the common drop is x.
  const double x = 1 - static_cast<double>(p.groups[0].keep()) / 100;
  CHECK(std::abs(p.groups[1].keep() - p.groups[0].keep()) <= 1);
  CHECK(std::abs(static_cast<double>(p.groups[2].remove.size()) - 10 * x) <= 1);
}

TEST_CASE("groups without a drop to tell them apart narrow evenly") {
  Reference r;
  const models::ResNetCifar<Reference> net(r, {.depth = 8, .widths = {8, 16, 32}}, Rng(1));
  const Shape input{1, 16, 16, 3};
  const auto scan = sensitivity(r, net, input, FilterL1{}, tenths, zero);
  const Plan p = plan(r, net, input, within_budget(r, net, FilterL1{}, scan, {.multiply_adds = 0.5}));
  for (const auto& group : p.groups) {
    if (group.name == "linear") continue;
    CAPTURE(group.name);
    CHECK(std::abs(static_cast<double>(group.keep()) / static_cast<double>(group.channels) - 0.7) < 0.1);  // 0.7 squared is about a half
  }
}

TEST_CASE("the policy names every layer with its fraction, to be read, edited and planned, and keeps all else that it was given") {
  Reference r;
  const Shape input{1, 4, 4, 1};
  const auto net = residual(40, 60);
  const FilterL1 policy{.keep_at_least = 2, .selection = Selection::greedy};
  const auto scan = losing(sensitivity(r, net, input, policy, tenths, zero), {10, 1, 1});
  auto fitted = within_budget(r, net, policy, scan, {.multiply_adds = 0.6});
  std::ostringstream written;
  written << fitted;
  CHECK(written.str() == "Structured{.criterion = L1Norm{}, .amount = PerLayer{{{\"stem\", 0.025}, {\"conv1\", 0.4}}}, .keep_at_least = 2, .selection = Selection::greedy}");
  std::get<PerLayer>(fitted.amount).remove[0].second = 0.5;
  CHECK(widths(plan(r, net, input, fitted)) == std::vector<Index>{20, 36, 2});
}

TEST_CASE("where paths cannot tell groups apart, widths are in order") {
  Reference r;
  const Shape input{1, 4, 4, 1};
  // Half of conv1's channels are added to conv2's, the others to conv3's; conv1's own are two groups of one first layer.
  Sketch net{[](auto& run, const auto& x) {
    return run("head", run.average(run.add(run("conv1", x), run.concat(run("conv2", x), run("conv3", x)))));
  }};
  net.conv("conv1", 1, 40).conv("conv2", 1, 20).conv("conv3", 1, 20).linear("head", 40, 50);
  const auto scan = losing(sensitivity(r, net, input, FilterL1{}, tenths, zero), {1, 3, 1});
  const auto fitted = within_budget(r, net, FilterL1{}, scan, {.multiply_adds = 0.7});
  REQUIRE(std::holds_alternative<Widths>(fitted.amount));
  const auto keep = std::get<Widths>(fitted.amount).keep;
  REQUIRE(keep.size() == 2);
  CHECK(keep[0] < keep[1]);
  CHECK(left(plan(r, net, input, fitted), {.multiply_adds = 0.7}) > 0.68);
}

TEST_CASE("a step that is too long for the budget is left out, and finer groups settle it") {
  Reference r;
  const Shape input{1, 4, 4, 1};
  // The four channels of the stem cost a quarter of everything each; conv1 goes in steps of a 200th.
  const auto net = residual(4, 200);
  const auto by_stem = losing(sensitivity(r, net, input, FilterL1{}, tenths, zero), {0.1, 1, 1});
  const Plan p = plan(r, net, input, within_budget(r, net, FilterL1{}, by_stem, {.multiply_adds = 0.6}));
  CHECK(left(p, {.multiply_adds = 0.6}) <= 0.6);
  CHECK(left(p, {.multiply_adds = 0.6}) >= 0.58);
  CHECK(p.groups[0].keep() < 4);
  CHECK(p.groups[1].keep() < 200);
}

TEST_CASE("a step that is too long is taken, and finer groups get channels back, where leaving it out leads nowhere") {
  Reference r;
  const Shape input{1, 4, 4, 1};
  const auto net = residual(4, 200);
  const FilterL1 policy{};
  auto scan = losing(sensitivity(r, net, input, policy, {0.3, 0.5}, zero), {10, 1, 1});  // conv1 is at its last width first
  const double share = 0.4;                                                              // half of conv1 and one of four stem channels leave 0.375
  const Plan p = plan(r, net, input, within_budget(r, net, policy, scan, {.multiply_adds = share}));
  CHECK(left(p, {.multiply_adds = share}) <= share);
  CHECK(left(p, {.multiply_adds = share}) >= share - 0.02);
  CHECK(p.groups[0].keep() == 3);
  CHECK(p.groups[1].keep() > 100);
}

TEST_CASE("a budget that cannot be met is an error that says how near one can get") {
  Reference r;
  const Shape input{1, 4, 4, 1};
  const auto net = residual(4, 8);  // 16 (4 + 32 + 32) + 8 multiply-adds
  const auto scan = losing(sensitivity(r, net, input, FilterL1{}, {0.5}, zero));
  // At half of both: 16 (2 + 8 + 8) + 4 = 292 of 1096.
  CHECK_THROWS_WITH_AS(within_budget(r, net, FilterL1{}, scan, {.multiply_adds = 0.25}),
                       "within_budget(): 0.25 of 1096 multiply-adds cannot be met: with every group at its narrowest width in the scan 0.2664 is left. "
                       "Raise the budget, scan larger fractions, or skip less",
                       PolicyError);
  // The stem alone, by skipping conv1: 16 (3 + 24 + 24) + 6 = 822 is 0.75, 16 (2 + 16 + 16) + 4 = 548 is 0.5.
  const FilterL1 stem{.skip = {"conv1"}};
  CHECK_THROWS_WITH_AS(within_budget(r, net, stem, losing(sensitivity(r, net, input, stem, {0.5}, zero)), {.multiply_adds = 0.6}),
                       "within_budget(): from 0.5803 to 0.6 of 1096 multiply-adds cannot be met: the nearest that was found are 0.5 and 0.75, because the channels are few and large. "
                       "Raise .within, or ask for one of these",
                       PolicyError);
  CHECK(left(plan(r, net, input, within_budget(r, net, stem, losing(sensitivity(r, net, input, stem, {0.5}, zero)), {.multiply_adds = 0.75})), {.multiply_adds = 0.75}) == 0.75);
}

TEST_CASE("groups of one channel, skipped ones and ones that the scan left out stay whole") {
  Reference r;
  const Shape input{1, 4, 4, 1};
  Sketch net{[](auto& run, const auto& x) { return run("head", run.average(run("conv3", run("conv2", run("conv1", x))))); }};
  net.conv("conv1", 1, 1).conv("conv2", 1, 50).conv("conv3", 50, 50).linear("head", 50, 2);
  const auto whole = losing(sensitivity(r, net, input, FilterL1{}, tenths, zero)), without = losing(sensitivity(r, net, input, FilterL1{.skip = {"conv2"}}, tenths, zero));
  const Budget budget{.parameters = 0.6};
  CHECK(widths(plan(r, net, input, within_budget(r, net, FilterL1{}, whole, budget)))[0] == 1);
  const auto skipped = widths(plan(r, net, input, within_budget(r, net, FilterL1{.skip = {"conv2"}}, whole, budget)));
  CHECK(skipped[1] == 50);
  CHECK(skipped == widths(plan(r, net, input, within_budget(r, net, FilterL1{}, without, budget))));
}

TEST_CASE("coupled layers of a residual stage get one width") {
  Reference r;
  const models::ResNetCifar<Reference> net(r, {.depth = 14, .widths = {8, 16, 32}}, Rng(1));
  const Shape input{1, 16, 16, 3};
  Rng rng(5);
  const auto scan = sensitivity(r, net, input, FilterL1{}, tenths, [&](const auto&) { return rng.uniform_double(); });
  const auto fitted = within_budget(r, net, FilterL1{}, scan, {.multiply_adds = 0.5});
  const auto slim = shrink(r, net, plan(r, net, input, fitted));
  const auto rows = [&](const std::string& path) { return get(slim, path + ".weight").shape[0]; };
  CHECK(rows("conv1") < 8);
  CHECK(rows("layer1.0.conv2") == rows("conv1"));
  CHECK(rows("layer1.1.conv2") == rows("conv1"));
  CHECK(rows("layer2.1.conv2") == rows("layer2.0.conv2"));
  CHECK(rows("layer3.1.conv2") == rows("layer3.0.conv2"));
  CHECK(predict(r, slim, Tensor<Reference>::zeros(r, input)).shape() == Shape{1, 10});
}

TEST_CASE("a scan of another network is refused") {
  Reference r;
  const Shape input{1, 4, 4, 1};
  const auto scan = sensitivity(r, residual(4, 8), input, FilterL1{}, {0.5}, zero);
  CHECK_THROWS_WITH_AS(within_budget(r, residual(4, 9), FilterL1{}, scan, {.multiply_adds = 0.5}),
                       "within_budget(): group 1 of the scan is 'conv1' of 8 channels, of the network 'conv1' of 9 channels; the scan was made for another network. Scan this one", PlanError);
}

TEST_CASE("a budget says what it may be, and prints as it is written") {
  const auto refuses = [](const Budget& budget, const char* message) { CHECK_THROWS_WITH_AS(budget.validate(), message, PolicyError); };
  refuses({}, "Budget has neither .multiply_adds nor .parameters; give one of them, such as Budget{.multiply_adds = 0.5}");
  refuses({.multiply_adds = 0.5, .parameters = 0.5}, "Budget has both .multiply_adds and .parameters; give only one of them, such as Budget{.multiply_adds = 0.5}");
  for (const double share : {0.0, 1.0, -0.5, 50.0, std::nan("")}) {
    CHECK_THROWS_AS((Budget{.multiply_adds = share}.validate()), PolicyError);
    CHECK_THROWS_AS((Budget{.parameters = share}.validate()), PolicyError);
  }
  refuses({.parameters = 50}, "Budget::parameters is 50; what is left is a share above 0 and below 1 of the dense network's parameters");
  refuses({.parameters = 0.5, .within = 1}, "Budget::within is 1; it is a share from 0 to below 1");
  const auto written = [](const Budget& budget) {
    std::ostringstream to;
    to << budget;
    return to.str();
  };
  CHECK(written({.multiply_adds = 0.5}) == "Budget{.multiply_adds = 0.5}");
  CHECK(written({.parameters = 0.25, .within = 0.01}) == "Budget{.parameters = 0.25, .within = 0.01}");
  CHECK(Budget{.multiply_adds = 0.5} == Budget{.multiply_adds = 0.5});
  CHECK(Budget{.multiply_adds = 0.5} != Budget{.parameters = 0.5});
}

}  // namespace budget_test
