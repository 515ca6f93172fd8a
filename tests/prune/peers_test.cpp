// SPDX-License-Identifier: Apache-2.0
// Networks, widths and costs from the tests of other libraries.
#include <doctest/doctest.h>

#include <cmath>

#include <espalier/prune/filter_l1.hpp>
#include <espalier/prune/planning.hpp>

#include "sketch.hpp"

using namespace espalier;
using namespace espalier::test;

namespace peers_test {

using Sketch = SketchOn<Trace<Reference>, Eval<Reference>>;

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

// What NNCF ranks all filters by: the norm of each, after its layer's weights were divided by their norm, summed over a
// cluster. A layer that is applied twice counts twice there.
struct NncfImportance {
  std::string applied_twice{};
  bool operator==(const NncfImportance&) const = default;
  void score(const ChannelGroup& group, std::span<double> out) const {
    std::fill(out.begin(), out.end(), 0.0);
    for (const auto& part : group.parts) {
      if (part.role != ChannelRole::producer) continue;
      const double scale = (layer_of(part.path) == applied_twice ? 2 : 1) / norm(part.value->values);
      for (std::size_t channel = 0; channel < out.size(); ++channel)
        for (const Index slice : part.slices[channel]) out[channel] += scale * norm(part.row(*part.value, slice));
    }
  }
  static double norm(std::span<const float> values) {
    double squares = 0;
    for (const float v : values) squares += static_cast<double>(v) * static_cast<double>(v);
    return std::sqrt(squares);
  }
  friend std::ostream& operator<<(std::ostream& to, const NncfImportance& c) { return to << "NncfImportance{\"" << c.applied_twice << "\"}"; }
};

// The weights of NNCF's test networks: filter i holds 1 + i, and 1 more on its kernel's diagonal.
template <class Net>
void number_filters(Net& net, const std::string& layer) {
  const Shape shape = get(net, layer + ".weight").shape;
  std::vector<float> values;
  for (Index out = 0; out < shape[0]; ++out)
    for (Index i = 0; i < shape.count() / shape[0]; ++i) {
      const Index in_kernel = i % (shape[2] * shape[3]);
      values.push_back(static_cast<float>(1 + out + (in_kernel / shape[3] == in_kernel % shape[3] ? 1 : 0)));
    }
  set(net, layer + ".weight", values);
}

// All filters ranked together, `removed` of `all` go: the widths of the groups that may be pruned, and the FLOPs that stay.
struct Ranked {
  Index flops = 0;
  std::vector<Index> widths{};
  bool operator==(const Ranked&) const = default;
};

template <class Net>
Ranked ranked(const Net& net, Index removed, Index all, const NncfImportance& importance = {}) {
  Reference r;
  const Global amount{.remove = static_cast<double>(removed) / static_cast<double>(all), .scale = Global::Scale::none};
  const Plan p = plan(r, net, image, Structured<NncfImportance>{.criterion = importance, .amount = amount});
  Ranked result{.flops = 2 * p.multiply_adds_after};
  for (const auto& g : p.groups)
    if (!g.remove.empty()) result.widths.push_back(g.keep());
  return result;
}

}  // namespace

// NNCF, tests/torch/pruning/filter_pruning/test_flops_pruning.py (before 9ca7ee808): full and pruned FLOPs of networks of 1x1
// convolutions on 8x8 images. Its target is to leave less than 60 %. Its search for one share for all layers is not repeated
// here, only the widths that it ends with; its ranking of all filters together is: they go one by one until the target is met.

TEST_CASE("NNCF wide concat: 671,154,176 FLOPs, 399,057,920 at its widths, 402,513,920 by ranking all filters together") {
  Sketch net{[](auto& run, const auto& x) {
    const auto h = run("conv1", x), second = run("conv2", h);
    return run("conv4", run.concat(second, run("conv3", h)));
  }};
  net.conv("conv1", 1, 512).conv("conv2", 512, 1024).conv("conv3", 512, 1024).conv("conv4", 2048, 2048);
  CHECK(pruned(net, Widths{{328, 656, 656}}) == Flops{671'154'176, 399'057'920});
  for (const char* layer : {"conv1", "conv2", "conv3"}) number_filters(net, layer);
  // conv2 and conv3 hold the same numbers. Of equal filters NNCF removes the earlier first, and keeps 647 and 648.
  CHECK(ranked(net, 885, 2560) == Ranked{402'513'920, {380, 648, 647}});
  CHECK(10 * ranked(net, 884, 2560).flops >= 6 * 671'154'176LL);
}

