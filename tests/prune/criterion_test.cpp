// SPDX-License-Identifier: Apache-2.0
// Criteria against numbers done by hand, by other libraries, and against the laws of their contract.
#include <doctest/doctest.h>

#include <limits>

#include <espalier/prune/planning.hpp>

#include <archetypes/criterion.hpp>

#include "sketch.hpp"

using namespace espalier;
using namespace espalier::test;

namespace criterion_test {

using Sketch = SketchOn<Trace<Reference>>;

namespace {

// A group of layers that each write every channel with one slice: values [channels, rest...].
struct Bench {
  std::vector<HostTensor> values, gradients;
  ChannelGroup group;

  explicit Bench(Index channels) { group.name = "conv", group.channels = channels; }
  Bench& add(ChannelRole role, HostTensor value, HostTensor gradient = {}) {
    values.push_back(std::move(value));
    gradients.push_back(std::move(gradient));
    ChannelPart part{.path = str("layer", values.size(), ".weight"), .role = role};
    for (Index c = 0; c < group.channels; ++c) part.slices.push_back({c});
    group.parts.push_back(part);
    return *this;
  }
  template <Criterion C>
  std::vector<double> score(const C& criterion) const {
    ChannelGroup pointed = group;
    for (std::size_t i = 0; i < values.size(); ++i) {
      pointed.parts[i].value = &values[i];
      pointed.parts[i].gradient = gradients[i].values.empty() ? nullptr : &gradients[i];
    }
    std::vector<double> out(static_cast<std::size_t>(group.channels), -7.0);  // whatever was there is overwritten
    criterion.score(pointed, out);
    return out;
  }
};

HostTensor arange(const Shape& shape) {
  HostTensor t{shape, {}};
  for (Index i = 0; i < shape.count(); ++i) t.values.push_back(static_cast<float>(i));
  return t;
}

HostTensor random(const Shape& shape, Rng& rng) {
  HostTensor t{shape, {}};
  for (Index i = 0; i < shape.count(); ++i) t.values.push_back(rng.normal());
  return t;
}

HostTensor permuted(const HostTensor& t, const std::vector<std::size_t>& order) {
  HostTensor out{t.shape, {}};
  const std::size_t row = t.values.size() / order.size();
  for (const std::size_t from : order)
    out.values.insert(out.values.end(), t.values.begin() + static_cast<std::ptrdiff_t>(from * row), t.values.begin() + static_cast<std::ptrdiff_t>((from + 1) * row));
  return out;
}

using Scores = std::vector<double>;
constexpr auto producer = ChannelRole::producer;

// A criterion of a user's own: the L1 norm in each writer, put together in another way than by adding up.
struct Reduced {
  enum class By { mean, max, product };
  By by = By::mean;
  bool operator==(const Reduced&) const = default;
  void score(const ChannelGroup& group, std::span<double> out) const {
    std::fill(out.begin(), out.end(), by == By::product ? 1.0 : 0.0);
    const auto writers = static_cast<double>(group.producers().size());
    for (const ChannelPart& part : group.parts) {
      if (part.role != producer) continue;
      Scores norms(out.size());
      L1Norm{}.score(ChannelGroup{.name = group.name, .channels = group.channels, .parts = {part}}, norms);
      for (std::size_t i = 0; i < out.size(); ++i) {
        if (by == By::mean) out[i] += norms[i] / writers;
        else out[i] = by == By::max ? std::max(out[i], norms[i]) : out[i] * norms[i];
      }
    }
  }
  friend std::ostream& operator<<(std::ostream& to, const Reduced& r) {
    return to << "Reduced{Reduced::By::" << (r.by == By::mean ? "mean" : r.by == By::max ? "max" : "product") << '}';
  }
};

}  // namespace

// NNCF, tests/torch/pruning/filter_pruning/test_functions.py (before 9ca7ee808): weights 0, 1, 2, ... in the layout [out, in, h, w].
TEST_CASE("NNCF's numbers: L1 1770 and 5370, L2 264.97 and 706.12, geometric median 758.95, 505.96, 758.95") {
  const auto norms = Bench(2).add(producer, arange({2, 3, 4, 5}));
  CHECK(norms.score(L1Norm{}) == Scores{1770, 5370});
  CHECK(norms.score(L2Norm{})[0] == doctest::Approx(264.9716966).epsilon(1e-9));
  CHECK(norms.score(L2Norm{})[1] == doctest::Approx(706.12321871).epsilon(1e-9));
  const auto median = Bench(3).add(producer, arange({3, 2, 4, 5})).score(GeometricMedian{});
  CHECK(median[0] == doctest::Approx(758.94663844).epsilon(1e-9));
  CHECK(median[1] == doctest::Approx(505.96442563).epsilon(1e-9));
  CHECK(median[2] == doctest::Approx(758.94663844).epsilon(1e-9));
}

TEST_CASE("L1 and L2 take magnitudes, and sum over the layers that write a channel") {
  const auto one = Bench(2).add(producer, {{2, 2}, {-3, 4, 0, 5}});
  CHECK(one.score(L1Norm{}) == Scores{7, 5});
  CHECK(one.score(L2Norm{}) == Scores{5, 5});
  auto two = Bench(2);
  two.add(producer, {{2, 2}, {-3, 4, 0, 5}}).add(producer, {{2, 1}, {-1, 2}});
  CHECK(two.score(L1Norm{}) == Scores{8, 7});
  CHECK(two.score(L2Norm{}) == Scores{6, 7});
}

// Torch-Pruning, tests/test_importance_reduction.py: mean, sum, max and prod over the layers of a group. The library sums.
TEST_CASE("the mean over the writers orders as their sum does; the largest and the product are criteria of one's own") {
  auto bench = Bench(3);
  bench.add(producer, {{3, 1}, {6, 1, 4}}).add(producer, {{3, 1}, {1, 7, 4}});
  CHECK(bench.score(L1Norm{}) == Scores{7, 8, 8});
  CHECK(bench.score(Reduced{Reduced::By::mean}) == Scores{3.5, 4, 4});
  CHECK(bench.score(Reduced{Reduced::By::max}) == Scores{6, 7, 4});
  CHECK(bench.score(Reduced{Reduced::By::product}) == Scores{6, 7, 16});
  CHECK(detail::as_written(Reduced{Reduced::By::max}) == "Reduced{Reduced::By::max}");
}

TEST_CASE("biases, shifts, scales and readers do not count in norms") {
  auto bench = Bench(2);
  bench.add(producer, {{2, 1}, {1, 2}}).add(ChannelRole::shift, {{2}, {100, 0}}).add(ChannelRole::scale, {{2}, {100, 0}});
  bench.add(ChannelRole::reader, {{2, 1}, {100, 0}}).add(ChannelRole::filter, {{2, 1}, {100, 0}}).add(ChannelRole::statistic, {{2}, {100, 0}});
  CHECK(bench.score(L1Norm{}) == Scores{1, 2});
  CHECK(bench.score(L2Norm{}) == Scores{1, 2});
}

TEST_CASE("BatchNormScale is |gamma|, and a group without batch norm is an error that names it") {
  auto bench = Bench(3);
  bench.add(producer, {{3, 1}, {9, 9, 9}}).add(ChannelRole::scale, {{3}, {-2, 0.5F, 1}});
  CHECK(bench.score(BatchNormScale{}) == Scores{2, 0.5, 1});
  CHECK_THROWS_WITH_AS(Bench(1).add(producer, {{1, 1}, {1}}).score(BatchNormScale{}),
                       "BatchNormScale: group 'conv' has no batch norm to read a scale from; skip it, or score by L1Norm", PolicyError);
}

TEST_CASE("Taylor is |sum of weight times gradient| of each filter, and asks for a gradient that is missing") {
  const auto bench = Bench(2).add(producer, {{2, 2}, {1, 2, 3, 4}}, {{2, 2}, {3, -2, 0.5F, -1}});
  CHECK(bench.score(Taylor{}) == Scores{1, 2.5});
  CHECK_THROWS_WITH_AS(Bench(1).add(producer, {{1, 1}, {1}}).score(Taylor{}), doctest::Contains("run forward and backward on a batch first"), PolicyError);
}

TEST_CASE("Random draws by seed and group: the same again, not the same elsewhere") {
  auto bench = Bench(8), other = Bench(8);
  bench.add(producer, arange({8, 1})), other.add(producer, arange({8, 1}));
  other.group.name = "conv2";
  CHECK(bench.score(Random{1}) == bench.score(Random{1}));
  CHECK(bench.score(Random{1}) != bench.score(Random{2}));
  CHECK(bench.score(Random{1}) != other.score(Random{1}));
}

TEST_CASE("Reversed turns an order round") {
  const auto bench = Bench(3).add(producer, {{3, 1}, {1, -3, 2}});
  CHECK(bench.score(Reversed<L1Norm>{}) == Scores{-1, -3, -2});
}

TEST_CASE("criteria are written as in code") {
  const auto text = [](const auto& criterion) { return detail::as_written(criterion); };
  CHECK(text(L1Norm{}) == "L1Norm{}");
  CHECK(text(Random{.seed = 3}) == "Random{.seed = 3}");
  CHECK(text(Reversed<GeometricMedian>{}) == "Reversed{.criterion = GeometricMedian{}}");
}

TEST_CASE_TEMPLATE("law: permuting the channels permutes the scores, and scoring twice changes nothing", C, L1Norm, L2Norm, BatchNormScale,
                   GeometricMedian, Taylor, Reversed<L1Norm>) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    const auto channels = static_cast<Index>(2 + rng.below(12));
    const Shape first{channels, static_cast<Index>(1 + rng.below(4)), 3, 3}, second{channels, static_cast<Index>(1 + rng.below(4))};
    const HostTensor tensors[] = {random(first, rng), random(first, rng), random(second, rng), random(second, rng), random({channels}, rng)};
    std::vector<std::size_t> order(static_cast<std::size_t>(channels));
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(static_cast<std::uint32_t>(i))]);

    Bench plain(channels), shuffled(channels);
    plain.add(producer, tensors[0], tensors[1]).add(producer, tensors[2], tensors[3]).add(ChannelRole::scale, tensors[4]);
    shuffled.add(producer, permuted(tensors[0], order), permuted(tensors[1], order)).add(producer, permuted(tensors[2], order), permuted(tensors[3], order));
    shuffled.add(ChannelRole::scale, permuted(tensors[4], order));
    const auto scores = plain.score(C{}), moved = shuffled.score(C{});
    CHECK(plain.score(C{}) == scores);
    for (std::size_t i = 0; i < order.size(); ++i) CHECK(moved[i] == doctest::Approx(scores[order[i]]).epsilon(1e-12));
  }
}

