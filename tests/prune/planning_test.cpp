// SPDX-License-Identifier: Apache-2.0
// How many channels go, which, and what a policy may not ask: counts, ties, floors, rounding, sentences.
#include <doctest/doctest.h>

#include <limits>

#include <espalier/prune/filter_l1.hpp>
#include <espalier/prune/planning.hpp>

#include "sketch.hpp"

using namespace espalier;
using namespace espalier::test;

namespace planning_test {

using Sketch = SketchOn<Trace<Reference>>;

namespace {

const Shape image{1, 4, 4, 1};
using List = std::vector<Index>;

struct Equal {  // all channels matter alike
  bool operator==(const Equal&) const = default;
  void score(const ChannelGroup&, std::span<double> out) const { std::fill(out.begin(), out.end(), 1.0); }
  friend std::ostream& operator<<(std::ostream& to, const Equal&) { return to << "Equal{}"; }
};

// conv1, ..., convN with these widths, 1x1, all filters' weight on the first input; the head reads the last.
// L1 scores of layer i: 1, 2, 3, ... times scale[i].
auto tower(const List& widths, const std::vector<float>& scale = {}) {
  Sketch net{[count = widths.size()](auto& run, const auto& x) {
    auto h = x;
    for (std::size_t i = 1; i <= count; ++i) h = run.relu(run(str("conv", i), h));
    return run("head", run.average(h));
  }};
  Index in = 1;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const std::string name = str("conv", i + 1);
    net.conv(name, in, widths[i]);
    std::vector<float> weights(static_cast<std::size_t>(in * widths[i]));
    for (Index o = 0; o < widths[i]; ++o) weights[static_cast<std::size_t>(o * in)] = static_cast<float>(o + 1) * (scale.empty() ? 1.0F : scale[i]);
    set(net, name + ".weight", weights);
    in = widths[i];
  }
  net.linear("head", in, 2);
  return net;
}

template <class Net, class C>
std::vector<List> removed(const Net& net, const Structured<C>& policy) {
  Reference r;
  std::vector<List> all;
  for (const auto& g : plan(r, net, image, policy).groups) all.push_back(g.remove);
  all.pop_back();  // the head
  return all;
}

template <class Net, class C>
List kept(const Net& net, const Structured<C>& policy) {
  Reference r;
  List all;
  for (const auto& g : plan(r, net, image, policy).groups) all.push_back(g.keep());
  all.pop_back();
  return all;
}

template <class Net, class C>
void refuses(const Net& net, const Structured<C>& policy, const char* message) {
  Reference r;
  CHECK_THROWS_WITH_AS(plan(r, net, image, policy), message, PolicyError);
}

}  // namespace

TEST_CASE("Fraction keeps floor(n (1 - p)) channels, ties included, and removes the higher of equal channels") {
  Reference r;
  for (Index n = 1; n <= 24; ++n) {
    const auto net = tower({n});
    for (int tenths = 0; tenths <= 10; ++tenths) {
      CAPTURE(n);
      CAPTURE(tenths);
      const double p = tenths / 10.0;
      const Index keep = n * (10 - tenths) / 10;  // in whole numbers, which no rounding touches
      const Structured<Equal> policy{.amount = Fraction{p}};
      if (keep == 0 || keep == n) {
        CHECK_THROWS_AS(plan(r, net, image, policy), PolicyError);
        continue;
      }
      List last;
      for (Index i = keep; i < n; ++i) last.push_back(i);
      CHECK(removed(net, policy) == std::vector<List>{last});
      CHECK(removed(net, FilterL1{.amount = Fraction{p}})[0].size() == static_cast<std::size_t>(n - keep));
    }
  }
}

TEST_CASE("the smallest norms go, and of equal ones the lower channel stays") {
  auto net = tower({6});
  set(net, "conv1.weight", {3, -1, 2, 1, -2, 2});
  CHECK(removed(net, FilterL1{.amount = Widths{{5}}}) == std::vector<List>{{3}});
  CHECK(removed(net, FilterL1{.amount = Widths{{4}}}) == std::vector<List>{{1, 3}});
  CHECK(removed(net, FilterL1{.amount = Widths{{3}}}) == std::vector<List>{{1, 3, 5}});
  CHECK(removed(net, FilterL1{.amount = Widths{{1}}}) == std::vector<List>{{1, 2, 3, 4, 5}});
}