TEST_CASE("NNCF wide eltwise: 268,500,992 FLOPs, 160,773,120 at its widths, 161,043,328 by ranking all filters together") {
  Sketch net{[](auto& run, const auto& x) {
    const auto h = run("conv1", x), second = run("conv2", h);
    return run("conv4", run.add(second, run("conv3", h)));
  }};
  net.conv("conv1", 1, 512).conv("conv2", 512, 1024).conv("conv3", 512, 1024).conv("conv4", 1024, 1024);
  CHECK(pruned(net, Widths{{360, 720}}) == Flops{268'500'992, 160'773'120});
  for (const char* layer : {"conv1", "conv2", "conv3"}) number_filters(net, layer);
  CHECK(ranked(net, 460, 1536) == Ranked{161'043'328, {321, 755}});
  CHECK(10 * ranked(net, 459, 1536).flops >= 6 * 268'500'992LL);
}

TEST_CASE("NNCF shared convolutions: 461,438,976 FLOPs, 275,300,352 at its widths, 276,594,768 by ranking all filters together") {
  Sketch net{[](auto& run, const auto& x) {
    const auto large = run("conv1", x), small = run.apply(op::MaxPool{}, large);
    const auto first = run.flatten(run("conv3", run("conv2", large)));
    return run.concat(first, run.flatten(run("conv3", run("conv2", small))));
  }};
  net.conv("conv1", 1, 512).conv("conv2", 512, 1024, {.pad = 0}).conv("conv3", 1024, 1024);
  CHECK(pruned(net, Widths{{384, 768}}) == Flops{461'438'976, 275'300'352});
  for (const char* layer : {"conv1", "conv2"}) number_filters(net, layer);
  const NncfImportance importance{.applied_twice = "conv2"};
  CHECK(ranked(net, 366, 1536, importance) == Ranked{276'594'768, {361, 809}});
  CHECK(10 * ranked(net, 365, 1536, importance).flops >= 6 * 461'438'976LL);
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

// NNI, test/algo/compression, the cases of test_pruner: a sparsity of 0.75, masks of biases, dependency-aware masks.
TEST_CASE("NNI: at a sparsity of 0.75 a bias loses what its filters lose, and convolutions that are summed lose the same") {
  Sketch net{[](auto& run, const auto& x) {
    const auto first = run("conv1", x), h = run.relu(run.add(first, run("conv2", x)));
    return run("fc", run.flatten(run("conv3", h)));
  }};
  const ConvOptions biased{.bias = Bias::zeros};
  net.conv("conv1", 1, 8, biased).conv("conv2", 1, 8, biased).conv("conv3", 8, 16, biased).linear("fc", 16 * 64, 10);
  for (const auto& [name, layer] : net.convs) set(net, name + ".bias", std::vector<float>(static_cast<std::size_t>(layer.weight.outside_shape()[0]), 1.0F));
  Reference r;
  const auto masked = mask(r, net, plan(r, net, image, FilterL1{.amount = Fraction{0.75}}));
  const auto alive = [&](const std::string& path) {  // along the first axis; a slice is zero as a whole, or nowhere
    const HostTensor t = get(masked, path);
    const auto slice = static_cast<std::ptrdiff_t>(t.values.size()) / t.shape[0];
    std::vector<bool> result;
    for (auto at = t.values.begin(); at != t.values.end(); at += slice) {
      const auto zeros = std::count(at, at + slice, 0.0F);
      CHECK((zeros == 0 || zeros == slice));
      result.push_back(zeros == 0);
    }
    return result;
  };
  for (const std::string layer : {"conv1", "conv2", "conv3"}) {
    const auto filters = alive(layer + ".weight");
    CHECK(4 * std::count(filters.begin(), filters.end(), true) == static_cast<std::ptrdiff_t>(filters.size()));
    CHECK(alive(layer + ".bias") == filters);
  }
  CHECK(alive("conv1.weight") == alive("conv2.weight"));
}

}  // namespace peers_test