// torch.ao.pruning, test_structured_sparsifier.py: rows scaled 1 to 4, half pruned.
TEST_CASE("torch.ao's saliency: of rows scaled 1, 2, 3, 4 half go, rows 3 and 4 stay") {
  Sketch net{[](auto& run, const auto& x) { return run("head", run.relu(run("linear", x))); }};
  net.linear("linear", 3, 4).linear("head", 4, 2);
  set(net, "linear.weight", {1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4});
  Reference r;
  CHECK(plan(r, net, {1, 3}, Structured<L2Norm>{.amount = Widths{{2}}, .linear = LinearLayers::prune}).groups[0].remove == std::vector<Index>{0, 1});
  const auto slim = shrink(r, net, plan(r, net, {1, 3}, Structured<L1Norm>{.amount = Fraction{0.5}, .linear = LinearLayers::prune}));
  CHECK(get(slim, "linear.weight") == HostTensor{{2, 3}, {3, 3, 3, 4, 4, 4}});
}

TEST_CASE("plan() needs no more than the archetype of a criterion") {
  Sketch net{[](auto& run, const auto& x) { return run("conv2", run("conv1", x)); }};
  net.conv("conv1", 1, 4).conv("conv2", 4, 2);
  Reference r;
  const Structured<LeastCriterion> policy{.amount = Fraction{0.5}};
  const Plan p = plan(r, net, {1, 4, 4, 1}, policy);
  CHECK(p.groups[0].remove == std::vector<Index>{0, 1});
  CHECK(p.policy == "Structured{.criterion = LeastCriterion{}, .amount = Fraction{.remove = 0.5}}");
  const Structured<Reversed<LeastCriterion>> reversed{.amount = Global{.remove = 0.5}};
  CHECK(plan(r, net, {1, 4, 4, 1}, reversed).groups[0].remove == std::vector<Index>{2, 3});
  CHECK(plan(r, net, {1, 4, 4, 1}, Structured<LeastCriterion>{.amount = Fraction{0.5}, .selection = Selection::greedy}).removed() == 2);
}