TEST_CASE("Widths give each group its width, in order, and must fit") {
  const auto net = tower({6, 8});
  CHECK(kept(net, FilterL1{.amount = Widths{{6, 3}}}) == List{6, 3});
  refuses(net, FilterL1{.amount = Widths{{3}}}, "Widths::keep has 1 widths; 2 groups may be pruned: conv1, conv2");
  refuses(net, FilterL1{.amount = Widths{{3, 9}}}, "Widths::keep asks for 9 channels of 'conv2', which has 8");
  CHECK(kept(net, FilterL1{.amount = Widths{{3}}, .skip = {"conv2"}}) == List{3, 8});
}

TEST_CASE("PerLayer takes the first entry that matches and leaves the others") {
  const auto net = tower({10, 10, 10});
  CHECK(kept(net, FilterL1{.amount = PerLayer{{{"conv2", 0.5}, {"conv*", 0.2}}}}) == List{8, 5, 8});
  CHECK(kept(net, FilterL1{.amount = PerLayer{{{"conv*", 0.2}, {"conv2", 0.5}}}}) == List{8, 8, 8});
  Reference r;
  const Plan p = plan(r, net, image, FilterL1{.amount = PerLayer{{{"*3", 0.4}}}});
  CHECK(p.groups[0].kept_because == "no entry of PerLayer names it");
  CHECK(p.groups[2].keep() == 6);
}

TEST_CASE("Global ranks all channels: by score, or by score over the group's mean") {
  const auto net = tower({4, 4}, {1, 10});  // scores 1 2 3 4 and 10 20 30 40
  using Scale = Global::Scale;
  CHECK(removed(net, FilterL1{.amount = Global{.remove = 0.375, .scale = Scale::none}}) == std::vector<List>{{0, 1, 2}, {}});
  // Over their means: .4 .8 1.2 1.6 twice. Of the two .8 the earlier group's stays.
  CHECK(removed(net, FilterL1{.amount = Global{.remove = 0.375, .scale = Scale::group_mean}}) == std::vector<List>{{0}, {0, 1}});
  CHECK(removed(net, Structured<Reversed<L1Norm>>{.amount = Global{.remove = 0.25, .scale = Scale::group_mean}}) == std::vector<List>{{3}, {3}});
  CHECK(removed(net, Structured<Equal>{.amount = Global{.remove = 0.5}, .keep_at_least = 1}) == std::vector<List>{{3}, {1, 2, 3}});
}

TEST_CASE("Global removes exactly floor(n p) channels, whatever the floor, or says that it cannot") {
  const auto net = tower({4, 4}, {1, 10});
  using Scale = Global::Scale;
  const auto with = [](double remove, std::optional<Index> floor, Index round_to = 1) {
    return FilterL1{.amount = Global{.remove = remove, .scale = Scale::none}, .keep_at_least = floor, .round_to = round_to};
  };
  refuses(net, with(0.5, {}), "all 4 channels of 'conv1' would go and the layer would vanish; remove less, or set .keep_at_least = 1");
  CHECK(removed(net, with(0.5, 1)) == std::vector<List>{{0, 1, 2}, {0}});
  CHECK(removed(net, with(0.5, 2)) == std::vector<List>{{0, 1}, {0, 1}});
  refuses(net, with(0.75, 2), "Global::remove asks for 6 of 8 channels; keep_at_least allows only 4 to go");
  CHECK(removed(net, with(0.375, 1, 2)) == std::vector<List>{{0, 1}, {}});  // rounding gives the highest back
  for (int n = 1; n < 6; ++n) {
    Index total = 0;
    for (const auto& list : removed(net, with(n / 8.0, 1))) total += static_cast<Index>(list.size());
    CHECK(total == n);
  }
}

TEST_CASE("a rounding error short of a whole number is that number") {
  CHECK(10 * (1 - 0.9) < 1);  // in doubles
  CHECK(kept(tower({10, 20}), FilterL1{.amount = Fraction{0.9}}) == List{1, 2});
  CHECK(100 * 0.29 < 29);
  Index total = 0;
  for (const auto& list : removed(tower({60, 40}), FilterL1{.amount = Global{.remove = 0.29}, .keep_at_least = 1})) total += static_cast<Index>(list.size());
  CHECK(total == 29);
}

TEST_CASE("a floor holds, and is no more than what there is") {
  const auto net = tower({3, 10});
  CHECK(kept(net, FilterL1{.amount = Fraction{0.9}, .keep_at_least = 2}) == List{2, 2});
  CHECK(kept(net, FilterL1{.amount = Fraction{0.9}, .keep_at_least = 5}) == List{3, 5});
}

