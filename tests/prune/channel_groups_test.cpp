// SPDX-License-Identifier: Apache-2.0
// Which channels live and die together: hand-made networks, and those of other libraries' tests.
#include <doctest/doctest.h>

#include <espalier/op/layer_norm.hpp>
#include <espalier/prune/filter_l1.hpp>
#include <espalier/prune/planning.hpp>

#include "sketch.hpp"

using namespace espalier;
using namespace espalier::test;

namespace channel_groups_test {

using Sketch = SketchOn<Trace<Reference>>;

namespace {

template <class Net>
std::vector<ChannelGroup> groups_of(const Net& net, const Shape& image) {
  return detail::find_groups<Reference>(net, image);
}

// "conv1 conv2": the layers that write each prunable group, in order.
template <class Net>
std::vector<std::string> couplings(const Net& net, const Shape& image) {
  std::vector<std::string> all;
  for (const auto& g : groups_of(net, image)) {
    if (!g.frozen_because.empty()) continue;
    std::string layers;
    for (const auto& layer : g.producers()) layers += (layers.empty() ? "" : " ") + layer;
    all.push_back(layers);
  }
  return all;
}

template <class Net>
ChannelGroup group(const Net& net, const Shape& image, const std::string& name) {
  for (auto& g : groups_of(net, image))
    if (g.name == name) return g;
  FAIL("no group ", name);
  return {};
}

const ChannelPart& part(const ChannelGroup& g, const std::string& path, ChannelRole role) {
  const auto found = std::find_if(g.parts.begin(), g.parts.end(), [&](const ChannelPart& p) { return p.path == path && p.role == role; });
  REQUIRE(found != g.parts.end());
  return *found;
}

using Names = std::vector<std::string>;
using Slices = std::vector<std::vector<Index>>;
const Shape image{1, 8, 8, 1};
// Arguments are evaluated in any order; where two layers are run, each has a line or a name of its own.

struct Normed {
  Linear<Reference> first, second;
  LayerNorm<Reference> norm;
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("first", self.first);
    visit("norm", self.norm);
    visit("second", self.second);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    return espalier::forward(ctx, self.second, espalier::forward(ctx, self.norm, espalier::forward(ctx, self.first, x)));
  }
};

struct Forgetful {
  Linear<Reference> first, second;
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("first", self.first);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    return espalier::forward(ctx, self.second, espalier::forward(ctx, self.first, x));
  }
};

}  // namespace

TEST_CASE("a convolution's channels are its filters, their batch norm and the next layer's slices") {
  Sketch net{[](auto& run, const auto& x) { return run("conv2", run.relu(run("bn", run("conv1", x)))); }};
  net.conv("conv1", 1, 3, {.bias = Bias::zeros}).norm("bn", 3).conv("conv2", 3, 2);
  const auto g = group(net, image, "conv1");
  CHECK(g.channels == 3);
  CHECK(g.frozen_because.empty());
  Names paths;
  for (const auto& p : g.parts) paths.push_back(p.path);
  CHECK(paths == Names{"conv1.weight", "bn.weight", "conv1.bias", "bn.bias", "bn.running_mean", "bn.running_var", "conv2.weight"});
  CHECK(part(g, "conv2.weight", ChannelRole::reader).axis == 1);
  CHECK(part(g, "conv2.weight", ChannelRole::reader).slices == Slices{{0}, {1}, {2}});
}

TEST_CASE("the network's input and output must stay, and say so") {
  Sketch net{[](auto& run, const auto& x) { return run("conv1", x); }};
  net.conv("conv1", 1, 3);
  CHECK(group(net, image, "conv1").frozen_because == "the network's output");
  Sketch residual{[](auto& run, const auto& x) { return run("conv2", run.add(run("conv1", x), x)); }};
  residual.conv("conv1", 4, 4).conv("conv2", 4, 2);
  CHECK(group(residual, {1, 8, 8, 4}, "conv1").frozen_because == "the network's input");
}

