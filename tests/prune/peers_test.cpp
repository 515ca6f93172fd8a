// SPDX-License-Identifier: Apache-2.0
// Networks, widths and costs from the tests of other libraries.
#include <doctest/doctest.h>

#include <espalier/prune/filter_l1.hpp>
#include <espalier/prune/planning.hpp>

#include "sketch.hpp"

using namespace espalier;
using namespace espalier::test;

namespace {

const Shape image{1, 8, 8, 1};

struct Flops {  // as NNCF counts: two per multiply-add, no biases
  Index before, after;
  bool operator==(const Flops&) const = default;
};

template <class Net>
Flops pruned(const Net& net, const Widths& widths) {
  Reference r;
  const Plan p = plan(r, net, image, FilterL1{.amount = widths});
  return {2 * p.multiply_adds_before, 2 * p.multiply_adds_after};
}

}  // namespace

// NNCF, tests/torch/pruning/filter_pruning/test_flops_pruning.py (before 9ca7ee808): full and pruned FLOPs of networks of 1x1
// convolutions on 8x8 images, at the widths that it arrives at.

TEST_CASE("NNCF wide concat: 671,154,176 FLOPs become 399,057,920, or 402,513,920 by global ranking") {
  Sketch net{[](auto& run, const auto& x) {
    const auto h = run("conv1", x), second = run("conv2", h);
    return run("conv4", run.concat(second, run("conv3", h)));
  }};
  net.conv("conv1", 1, 512).conv("conv2", 512, 1024).conv("conv3", 512, 1024).conv("conv4", 2048, 2048);
  CHECK(pruned(net, Widths{{328, 656, 656}}) == Flops{671'154'176, 399'057'920});
  CHECK(pruned(net, Widths{{380, 647, 648}}) == Flops{671'154'176, 402'513'920});
}

TEST_CASE("NNCF wide eltwise: 268,500,992 FLOPs become 160,773,120, or 161,043,328 by global ranking") {
  Sketch net{[](auto& run, const auto& x) {
    const auto h = run("conv1", x), second = run("conv2", h);
    return run("conv4", run.add(second, run("conv3", h)));
  }};
  net.conv("conv1", 1, 512).conv("conv2", 512, 1024).conv("conv3", 512, 1024).conv("conv4", 1024, 1024);
  CHECK(pruned(net, Widths{{360, 720}}) == Flops{268'500'992, 160'773'120});
  CHECK(pruned(net, Widths{{321, 755}}) == Flops{268'500'992, 161'043'328});
}

TEST_CASE("NNCF shared convolutions: 461,438,976 FLOPs become 275,300,352, or 276,594,768 by global ranking") {
  Sketch net{[](auto& run, const auto& x) {
    const auto large = run("conv1", x), small = run.apply(op::MaxPool{}, large);
    const auto first = run.flatten(run("conv3", run("conv2", large)));
    return run.concat(first, run.flatten(run("conv3", run("conv2", small))));
  }};
  net.conv("conv1", 1, 512).conv("conv2", 512, 1024, {.pad = 0}).conv("conv3", 1024, 1024);
  CHECK(pruned(net, Widths{{384, 768}}) == Flops{461'438'976, 275'300'352});
  CHECK(pruned(net, Widths{{361, 809}}) == Flops{461'438'976, 276'594'768});
}

TEST_CASE("NNCF groups and depthwise: 11,243,520 FLOPs; what it leaves alone, plan() may prune") {
  Sketch net{[](auto& run, const auto& x) { return run("fc", run.flatten(run("conv3", run("conv2", run("conv1", x))))); }};
  net.conv("conv1", 1, 512).conv("conv2", 512, 128, {.pad = 0, .groups = 4}).conv("conv3", 128, 128, {.pad = 0, .depthwise = true}).linear("fc", 2048, 128);
  Reference r;
  const Plan p = plan(r, net, image, FilterL1{.amount = Fraction{0.5}});
  CHECK(2 * p.multiply_adds_before == 11'243'520);
  // Halved by hand: 64 (256) + 36 (64)(256 / 4) 9 + 16 (64) 9 + 1024 (128).
  CHECK(p.multiply_adds_after == 16'384 + 1'327'104 + 9'216 + 131'072);
}

TEST_CASE("NNCF small: 216, 54 and 2 FLOPs") {
  Sketch net{[](auto& run, const auto& x) { return run("conv3", run("conv2", run.relu(run("conv1", x)))); }};
  net.conv("conv1", 1, 3, {.kernel = 2, .pad = 0}).conv("conv2", 3, 1, {.pad = 0}).conv("conv3", 1, 1);
  std::vector<Index> flops;
  for (const auto& layer : cost<Reference>(net, {1, 4, 4, 1}).layers)
    if (layer.parameters > 0) flops.push_back(2 * layer.multiply_adds);
  CHECK(flops == std::vector<Index>{216, 54, 2});
}

// Torch-Pruning, tests/test_cascaded_concat.py: 10 -> 5, 20 -> 10, 30 -> 15, 60 -> 30 at a ratio of one half.
TEST_CASE("Torch-Pruning cascaded concat: each block halves, whatever the concatenations nest") {
  Sketch net{[](auto& run, const auto& x) {
    const auto gelu = [&](const auto& h) { return run.apply(op::Gelu{}, h); };
    const auto first = run("bn1b", run("conv1b", gelu(run("bn1a", run("conv1a", x)))));
    const auto second = run("bn2b", run("conv2b", gelu(run("bn2a", run("conv2a", x)))));
    const auto both = run.concat(first, second);
    const auto three = run.concat(both, run("bn3", run("conv3", x)));
    return run("output", run.concat(three, run("bn4", run("conv4", x))));
  }};
  for (const char* suffix : {"a", "b"}) {
    net.conv(str("conv1", suffix), 10, 10).norm(str("bn1", suffix), 10);
    net.conv(str("conv2", suffix), *suffix == 'a' ? 10 : 20, 20).norm(str("bn2", suffix), 20);
  }
  net.conv("conv3", 10, 30).norm("bn3", 30).conv("conv4", 10, 60).norm("bn4", 60).conv("output", 120, 10);
  Reference r;
  const Shape wide{1, 7, 7, 10};
  const auto slim = shrink(r, net, plan(r, net, wide, Structured<Random>{.amount = Fraction{0.5}}));
  CHECK(get(slim, "conv1a.weight").shape == Shape{5, 10, 1, 1});
  CHECK(get(slim, "conv1b.weight").shape == Shape{5, 5, 1, 1});
  CHECK(get(slim, "conv2a.weight").shape == Shape{10, 10, 1, 1});
  CHECK(get(slim, "conv2b.weight").shape == Shape{10, 10, 1, 1});
  CHECK(get(slim, "conv3.weight").shape == Shape{15, 10, 1, 1});
  CHECK(get(slim, "conv4.weight").shape == Shape{30, 10, 1, 1});
  CHECK(get(slim, "output.weight").shape == Shape{10, 60, 1, 1});
  CHECK(predict(r, slim, Tensor<Reference>::zeros(r, wide)).shape() == Shape{1, 7, 7, 10});
}