// optipfair#27: rounding up to 128 made layers wider than before.
TEST_CASE("rounding goes up to a multiple, and never above the old width") {
  const auto net = tower({6, 12, 20});
  CHECK(kept(net, FilterL1{.amount = Fraction{0.5}, .round_to = 8}) == List{6, 8, 16});
  CHECK(kept(net, FilterL1{.amount = Fraction{0.5}, .round_to = 5}) == List{5, 10, 10});
  for (Index round_to = 1; round_to <= 24; ++round_to)
    for (Index n = 1; n <= 24; ++n) {
      CAPTURE(round_to);
      CAPTURE(n);
      ChannelGroup g{.name = "conv", .channels = n};
      for (Index wanted = 1; wanted <= n; ++wanted) {
        const Index width = detail::kept_width(g, wanted, FilterL1{.round_to = round_to});
        CHECK(width >= wanted);
        CHECK(width <= n);
        CHECK((width % round_to == 0 || width == n));
        CHECK(width - wanted < round_to);
      }
    }
  CHECK(detail::kept_width(ChannelGroup{.name = "conv", .channels = 3}, 1, FilterL1{.round_to = std::numeric_limits<Index>::max()}) == 3);
}

// Li et al. 2017, section 3.2, on paper: conv2's filters are (100, 1) and (1, 5). Once the input with the 100 is gone, the order turns.
TEST_CASE("greedy selection scores what earlier pruning left, independent selection scores all") {
  Sketch net{[](auto& run, const auto& x) { return run("head", run("conv2", run("conv1", x))); }};
  net.conv("conv1", 1, 2).conv("conv2", 2, 2).conv("head", 2, 1);
  set(net, "conv1.weight", {1, 10});
  set(net, "conv2.weight", {100, 1, 1, 5});
  CHECK(removed(net, FilterL1{}) == std::vector<List>{{0}, {1}});
  CHECK(removed(net, FilterL1{.selection = Selection::greedy}) == std::vector<List>{{0}, {0}});
  refuses(net, FilterL1{.amount = Global{}, .selection = Selection::greedy},
          "Selection::greedy goes layer by layer and Global ranks all layers at once; use it with Fraction, Widths or PerLayer");
}

TEST_CASE("greedy selection sees through depthwise convolutions and flattening") {
  Sketch net{[](auto& run, const auto& x) { return run("head", run("fc", run.flatten(run("depthwise", run("conv1", x))))); }};
  net.conv("conv1", 1, 2).conv("depthwise", 2, 2, {.kernel = 1, .pad = 0, .depthwise = true}).linear("fc", 8, 2).linear("head", 2, 1);
  set(net, "conv1.weight", {1, 10});
  set(net, "fc.weight", {25, 25, 25, 25, 1, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0});
  Reference r;
  const Shape small{1, 2, 2, 1};
  FilterL1 policy{.linear = LinearLayers::prune};
  CHECK(plan(r, net, small, policy).groups[1].remove == List{1});
  policy.selection = Selection::greedy;
  CHECK(plan(r, net, small, policy).groups[1].remove == List{0});
}

TEST_CASE("linear layers are kept unless asked for") {
  Sketch net{[](auto& run, const auto& x) { return run("head", run("fc", run.flatten(run("conv1", x)))); }};
  net.conv("conv1", 1, 4).linear("fc", 64, 6).linear("head", 6, 2);
  Reference r;
  const Plan p = plan(r, net, image, FilterL1{});
  CHECK(p.groups[1].keep() == 6);
  CHECK(p.groups[1].kept_because == "'fc' is a linear layer; set .linear = LinearLayers::prune to prune its units");
  CHECK(plan(r, net, image, FilterL1{.linear = LinearLayers::prune}).groups[1].keep() == 3);
}

TEST_CASE("a group's reasons are in the plan") {
  Reference r;
  const Plan p = plan(r, tower({4, 1, 4}), image, FilterL1{.amount = PerLayer{{{"conv1", 0.5}, {"conv2", 0}, {"conv3", 0.5}}}, .skip = {"*3"}});
  CHECK(p.groups[0].kept_because.empty());
  CHECK(p.groups[0].couples == std::vector<std::string>{"writes conv1.weight", "reads conv2.weight"});
  CHECK(p.groups[1].kept_because == "the amount leaves all of its channels");
  CHECK(p.groups[2].kept_because == "skipped by '*3'");
  CHECK(p.groups[3].kept_because == "the network's output");
  CHECK(p.policy == "Structured{.criterion = L1Norm{}, .amount = PerLayer{{{\"conv1\", 0.5}, {\"conv2\", 0}, {\"conv3\", 0.5}}}, .skip = {\"*3\"}}");
}