TEST_CASE("a flattened channel is read by H W consecutive columns") {
  Sketch net{[](auto& run, const auto& x) { return run("fc", run.flatten(run("conv1", x))); }};
  net.conv("conv1", 1, 2).linear("fc", 2 * 3 * 2, 5);
  CHECK(part(group(net, {1, 3, 2, 1}, "conv1"), "fc.weight", ChannelRole::reader).slices == Slices{{0, 1, 2, 3, 4, 5}, {6, 7, 8, 9, 10, 11}});
}

TEST_CASE("a convolution in groups ties the channels at equal places") {
  Sketch net{[](auto& run, const auto& x) { return run("conv3", run("conv2", run("conv1", x))); }};
  net.conv("conv1", 1, 4).conv("conv2", 4, 6, {.kernel = 1, .pad = 0, .groups = 2}).conv("conv3", 6, 2);
  const auto before = group(net, image, "conv1"), after = group(net, image, "conv2");
  CHECK(before.channels == 2);
  CHECK(part(before, "conv1.weight", ChannelRole::producer).slices == Slices{{0, 2}, {1, 3}});
  CHECK(part(before, "conv2.weight", ChannelRole::reader).slices == Slices{{0}, {1}});
  CHECK(after.channels == 3);
  CHECK(part(after, "conv2.weight", ChannelRole::producer).slices == Slices{{0, 3}, {1, 4}, {2, 5}});
}

// NNI#4648: such pairs ended there in groups out of balance or in empty layers.
TEST_CASE("a depthwise convolution after a pointwise one follows its channels") {
  Sketch net{[](auto& run, const auto& x) { return run("project", run("depthwise", run("expand", x))); }};
  net.conv("expand", 1, 3).conv("depthwise", 3, 6, {.depthwise = true}).conv("project", 6, 2);
  const auto g = group(net, image, "expand");
  CHECK(g.producers() == Names{"expand"});
  CHECK(part(g, "depthwise.weight", ChannelRole::filter).slices == Slices{{0, 1}, {2, 3}, {4, 5}});
  CHECK(part(g, "project.weight", ChannelRole::reader).slices == Slices{{0, 1}, {2, 3}, {4, 5}});
}

// Torch-Pruning (TP#126, TP#179) took it for one.
TEST_CASE("a convolution with one output channel is not taken for depthwise") {
  Sketch net{[](auto& run, const auto& x) { return run("conv4", run("bn3", run("conv3", run("conv2", run("conv1", x))))); }};
  net.conv("conv1", 3, 16, {}).conv("conv2", 16, 64, {}).conv("conv3", 64, 1, {}).norm("bn3", 1).conv("conv4", 1, 8, {});
  const Shape colour{1, 8, 8, 3};
  CHECK(couplings(net, colour) == Names{"conv1", "conv2", "conv3"});
  CHECK(group(net, colour, "conv2").channels == 64);
  CHECK(part(group(net, colour, "conv2"), "conv3.weight", ChannelRole::reader).axis == 1);
  CHECK(group(net, colour, "conv3").channels == 1);
}

TEST_CASE("a layer applied twice has one set of channels, and ties what it reads") {
  Sketch net{[](auto& run, const auto& x) {
    const auto a = run("shared", run("conv1", x)), b = run("shared", run("conv2", x));
    const auto c = run("conv3", a);
    return run.concat(c, run("conv4", b));
  }};
  net.conv("conv1", 1, 4).conv("conv2", 1, 4).conv("shared", 4, 5).conv("conv3", 5, 2).conv("conv4", 5, 2);
  CHECK(couplings(net, image) == Names{"conv1 conv2", "shared"});
  const auto g = group(net, image, "shared");
  CHECK(part(g, "shared.weight", ChannelRole::producer).slices == Slices{{0}, {1}, {2}, {3}, {4}});
  part(g, "conv3.weight", ChannelRole::reader);
  part(g, "conv4.weight", ChannelRole::reader);
}

