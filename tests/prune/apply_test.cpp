// SPDX-License-Identifier: Apache-2.0
// mask() and shrink() on numbers small enough to check by eye, and the plans that they refuse.
#include <doctest/doctest.h>

#include <espalier/models/resnet_cifar.hpp>
#include <espalier/prune/filter_l1.hpp>
#include <espalier/prune/planning.hpp>

#include "sketch.hpp"

using namespace espalier;
using namespace espalier::test;

namespace apply_test {

using Sketch = SketchOn<Trace<Reference>, Eval<Reference>>;

namespace {

const Shape image{1, 2, 2, 1};

// conv1 (with bias) -> bn -> conv2 -> flatten -> head, 1x1 kernels, distinct numbers everywhere.
auto example() {
  Sketch net{[](auto& run, const auto& x) { return run("head", run.flatten(run("conv2", run.relu(run("bn", run("conv1", x)))))); }};
  net.conv("conv1", 1, 3, {.kernel = 1, .pad = 0, .bias = Bias::zeros}).norm("bn", 3).conv("conv2", 3, 2).linear("head", 8, 1);
  set(net, "conv1.weight", {5, 1, 7});
  set(net, "conv1.bias", {11, 12, 13});
  set(net, "bn.weight", {21, 22, 23});
  set(net, "bn.bias", {31, 32, 33});
  set(net, "conv2.weight", {41, 42, 43, 1, 2, 3});
  set(net, "head.weight", {51, 52, 53, 54, 55, 56, 57, 58});
  Reference r;
  net.norms[0].layer.running_mean.value = from_host(r, {{3}, {61, 62, 63}}, Layout::plain);
  net.norms[0].layer.running_var.value = from_host(r, {{3}, {71, 72, 73}}, Layout::plain);
  return net;
}

// Removes the middle channel of conv1 and the second of conv2.
Plan example_plan() {
  Reference r;
  return plan(r, example(), image, FilterL1{.amount = Widths{{2, 1}}});
}

// Every parameter and buffer by path.
template <class Net>
std::map<std::string, HostTensor> contents(const Net& net) {
  Reference r;
  std::map<std::string, HostTensor> all;
  for_each_member(net, [&](const std::string& path, const auto& member) {
    if constexpr (requires { to_host(r, member); }) all[path] = to_host(r, member);
  });
  return all;
}

template <class Net>
void refuses(const Net& net, const Plan& p, const std::string& message) {
  Reference r;
  CHECK_THROWS_WITH_AS(shrink(r, net, p), message.c_str(), PlanError);
  CHECK_THROWS_WITH_AS(mask(r, net, p), message.c_str(), PlanError);
}

}  // namespace

TEST_CASE("shrink cuts the filter, its bias, its batch norm and the slices that read it, and nothing else") {
  Reference r;
  const auto slim = contents(shrink(r, example(), example_plan()));
  auto expected = contents(example());
  expected["conv1.weight"] = {{2, 1, 1, 1}, {5, 7}};
  expected["conv1.bias"] = {{2}, {11, 13}};
  expected["bn.weight"] = {{2}, {21, 23}};
  expected["bn.bias"] = {{2}, {31, 33}};
  expected["bn.running_mean"] = {{2}, {61, 63}};
  expected["bn.running_var"] = {{2}, {71, 73}};
  expected["conv2.weight"] = {{1, 2, 1, 1}, {41, 43}};
  expected["head.weight"] = {{1, 4}, {51, 52, 53, 54}};
  CHECK(slim == expected);
}

TEST_CASE("mask zeroes the filter, its bias, its scale and its shift, and nothing else") {
  Reference r;
  auto expected = contents(example());
  expected["conv1.weight"].values = {5, 0, 7};
  expected["conv1.bias"].values = {11, 0, 13};
  expected["bn.weight"].values = {21, 0, 23};
  expected["bn.bias"].values = {31, 0, 33};
  expected["conv2.weight"].values = {41, 42, 43, 0, 0, 0};
  CHECK(contents(mask(r, example(), example_plan())) == expected);
}

TEST_CASE("neither touches the network it is given") {
  Reference r;
  const auto net = example();
  const Plan p = example_plan();
  mask(r, net, p);
  shrink(r, net, p);
  CHECK(contents(net) == contents(example()));
}

TEST_CASE("masking twice is masking once; shrinking a masked network is shrinking the network") {
  Reference r;
  const Plan p = example_plan();
  const auto once = mask(r, example(), p);
  CHECK(contents(mask(r, once, p)) == contents(once));
  CHECK(contents(shrink(r, once, p)) == contents(shrink(r, example(), p)));
}

TEST_CASE("a plan that was saved and loaded does the same") {
  Reference r;
  CHECK(contents(shrink(r, example(), plan_from_text(to_text(example_plan())))) == contents(shrink(r, example(), example_plan())));
}

TEST_CASE("what survives keeps its layout and its way to start again, and forgets its gradient") {
  Reference r;
  auto net = example();
  for_each_parameter(net, [&](const std::string&, auto& p) {
    p.gradient = Tensor<Reference>::zeros(r, p.value.shape());
    p.has_gradient = true;
    if (p.value.shape().rank() > 1) p.init = Init::he_normal_fan_in;
  });
  auto slim = shrink(r, net, example_plan());
  std::map<std::string, std::pair<Layout, Init>> kept;
  for_each_parameter(slim, [&](const std::string& path, auto& p) { kept[path] = {p.layout, p.init}; });
  for_each_parameter(net, [&](const std::string& path, auto& p) { CHECK(kept.at(path) == std::pair{p.layout, p.init}); });
  CHECK(!slim.convs[0].layer.weight.has_gradient);
  CHECK(!slim.linears[0].layer.weight.has_gradient);
}

TEST_CASE("groups stay as many, and a depthwise convolution loses its filters") {
  Sketch net{[](auto& run, const auto& x) { return run("head", run("grouped", run("depthwise", run("conv1", x)))); }};
  net.conv("conv1", 1, 4).conv("depthwise", 4, 8, {.kernel = 1, .pad = 0, .depthwise = true});
  net.conv("grouped", 8, 4, {.kernel = 1, .pad = 0, .groups = 2}).conv("head", 4, 2);
  set(net, "conv1.weight", {1, 9, 1, 9});
  set(net, "depthwise.weight", {1, 2, 3, 4, 5, 6, 7, 8});
  Reference r;
  const auto slim = shrink(r, net, plan(r, net, image, FilterL1{}));
  CHECK(get(slim, "conv1.weight") == HostTensor{{2, 1, 1, 1}, {9, 9}});
  CHECK(get(slim, "depthwise.weight") == HostTensor{{4, 1, 1, 1}, {3, 4, 7, 8}});
  CHECK(get(slim, "grouped.weight").shape == Shape{2, 2, 1, 1});
  CHECK(slim.convs[2].layer.groups == 2);
  predict(r, slim, Tensor<Reference>::zeros(r, image));
}

TEST_CASE("a shortcut's zero channels are counted down with the channels that they pad") {
  Reference r;
  const models::ResNetCifar<Reference> net(r, {.depth = 8, .widths = {4, 8, 16}}, Rng(1));
  const auto slim = shrink(r, net, plan(r, net, {1, 8, 8, 3}, FilterL1{}));
  const auto& before = *net.layers[1][0].shortcut;
  const auto& after = *slim.layers[1][0].shortcut;
  CHECK(before.pad_before.value + before.pad_after.value == 4);
  CHECK(after.pad_before.value + after.pad_after.value == 2);
  predict(r, slim, Tensor<Reference>::zeros(r, {1, 8, 8, 3}));
}

TEST_CASE("a plan fits one network once") {
  Reference r;
  const Plan p = example_plan();
  const auto slim = shrink(r, example(), p);
  refuses(slim, p, "group 'conv1' has 2 channels, the plan was made for 3. Was the network shrunk already?");
  Sketch other{[](auto& run, const auto& x) { return run("stem", x); }};
  other.conv("stem", 1, 3);
  refuses(other, p, "the plan has a group 'conv1', the network has none of that name; was the plan made for another network?");
}

TEST_CASE("a plan that was edited wrongly is refused") {
  const auto edited = [](std::vector<Index> remove, std::size_t group = 0) {
    Plan p = example_plan();
    p.groups[group].remove = std::move(remove);
    return p;
  };
  refuses(example(), edited({3}), "group 'conv1' has no channel 3; it has 3");
  refuses(example(), edited({-1}), "group 'conv1' has no channel -1; it has 3");
  refuses(example(), edited({0, 1, 2}), "the plan removes all 3 channels of group 'conv1'; keep at least one");
  refuses(example(), edited({0}, 2), "group 'head' cannot be pruned: the network's output; remove it from the plan");
}

// A second plan is relative to the network it is made for, and says so; nothing compounds unseen (SparseML PR#440).
TEST_CASE("pruning again halves what is left, by a plan of its own") {
  Sketch net{[](auto& run, const auto& x) { return run("head", run("conv1", x)); }};
  net.conv("conv1", 1, 8).conv("head", 8, 1);
  Reference r;
  const Plan first = plan(r, net, image, FilterL1{});
  const auto slim = shrink(r, net, first);
  const Plan second = plan(r, slim, image, FilterL1{});
  CHECK(first.groups[0].keep() == 4);
  CHECK(second.groups[0].channels == 4);
  CHECK(second.groups[0].keep() == 2);
  CHECK(second.parameters_before == first.parameters_after);
}

TEST_CASE("a plan for one image size does not silently fit another where flattening differs") {
  Reference r;
  Plan p = example_plan();
  p.input = {1, 4, 4, 1};
  CHECK_THROWS_AS(shrink(r, example(), p), ShapeError);
}

}  // namespace apply_test