TEST_CASE("a policy prints as it is written, defaults left out") {
  const auto text = [](const auto& policy) { return detail::as_written(policy); };
  CHECK(text(FilterL1{}) == "Structured{.criterion = L1Norm{}, .amount = Fraction{.remove = 0.5}}");
  CHECK(text(FilterL1{.amount = Widths{{3, 4}}, .linear = LinearLayers::prune, .keep_at_least = 2, .round_to = 8, .selection = Selection::greedy}) ==
        "Structured{.criterion = L1Norm{}, .amount = Widths{{3, 4}}, .linear = LinearLayers::prune, .keep_at_least = 2, .round_to = 8, .selection = Selection::greedy}");
  CHECK(text(Structured<Random>{.criterion = {.seed = 4}, .amount = Global{.remove = 0.1}}) ==
        "Structured{.criterion = Random{.seed = 4}, .amount = Global{.remove = 0.1, .scale = Global::Scale::group_mean}}");
}

TEST_CASE("a policy out of range is an error that names field, value and range") {
  const auto net = tower({4});
  refuses(net, FilterL1{.amount = Fraction{1.1}}, "Fraction::remove is 1.1; a fraction is from 0 to 1");
  refuses(net, FilterL1{.amount = Fraction{-10}}, "Fraction::remove is -10; a fraction is from 0 to 1");
  refuses(net, FilterL1{.amount = Fraction{std::nan("")}}, "Fraction::remove is nan; a fraction is from 0 to 1");
  refuses(net, FilterL1{.amount = Global{.remove = 20}}, "Global::remove is 20; a fraction is from 0 to 1");
  refuses(net, FilterL1{.amount = PerLayer{{{"conv1", 2}}}}, "PerLayer::remove of 'conv1' is 2; a fraction is from 0 to 1");
  refuses(net, FilterL1{.amount = Widths{{0}}}, "Widths::keep holds 0; a width is at least 1");
  refuses(net, FilterL1{.keep_at_least = 0}, "keep_at_least is 0; it is at least 1");
  refuses(net, FilterL1{.round_to = 0}, "round_to is 0; it is at least 1");
}

// Failures of other libraries, as sentences of ours.

TEST_CASE("a layer that would vanish is an error (Torch-Pruning, TP#8)") {
  refuses(tower({4, 2}), FilterL1{.amount = Fraction{0.9}}, "all 4 channels of 'conv1' would go and the layer would vanish; remove less, or set .keep_at_least = 1");
  refuses(tower({4}), FilterL1{.amount = Fraction{1}}, "all 4 channels of 'conv1' would go and the layer would vanish; remove less, or set .keep_at_least = 1");
  CHECK(kept(tower({4, 1}), FilterL1{.amount = Fraction{1}, .keep_at_least = 1}) == List{1, 1});
}

TEST_CASE("a policy that skips everything is an error that says why nothing is left (Torch-Pruning, TP#204)") {
  refuses(tower({4, 2}), FilterL1{.skip = {"conv*"}},
          "the policy would prune nothing:\n  conv1: skipped by 'conv*'\n  conv2: skipped by 'conv*'\n  head: the network's output\nAsk for more, or skip less.");
  refuses(tower({4}), FilterL1{.amount = Fraction{0}},
          "the policy would prune nothing:\n  conv1: the amount leaves all of its channels\n  head: the network's output\nAsk for more, or skip less.");
}

// NNI#5277: names had gained a prefix "module.", so the masks fitted nothing, and the model stayed as it was without a word.
TEST_CASE("a selector that matches nothing is an error that lists the layers (SparseML, SML#1608)") {
  refuses(tower({4, 2}), FilterL1{.skip = {"module.conv1"}},
          ".skip has 'module.conv1', which matches no layer that writes channels; the layers are conv1, conv2, head");
  refuses(tower({4, 2}), FilterL1{.amount = PerLayer{{{"conv1", 0.5}, {"layer9.*", 0.5}}}},
          "PerLayer::remove has 'layer9.*', which matches no layer that writes channels; the layers are conv1, conv2, head");
}

TEST_CASE("a selector's star stands for any run of characters, and nothing else is special") {
  using detail::matches;
  CHECK(matches("layer1.*.conv1", "layer1.0.conv1"));
  CHECK(matches("layer1.*.conv1", "layer1.17.conv1"));
  CHECK(!matches("layer1.*.conv1", "layer1.conv1"));
  CHECK(!matches("layer1.*.conv1", "layer10.0.conv2"));
  CHECK(!matches("conv", "conv1"));
  CHECK(!matches("con.1", "conv1"));
  CHECK(matches("*", ""));
  CHECK(matches("a**b", "ab"));
  CHECK(matches("*a*b", "xaab"));
  CHECK(!matches("", "a"));
}

}  // namespace planning_test