TEST_CASE("a score that is not finite is an error that says where") {
  Sketch net{[](auto& run, const auto& x) { return run("conv2", run("conv1", x)); }};
  net.conv("conv1", 1, 3).conv("conv2", 3, 2);
  Reference r;
  for (const auto& [bad, word] : {std::pair{std::numeric_limits<float>::quiet_NaN(), "NaN"}, std::pair{std::numeric_limits<float>::infinity(), "infinity"}}) {
    set(net, "conv1.weight", {1, bad, 2});
    CHECK_THROWS_WITH_AS(plan(r, net, {1, 4, 4, 1}, Structured<L1Norm>{}),
                         str("the criterion gave channel 1 of 'conv1' the score ", word, "; a network with non-finite weights cannot be pruned").c_str(), PolicyError);
  }
}

// Each of these but the first lacks one thing.
namespace near_misses {

struct Complete {
  bool operator==(const Complete&) const = default;
  void score(const ChannelGroup&, std::span<double>) const {}
  friend std::ostream& operator<<(std::ostream& to, const Complete&) { return to; }
};
struct NotConst {
  bool operator==(const NotConst&) const = default;
  void score(const ChannelGroup&, std::span<double>) {}
  friend std::ostream& operator<<(std::ostream& to, const NotConst&) { return to; }
};
struct Floats {
  bool operator==(const Floats&) const = default;
  void score(const ChannelGroup&, std::span<float>) const {}
  friend std::ostream& operator<<(std::ostream& to, const Floats&) { return to; }
};
struct ByReference {
  bool operator==(const ByReference&) const = default;
  void score(ChannelGroup&, std::span<double>) const {}
  friend std::ostream& operator<<(std::ostream& to, const ByReference&) { return to; }
};
struct Incomparable {
  void score(const ChannelGroup&, std::span<double>) const {}
  friend std::ostream& operator<<(std::ostream& to, const Incomparable&) { return to; }
};
struct Silent {
  bool operator==(const Silent&) const = default;
  void score(const ChannelGroup&, std::span<double>) const {}
};
struct Unique {
  Unique() = default;
  Unique(Unique&&) = default;
  Unique& operator=(Unique&&) = default;
  bool operator==(const Unique&) const = default;
  void score(const ChannelGroup&, std::span<double>) const {}
  friend std::ostream& operator<<(std::ostream& to, const Unique&) { return to; }
};
struct NeedsArguments {
  explicit NeedsArguments(int) {}
  bool operator==(const NeedsArguments&) const = default;
  void score(const ChannelGroup&, std::span<double>) const {}
  friend std::ostream& operator<<(std::ostream& to, const NeedsArguments&) { return to; }
};

static_assert(Criterion<Complete>);
static_assert(!Criterion<NotConst> && !Criterion<Floats> && !Criterion<ByReference>);
static_assert(!Criterion<Incomparable> && !Criterion<Silent> && !Criterion<Unique> && !Criterion<NeedsArguments>);
static_assert(!Criterion<Fraction> && !Criterion<double>);

}  // namespace near_misses

}  // namespace criterion_test