TEST_CASE("groups that begin with the same layer have names of their own") {
  Sketch net{[](auto& run, const auto& x) {
    const auto whole = run("whole", x), left = run("left", x);
    return run("head", run.add(whole, run.concat(left, run("right", x))));
  }};
  net.conv("whole", 1, 5).conv("left", 1, 2).conv("right", 1, 3).conv("head", 5, 2);
  Names names;
  for (const auto& g : groups_of(net, image)) names.push_back(str(g.name, ' ', g.channels));
  CHECK(names == Names{"whole+1 2", "whole+1#2 3", "head 2"});
}

TEST_CASE("only those of a layer's channels are frozen that meet something frozen") {
  Sketch net{[](auto& run, const auto& x) {
    const auto h = run("conv", x);
    return run("head", run.add(h, run.concat(x, run("other", x))));
  }};
  net.conv("conv", 2, 5).conv("other", 2, 3).conv("head", 5, 2);
  const auto groups = groups_of(net, {1, 4, 4, 2});
  CHECK(groups[0].frozen_because == "the network's input");
  CHECK(groups[0].channels == 2);
  CHECK(groups[1].frozen_because.empty());
  CHECK(groups[1].channels == 3);
}

TEST_CASE("layer norm freezes what it mixes") {
  Reference r;
  Rng rng(1);
  const Normed net{Linear<Reference>(r, 4, 6, {}, rng), Linear<Reference>(r, 6, 2, {}, rng), LayerNorm<Reference>(r, 6)};
  CHECK(group(net, {1, 4}, "first").frozen_because.find("layer norm mixes") == 0);
}

TEST_CASE("a parameter that members() forgets is an error that says so") {
  Reference r;
  Rng rng(1);
  const Forgetful net{Linear<Reference>(r, 4, 6, {}, rng), Linear<Reference>(r, 6, 2, {}, rng)};
  CHECK_THROWS_WITH_AS(channel_groups(r, net, {1, 4}), doctest::Contains("that members() does not list"), PlanError);
}

// NNCF, tests/torch/pruning/helpers.py and test_model_pruning_analysis.py (before 9ca7ee808): its networks and the clusters it
// finds. Where it reports "closing conv missing", the channels are the network's output.

TEST_CASE("NNCF eltwise: two summed convolutions are one cluster") {
  Sketch net{[](auto& run, const auto& x) {
    const auto h = run.relu(run("conv1", x));
    const auto second = run("conv2", h);
    return run("conv4", run.relu(run.add(second, run("conv3", h))));
  }};
  net.conv("conv1", 1, 16, {.kernel = 2, .pad = 0}).conv("conv2", 16, 32, {.kernel = 2, .pad = 0}).conv("conv3", 16, 32, {.kernel = 2, .pad = 0}).conv("conv4", 32, 16, {.pad = 0});
  CHECK(couplings(net, image) == Names{"conv1", "conv2 conv3"});
  CHECK(group(net, image, "conv4").frozen_because == "the network's output");
}

TEST_CASE("NNCF branching: three summed first convolutions are one cluster, the summed last two are the output") {
  Sketch net{[](auto& run, const auto& x) {
    const auto a = run("conv1", x), b = run("conv2", x);
    const auto h = run.relu(run.add(run.add(a, b), run("conv3", x))), c = run("conv4", h);
    return run.add(c, run("conv5", h));
  }};
  for (const char* name : {"conv1", "conv2", "conv3"}) net.conv(name, 1, 3, {.kernel = 2, .pad = 0});
  for (const char* name : {"conv4", "conv5"}) net.conv(name, 3, 1, {.pad = 0});
  CHECK(couplings(net, image) == Names{"conv1 conv2 conv3"});
  CHECK(group(net, image, "conv4+1").frozen_because == "the network's output");
}

TEST_CASE("NNCF residual: the chain of sums is one cluster; a single-channel sum that is flattened is another") {
  Sketch net{[](auto& run, const auto& x) {
    auto h = run("conv1", x);
    h = run.add(h, run("conv2", h));
    h = run.relu(run.add(h, run("conv3", h)));
    const auto fourth = run("conv4", h);
    return run("linear", run.flatten(run.add(fourth, run("conv5", h))));
  }};
  net.conv("conv1", 1, 8, {}).conv("conv2", 8, 8, {}).conv("conv3", 8, 8, {}).conv("conv4", 8, 1, {}).conv("conv5", 8, 1, {}).linear("linear", 64, 10);
  // NNCF does not prune conv4 and conv5, because a linear layer reads them; flattening is no obstacle here, one channel is.
  CHECK(couplings(net, image) == Names{"conv1 conv2 conv3", "conv4 conv5"});
  CHECK(group(net, image, "conv4+1").channels == 1);
}

