// SPDX-License-Identifier: Apache-2.0
// Li et al. 2017, table 1, to the last parameter; and the epochs that Liu et al. 2019 derive from it.
#include <doctest/doctest.h>

#include <espalier/backend/reference.hpp>
#include <espalier/models/resnet_cifar.hpp>
#include <espalier/models/vgg.hpp>
#include <espalier/prune/papers.hpp>
#include <espalier/prune/planning.hpp>

using namespace espalier;
using models::ShortcutA;
using R = Reference;

namespace {

const Shape cifar_image{1, 32, 32, 3};

struct Row {
  Index parameters, multiply_adds;
  bool operator==(const Row&) const = default;
};

Row row(const NetworkCost& c) { return {c.parameters, c.multiply_adds}; }

struct Outcome {
  Plan plan;
  NetworkCost before, after;

  // FLOPs of the large network over those of the small one, as the rethinking reference counts them.
  double ratio() const {
    return static_cast<double>(before.flops_of_rethinking_reference()) / static_cast<double>(after.flops_of_rethinking_reference());
  }
  // Scratch-B: int(epochs * ratio).
  int epochs() const { return static_cast<int>(160 * ratio()); }
  // What is left of every group whose name matches.
  std::vector<Index> widths(const std::string& selector) const {
    std::vector<Index> found;
    for (const auto& g : plan.groups)
      if (detail::matches(selector, g.name)) found.push_back(g.keep());
    return found;
  }
};

// The plan's own figures and the cost of the network that shrink() returns must be one.
template <class Net>
Outcome prune(R& r, const Net& net, const FilterL1& policy) {
  Outcome o{plan(r, net, cifar_image, policy), cost<R>(net, cifar_image), {}};
  o.after = cost<R>(shrink(r, net, o.plan), cifar_image);
  CHECK(row(o.before) == Row{o.plan.parameters_before, o.plan.multiply_adds_before});
  CHECK(row(o.after) == Row{o.plan.parameters_after, o.plan.multiply_adds_after});
  return o;
}

Outcome prune_resnet(int depth, ShortcutA form, const FilterL1& policy) {
  R r;
  return prune(r, models::ResNetCifar<R>(r, {.depth = depth, .shortcut = form}, Rng(1)), policy);
}

std::vector<Index> widths(std::initializer_list<std::pair<int, Index>> runs) {
  std::vector<Index> all;
  for (const auto& [times, width] : runs) all.insert(all.end(), static_cast<std::size_t>(times), width);
  return all;
}

}  // namespace

TEST_CASE("VGG-16-A has the paper's parameters, multiply-adds and widths") {
  R r;
  const auto o = prune(r, models::Vgg<R>(r, models::vgg16, Rng(1)), papers::li2017::vgg16_a());
  CHECK(row(o.before) == Row{14'987'722, 313'463'808});
  CHECK(row(o.after) == Row{5'397'034, 206'279'680});
  CHECK(o.widths("features.*") == widths({{1, 32}, {1, 64}, {2, 128}, {9, 256}}));
  CHECK(o.widths("classifier.*") == widths({{1, 512}, {1, 10}}));
}

TEST_CASE("VGG-16-A costs 627,884,042 FLOPs of the rethinking reference before, 413,366,282 after: 243 epochs") {
  R r;
  const auto o = prune(r, models::Vgg<R>(r, models::vgg16, Rng(1)), papers::li2017::vgg16_a());
  CHECK(o.before.flops_of_rethinking_reference() == 627'884'042);
  CHECK(o.after.flops_of_rethinking_reference() == 413'366'282);
  CHECK(o.ratio() == doctest::Approx(1.51895).epsilon(5e-6));
  CHECK(o.epochs() == 243);
}

TEST_CASE("ResNet-56 and 110 have the paper's parameters and multiply-adds, with either shortcut") {
  for (const ShortcutA form : {ShortcutA::pad_both_sides, ShortcutA::pad_after}) {
    CAPTURE(static_cast<int>(form));
    using namespace papers::li2017;
    const auto a56 = prune_resnet(56, form, resnet56_a()), b56 = prune_resnet(56, form, resnet56_b());
    CHECK(row(a56.before) == Row{853'018, 125'485'696});
    CHECK(row(a56.after) == Row{773'336, 112'435'840});
    CHECK(row(b56.after) == Row{735'712, 90'907'264});
    const auto a110 = prune_resnet(110, form, resnet110_a()), b110 = prune_resnet(110, form, resnet110_b());
    CHECK(row(a110.before) == Row{1'727'962, 252'887'680});
    CHECK(row(a110.after) == Row{1'688'522, 212'779'648});
    CHECK(row(b110.after) == Row{1'168'424, 155'124'352});
  }
}

TEST_CASE("the pruned ResNets have the paper's widths, block by block") {
  using namespace papers::li2017;
  const auto stage = [](const Outcome& o, int number) { return o.widths(str("layer", number, ".*.conv1")); };
  const auto a56 = prune_resnet(56, ShortcutA::pad_after, resnet56_a());
  CHECK(stage(a56, 1) == widths({{7, 14}, {1, 16}, {1, 14}}));
  CHECK(stage(a56, 2) == widths({{1, 32}, {8, 28}}));
  CHECK(stage(a56, 3) == widths({{1, 64}, {7, 57}, {1, 64}}));
  const auto b56 = prune_resnet(56, ShortcutA::pad_after, resnet56_b());
  CHECK(stage(b56, 1) == widths({{7, 6}, {2, 16}}));
  CHECK(stage(b56, 2) == widths({{1, 32}, {6, 22}, {1, 32}, {1, 22}}));
  CHECK(stage(b56, 3) == widths({{1, 64}, {7, 57}, {1, 64}}));
  const auto a110 = prune_resnet(110, ShortcutA::pad_after, resnet110_a());
  CHECK(stage(a110, 1) == widths({{17, 8}, {1, 16}}));
  CHECK(stage(a110, 2) == widths({{18, 32}}));
  CHECK(stage(a110, 3) == widths({{18, 64}}));
  const auto b110 = prune_resnet(110, ShortcutA::pad_after, resnet110_b());
  CHECK(stage(b110, 1) == widths({{17, 8}, {1, 16}}));
  CHECK(stage(b110, 2) == widths({{1, 32}, {17, 19}}));
  CHECK(stage(b110, 3) == widths({{1, 64}, {17, 44}}));
}

TEST_CASE("the pruned ResNets get the paper's Scratch-B epochs") {
  using namespace papers::li2017;
  struct Case {
    int depth;
    FilterL1 policy;
    double ratio;
    int epochs;
  };
  const Case cases[] = {{56, resnet56_a(), 1.11565, 178}, {56, resnet56_b(), 1.37914, 220}, {110, resnet110_a(), 1.18827, 190}, {110, resnet110_b(), 1.62728, 260}};
  for (const auto& c : cases) {
    // Without the pixels that the other form's average pool reads.
    const auto strided = prune_resnet(c.depth, ShortcutA::pad_both_sides, c.policy);
    CHECK(strided.ratio() == doctest::Approx(c.ratio).epsilon(5e-6));
    CHECK(strided.epochs() == c.epochs);
    CHECK(prune_resnet(c.depth, ShortcutA::pad_after, c.policy).epochs() == c.epochs);
  }
}