TEST_CASE("NNCF eltwise combination: sums that share a branch are one cluster") {
  Sketch net{[](auto& run, const auto& x) {
    auto h = run("conv1", x);
    h = run.add(h, run("conv2", h));
    const auto a = run.add(h, run("conv3", h)), b = run.add(h, run("conv4", h)), c = run("conv5", a);
    return run.add(c, run("conv6", b));
  }};
  net.conv("conv1", 1, 8, {}).conv("conv2", 8, 8, {}).conv("conv3", 8, 8, {}).conv("conv4", 8, 8, {}).conv("conv5", 8, 1, {}).conv("conv6", 8, 1, {});
  CHECK(couplings(net, image) == Names{"conv1 conv2 conv3 conv4"});
  CHECK(group(net, image, "conv5+1").frozen_because == "the network's output");
}

TEST_CASE("NNCF depthwise: the depthwise filters follow the sum before them, with one or two filters a channel") {
  for (const Index multiplier : {Index{1}, Index{2}}) {  // NNCF refuses two
    Sketch net{[](auto& run, const auto& x) {
      const auto h = run("conv1", x), second = run("conv2", h);
      return run("conv4", run("depthwise_conv", run.add(second, run("conv3", h))));
    }};
    net.conv("conv1", 1, 12).conv("conv2", 12, 24, {.pad = 0}).conv("conv3", 12, 24, {.pad = 0});
    net.conv("depthwise_conv", 24, 24 * multiplier, {.kernel = 5, .pad = 0, .depthwise = true}).conv("conv4", 24 * multiplier, 12, {.kernel = 2, .pad = 0});
    CHECK(couplings(net, image) == Names{"conv1", "conv2 conv3"});
    CHECK(part(group(net, image, "conv2+1"), "depthwise_conv.weight", ChannelRole::filter).slices[0].size() == static_cast<std::size_t>(multiplier));
    CHECK(group(net, image, "conv4").frozen_because == "the network's output");
  }
}

TEST_CASE("NNCF shared convolutions: one cluster each, for both uses") {
  Sketch net{[](auto& run, const auto& x) {
    const auto a = run("conv1", x), b = run.apply(op::MaxPool{}, a);
    const auto first = run.flatten(run("conv3", run("conv2", a)));
    return run.concat(first, run.flatten(run("conv3", run("conv2", b))));
  }};
  net.conv("conv1", 1, 8).conv("conv2", 8, 16, {.pad = 0}).conv("conv3", 16, 16);
  CHECK(couplings(net, image) == Names{"conv1", "conv2"});
  CHECK(group(net, image, "conv3").frozen_because == "the network's output");
}

// NNI, test_channel_dependency.py: concatenation along channels couples nothing, addition couples its operands.

TEST_CASE("NNI: a concatenation of channels couples nothing, an addition couples its operands") {
  Sketch concat{[](auto& run, const auto& x) {
    const auto h = run("conv1", x);
    return run("head", run.concat(h, run("conv2", x)));
  }};
  concat.conv("conv1", 1, 4).conv("conv2", 1, 4).conv("head", 8, 2);
  CHECK(couplings(concat, image) == Names{"conv1", "conv2"});
  Sketch add{[](auto& run, const auto& x) {
    const auto first = run("conv1", x), h = run.add(first, run("conv2", x)), third = run("conv3", h);
    return run("head", run.add(third, run("conv4", h)));
  }};
  add.conv("conv1", 1, 4).conv("conv2", 1, 4).conv("conv3", 4, 6).conv("conv4", 4, 6).conv("head", 6, 2);
  CHECK(couplings(add, image) == Names{"conv1 conv2", "conv3 conv4"});
}

}  // namespace channel_groups_test
