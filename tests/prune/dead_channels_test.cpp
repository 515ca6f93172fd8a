// SPDX-License-Identifier: Apache-2.0
// Dead channels of masks on networks whose numbers can be done by hand.
#include <doctest/doctest.h>

#include <cmath>
#include <sstream>

#include <espalier/models/mlp.hpp>
#include <espalier/op/attention.hpp>
#include <espalier/prune/dead_channels.hpp>

#include "sketch.hpp"

using namespace espalier;
using namespace espalier::test;

namespace dead_channels_test {

using Sketch = SketchOn<Trace<Reference>, Eval<Reference>, espalier::detail::Taps<Reference>>;
using R = Reference;

namespace {

using Dead = std::map<std::string, std::vector<Index>>;  // path -> flat indices, as PyTorch counts

template <class Net>
Mask mask_without(const Net& net, const Dead& dead) {
  const Mask ones = Mask::ones(net);
  std::vector<MaskPart> parts = ones.parts();
  for (const auto& [path, indices] : dead) {
    const auto part = std::find_if(parts.begin(), parts.end(), [&, p = path](const MaskPart& m) { return m.path == p; });
    REQUIRE(part != parts.end());
    for (const Index i : indices) part->kill(i);
  }
  return Mask(parts);
}

template <class Net>
std::vector<float> outputs(const Net& net, const Shape& input) {
  R r;
  Rng rng(4);
  std::vector<float> values(static_cast<std::size_t>(input.with(0, 3).count()));
  for (float& v : values) v = rng.normal();
  return predict(r, net, Tensor<R>::from(r, input.with(0, 3), values)).to_host(r);
}

// Removes, and checks what must hold every time: the same outputs, a mask that fits, nothing more to find.
template <class Net>
WithoutDead<Net> removed(const Net& net, const Shape& input, const Mask& mask) {
  R r;
  auto slim = remove_dead(r, net, input, mask);
  const auto expected = outputs(espalier::mask(r, net, mask), input), found = outputs(slim.net, input);
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-5));
  check_fits(slim.mask, slim.net);
  CHECK(find_dead_channels(r, slim.net, input, slim.mask).plan.removed() == 0);
  CHECK(find_dead_channels(r, net, input, mask) == slim.found);
  CHECK(plan_from_text(to_text(slim.found.plan)) == slim.found.plan);
  return slim;
}

const DeadGroup& group(const DeadChannels& found, const std::string& name) {
  const auto at = std::find_if(found.groups.begin(), found.groups.end(), [&](const DeadGroup& g) { return g.name == name; });
  REQUIRE(at != found.groups.end());
  return *at;
}

using List = std::vector<Index>;
using Kept = std::vector<DeadGroup::Kept>;

// 2 -> 2 -> 1 with distinct weights.
models::Mlp<R> two_neurons(float bias_of_first) {
  R r;
  models::Mlp<R> net(r, {2, 2, 1}, Rng(1));
  set(net, "fc1.weight", {1, 2, 3, 4});
  set(net, "fc1.bias", {bias_of_first, 0.5F});
  set(net, "fc2.weight", {10, 20});
  set(net, "fc2.bias", {1});
  return net;
}

models::Mlp<R> cascade() {
  R r;
  models::Mlp<R> net(r, {2, 2, 2, 1}, Rng(1));
  set(net, "fc1.weight", {1, 2, 3, 4});
  set(net, "fc1.bias", {2, 0.5F});
  set(net, "fc2.weight", {3, 5, 4, 6});
  set(net, "fc2.bias", {-1, 0.25F});
  set(net, "fc3.weight", {7, 9});
  set(net, "fc3.bias", {100});
  return net;
}

// conv1 (1x1, 1 -> 2, biased) -> relu -> conv2 (as given, 2 -> 1, biased) -> flatten -> fc; a 3x3 image.
auto reader(const ConvOptions& options, Index fc_inputs) {
  Sketch net{[](auto& run, const auto& x) { return run("fc", run.flatten(run("conv2", run.relu(run("conv1", x))))); }};
  net.conv("conv1", 1, 2, {.kernel = 1, .pad = 0, .bias = Bias::zeros}).conv("conv2", 2, 1, options).linear("fc", fc_inputs, 1);
  set(net, "conv1.weight", {1, 2});
  set(net, "conv1.bias", {0.5F, 0.25F});
  set(net, "conv2.bias", {10});
  return net;
}
const Shape image{1, 3, 3, 1};

// An op of somebody else's that reads and writes channels, and is not linear: y = (x W)^2.
struct Squared : op::Linear {
  static constexpr std::string_view name = "squared";
  struct Square {
    template <class T> void operator()(Index, T& y) const { y *= y; }
  };
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>& saved) const {
    auto y = op::Linear::forward(b, in, saved);
    b.each(y.count(), Square{}, y.data());
    return y;
  }
};

// An op that says its channels pass through, and lets the first into all others.
struct Liar : op::Relu {
  static constexpr std::string_view name = "liar";
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto values = in[0].to_host(b);
    const auto channels = static_cast<std::size_t>(in[0].shape().channels());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += values[i / channels * channels];
    return Tensor<B>::from(b, in[0].shape(), values);
  }
};

}  // namespace

TEST_CASE("a neuron without live inputs and with a positive bias is folded into the next bias") {
  const auto net = two_neurons(3);
  const auto slim = removed(net, {1, 2}, mask_without(net, {{"fc1.weight", {0, 1}}}));
  CHECK(group(slim.found, "fc1").constant == List{0});
  CHECK(slim.found.folds == std::vector<Fold>{{"fc2.bias", {30}}});  // 10 x relu(3)
  CHECK(get(slim.net, "fc1.weight") == HostTensor{{1, 2}, {3, 4}});
  CHECK(get(slim.net, "fc1.bias") == HostTensor{{1}, {0.5F}});
  CHECK(get(slim.net, "fc2.weight") == HostTensor{{1, 1}, {20}});
  CHECK(get(slim.net, "fc2.bias") == HostTensor{{1}, {31}});
  CHECK(slim.mask == Mask::ones(slim.net));
}

TEST_CASE("with a negative bias its ReLU is 0, and nothing is folded") {
  const auto net = two_neurons(-3);
  const auto slim = removed(net, {1, 2}, mask_without(net, {{"fc1.weight", {0, 1}}}));
  CHECK(group(slim.found, "fc1").zero == List{0});
  CHECK(slim.found.folds.empty());
  CHECK(get(slim.net, "fc2.bias") == HostTensor{{1}, {1}});
}

TEST_CASE("a neuron that no live weight reads goes, whatever it computes") {
  const auto net = two_neurons(3);
  const auto slim = removed(net, {1, 2}, mask_without(net, {{"fc2.weight", {0}}}));
  CHECK(group(slim.found, "fc1").unread == List{0});
  CHECK(slim.found.folds.empty());
  CHECK(get(slim.net, "fc1.weight") == HostTensor{{1, 2}, {3, 4}});
}

TEST_CASE("a weight that is zero but lives keeps its neuron, and a mask that kills nothing removes nothing") {
  auto net = two_neurons(3);
  set(net, "fc1.weight", {0, 0, 3, 4});
  R r;
  for (const Mask& mask : {Mask::ones(net), Mask{}}) {
    const auto found = find_dead_channels(r, net, {1, 2}, mask);
    CHECK(found.plan.removed() == 0);
    CHECK(found.plan.groups[0].kept_because == "all of its channels are alive");
    CHECK(found.plan.groups[1].kept_because == "the network's output");
    CHECK(parameter_count(remove_dead(r, net, {1, 2}, mask).net) == parameter_count(net));
  }
}

TEST_CASE("a neuron whose live inputs are all constants is one: forwards through two layers") {
  const auto net = cascade();
  // fc1[0] = 2; fc2[0] reads it alone: 3 x 2 - 1 = 5; fc2[1] reads it too: 4 x 2 = 8.
  const auto slim = removed(net, {1, 2}, mask_without(net, {{"fc1.weight", {0, 1}}, {"fc2.weight", {1}}}));
  CHECK(group(slim.found, "fc1").constant == List{0});
  CHECK(group(slim.found, "fc2").constant == List{0});
  CHECK(slim.found.folds == std::vector<Fold>{{"fc2.bias", {0, 8}}, {"fc3.bias", {35}}});
  CHECK(get(slim.net, "fc2.weight") == HostTensor{{1, 1}, {6}});
  CHECK(get(slim.net, "fc2.bias") == HostTensor{{1}, {8.25F}});
  CHECK(get(slim.net, "fc3.bias") == HostTensor{{1}, {135}});
}

TEST_CASE("a neuron that only dead neurons read is unread: backwards through two layers") {
  const auto net = cascade();
  const auto slim = removed(net, {1, 2}, mask_without(net, {{"fc3.weight", {0}}, {"fc2.weight", {2}}}));
  CHECK(group(slim.found, "fc2").unread == List{0});
  CHECK(group(slim.found, "fc1").unread == List{0});
  CHECK(slim.found.folds.empty());
  CHECK(parameter_count(slim.net) == 7);
}

TEST_CASE("of a group that would vanish one channel stays") {
  const auto net = cascade();
  SUBCASE("unread: it is left behind, and what feeds it goes") {
    const auto slim = removed(net, {1, 2}, mask_without(net, {{"fc3.weight", {0, 1}}}));
    for (const char* name : {"fc1", "fc2"}) {
      CHECK(group(slim.found, name).unread == List{1});
      CHECK(group(slim.found, name).kept == Kept{{"the last of its group", {0}}});
    }
  }
  SUBCASE("constant: it stays with what it computes") {
    const auto slim = removed(net, {1, 2}, mask_without(net, {{"fc1.weight", {0, 1, 2, 3}}}));
    CHECK(group(slim.found, "fc1").kept == Kept{{"the last of its group", {0}}});
    CHECK(group(slim.found, "fc2").kept == Kept{{"the last of its group", {0}}});
    CHECK(group(slim.found, "fc2").constant == List{1});
    CHECK(parameter_count(slim.net) == 7);
  }
}

TEST_CASE("a padded convolution cannot take a constant, because at the border it reads zeros instead") {
  auto net = reader({.bias = Bias::zeros}, 9);
  const auto mask = mask_without(net, {{"conv1.weight", {0}}});
  const auto slim = removed(net, image, mask);
  CHECK(group(slim.found, "conv1").kept == Kept{{"'conv2' pads with zeros, so at the border it reads another value than its constant", {0}}});
  CHECK(slim.found.plan.removed() == 0);

  set(net, "conv1.bias", {-0.5F, 0.25F});  // zero is the same everywhere
  CHECK(group(removed(net, image, mask).found, "conv1").zero == List{0});
}

TEST_CASE("a padded convolution takes a constant through taps that never leave the image") {
  auto net = reader({.bias = Bias::zeros}, 9);
  const HostTensor weight = get(net, "conv2.weight");
  const auto slim = removed(net, image, mask_without(net, {{"conv1.weight", {0}}, {"conv2.weight", {0, 1, 2, 3, 5, 6, 7, 8}}}));
  CHECK(group(slim.found, "conv1").constant == List{0});
  CHECK(slim.found.folds == std::vector<Fold>{{"conv2.bias", {static_cast<double>(weight.values[4]) * 0.5}}});

  auto pixel = reader({.bias = Bias::zeros}, 1);  // on one pixel only the middle tap is in the image
  const auto one = removed(pixel, {1, 1, 1, 1}, mask_without(pixel, {{"conv1.weight", {0}}}));
  CHECK(group(one.found, "conv1").constant == List{0});
}

TEST_CASE("an unpadded convolution takes the sum of its live taps") {
  auto net = reader({.kernel = 2, .pad = 0, .bias = Bias::zeros}, 4);
  set(net, "conv2.weight", {1, 2, 3, 4, 5, 6, 7, 8});
  const auto slim = removed(net, image, mask_without(net, {{"conv1.weight", {0}}, {"conv2.weight", {3}}}));
  CHECK(slim.found.folds == std::vector<Fold>{{"conv2.bias", {3}}});  // (1 + 2 + 3) / 2
  CHECK(get(slim.net, "conv2.bias") == HostTensor{{1}, {13}});
  CHECK(get(slim.net, "conv2.weight") == HostTensor{{1, 1, 2, 2}, {5, 6, 7, 8}});
  CHECK(slim.mask.find("conv2.weight")->survivors() == 4);
}

TEST_CASE("a map of constants that differ by position goes where each position has weights of its own") {
  // conv2 reads the constant 1 with nine ones and padding: 4 6 4, 6 9 6, 4 6 4.
  Sketch net{[](auto& run, const auto& x) { return run("fc", run.flatten(run("conv2", run.relu(run("conv1", x))))); }};
  net.conv("conv1", 1, 2, {.kernel = 1, .pad = 0, .bias = Bias::zeros}).conv("conv2", 2, 2, {}).linear("fc", 18, 1);
  set(net, "conv1.bias", {1, 0});
  set(net, "conv2.weight", std::vector<float>(36, 1));
  std::vector<float> columns(18);
  for (std::size_t i = 0; i < 18; ++i) columns[i] = static_cast<float>(i + 1);
  set(net, "fc.weight", columns);
  set(net, "fc.bias", {0});
  const List second{9, 10, 11, 12, 13, 14, 15, 16, 17}, third{18, 19, 20, 21, 22, 23, 24, 25, 26};
  List dead = second;  // conv2[0] reads conv1[0] alone, conv2[1] the other alone
  dead.insert(dead.end(), third.begin(), third.end());
  const auto slim = removed(net, image, mask_without(net, {{"conv1.weight", {0}}, {"conv2.weight", dead}}));
  CHECK(group(slim.found, "conv2").constant == List{0});
  CHECK(group(slim.found, "conv1").unread == List{0});
  CHECK(slim.found.folds == std::vector<Fold>{{"fc.bias", {4 * (1 + 3 + 7 + 9) + 6 * (2 + 4 + 6 + 8) + 9 * 5}}});
  CHECK(get(slim.net, "fc.weight").shape == Shape{1, 9});

  // Read by another convolution, the same map stays; so do the constants it is made of.
  Sketch deep{[](auto& run, const auto& x) { return run("fc", run.flatten(run("conv3", run("conv2", run.relu(run("conv1", x)))))); }};
  deep.conv("conv1", 1, 2, {.kernel = 1, .pad = 0, .bias = Bias::zeros}).conv("conv2", 2, 2, {}).conv("conv3", 2, 1, {.kernel = 1, .pad = 0, .bias = Bias::zeros}).linear("fc", 9, 1);
  set(deep, "conv1.bias", {1, 0});
  const auto kept = removed(deep, image, mask_without(deep, {{"conv1.weight", {0}}, {"conv2.weight", dead}})).found;
  CHECK(group(kept, "conv2").kept == Kept{{"its constant is not the same at all the positions that 'conv3' reads", {0}}});
  CHECK(group(kept, "conv1").kept == Kept{{"'conv2' pads with zeros, so at the border it reads another value than its constant", {0}}});
}

TEST_CASE("flattened, a constant goes with all of its columns") {
  Sketch net{[](auto& run, const auto& x) { return run("fc", run.flatten(run.relu(run("conv", x)))); }};
  net.conv("conv", 1, 2, {.kernel = 1, .pad = 0, .bias = Bias::zeros}).linear("fc", 8, 1);
  set(net, "conv.bias", {3, 0});
  set(net, "fc.weight", {1, 2, 3, 4, 5, 6, 7, 8});
  set(net, "fc.bias", {0});
  const auto slim = removed(net, {1, 2, 2, 1}, mask_without(net, {{"conv.weight", {0}}, {"fc.weight", {2}}}));
  CHECK(slim.found.folds == std::vector<Fold>{{"fc.bias", {3 * (1 + 2 + 4)}}});
  CHECK(get(slim.net, "fc.weight") == HostTensor{{1, 4}, {5, 6, 7, 8}});
}

TEST_CASE("one live column is enough to keep a flattened channel") {
  Sketch net{[](auto& run, const auto& x) { return run("fc", run.flatten(run("conv", x))); }};
  net.conv("conv", 1, 2).linear("fc", 8, 1);
  CHECK(removed(net, {1, 2, 2, 1}, mask_without(net, {{"fc.weight", {0, 1, 3}}})).found.plan.removed() == 0);
  CHECK(group(removed(net, {1, 2, 2, 1}, mask_without(net, {{"fc.weight", {0, 1, 2, 3}}})).found, "conv").unread == List{0});
}

TEST_CASE("behind a batch norm with running statistics, a dead filter is its shift") {
  Sketch net{[](auto& run, const auto& x) { return run("fc", run.average(run.relu(run("bn", run("conv", x))))); }};
  net.conv("conv", 1, 3).norm("bn", 3).linear("fc", 3, 1);
  set(net, "bn.bias", {2, -2, 0.5F});
  set(net, "fc.weight", {10, 20, 30});
  set(net, "fc.bias", {1});
  const auto slim = removed(net, {1, 2, 2, 1}, mask_without(net, {{"conv.weight", {0, 1}}}));
  CHECK(group(slim.found, "conv").constant == List{0});
  CHECK(group(slim.found, "conv").zero == List{1});
  CHECK(get(slim.net, "fc.bias") == HostTensor{{1}, {21}});
  CHECK(get(slim.net, "bn.bias") == HostTensor{{1}, {0.5F}});
}

TEST_CASE("a convolution without bias leaves the constant to the batch norm behind it") {
  Sketch net{[](auto& run, const auto& x) { return run("fc", run.average(run("bn", run("conv2", run.relu(run("conv1", x)))))); }};
  net.conv("conv1", 1, 2, {.kernel = 1, .pad = 0, .bias = Bias::zeros}).conv("conv2", 2, 2).norm("bn", 2).linear("fc", 2, 1);
  set(net, "conv1.bias", {4, 0});
  set(net, "conv2.weight", {1, 2, 3, 5});
  const auto slim = removed(net, {1, 2, 2, 1}, mask_without(net, {{"conv1.weight", {0}}}));
  CHECK(slim.found.folds == std::vector<Fold>{{"bn.running_mean", {-4, -12}}});
  CHECK(get(slim.net, "bn.running_mean") == HostTensor{{2}, {-4, -12}});
}

TEST_CASE("without a bias or a batch norm of its own, a reader keeps the constant") {
  const std::string reason = "'conv2' has no bias that could take the constant, nor a batch norm of its own";
  Sketch bare{[](auto& run, const auto& x) { return run("fc", run.average(run("conv2", run.relu(run("conv1", x))))); }};
  bare.conv("conv1", 1, 2, {.kernel = 1, .pad = 0, .bias = Bias::zeros}).conv("conv2", 2, 2).linear("fc", 2, 1);
  set(bare, "conv1.bias", {4, 0});
  CHECK(group(removed(bare, {1, 2, 2, 1}, mask_without(bare, {{"conv1.weight", {0}}})).found, "conv1").kept == Kept{{reason, {0}}});

  // Somebody else uses what the batch norm normalises.
  Sketch shared{[](auto& run, const auto& x) {
    const auto y = run("conv2", run.relu(run("conv1", x)));
    return run("fc", run.average(run.add(y, run("bn", y))));
  }};
  shared.conv("conv1", 1, 2, {.kernel = 1, .pad = 0, .bias = Bias::zeros}).conv("conv2", 2, 2).norm("bn", 2).linear("fc", 2, 1);
  set(shared, "conv1.bias", {4, 0});
  CHECK(group(removed(shared, {1, 2, 2, 1}, mask_without(shared, {{"conv1.weight", {0}}})).found, "conv1").kept == Kept{{reason, {0}}});

  // The batch norm normalises two layers.
  Sketch twice{[](auto& run, const auto& x) { return run("fc", run.average(run.add(run("bn", run("conv2", run.relu(run("conv1", x)))), run("bn", run("conv3", x))))); }};
  twice.conv("conv1", 1, 2, {.kernel = 1, .pad = 0, .bias = Bias::zeros}).conv("conv2", 2, 2).conv("conv3", 1, 2).norm("bn", 2).linear("fc", 2, 1);
  set(twice, "conv1.bias", {4, 0});
  CHECK(group(removed(twice, {1, 2, 2, 1}, mask_without(twice, {{"conv1.weight", {0}}})).found, "conv1").kept == Kept{{reason, {0}}});
}

TEST_CASE("a layer that is applied twice takes a constant only if it is the same both times") {
  const auto wiring = [](auto& run, const auto& x) {
    const auto y = run.relu(run("conv1", x));
    return run("fc", run.average(run.add(run("conv2", y), run("conv2", run("conv3", y)))));
  };
  Sketch net{wiring};
  net.conv("conv1", 1, 2, {.kernel = 1, .pad = 0, .bias = Bias::zeros}).conv("conv2", 2, 2, {.kernel = 1, .pad = 0, .bias = Bias::zeros});
  net.conv("conv3", 2, 2, {.kernel = 1, .pad = 0, .bias = Bias::zeros}).linear("fc", 2, 1);
  set(net, "conv1.bias", {4, 0});
  set(net, "conv3.bias", {5, 0});
  const Dead dead{{"conv1.weight", {0}}, {"conv3.weight", {0, 1}}};
  CHECK(group(removed(net, {1, 2, 2, 1}, mask_without(net, dead)).found, "conv1+1").kept ==
        Kept{{"'conv2' is applied 2 times and does not read the same constant each time", {0}}});
  set(net, "conv3.bias", {4, 0});
  const auto slim = removed(net, {1, 2, 2, 1}, mask_without(net, dead));
  CHECK(group(slim.found, "conv1+1").constant == List{0});
  CHECK(slim.found.folds.size() == 2);  // conv2.bias and conv3.bias
}

TEST_CASE("a residual sum stays while one of its writers lives, and says who") {
  Sketch net{[](auto& run, const auto& x) {
    const auto y = run("stem", x);
    return run("fc", run.average(run.relu(run.add(y, run("branch", y)))));
  }};
  const ConvOptions biased{.kernel = 1, .pad = 0, .bias = Bias::zeros};
  net.conv("stem", 1, 3, biased).conv("branch", 3, 3, biased).linear("fc", 3, 1);
  set(net, "stem.bias", {1, 2, 0});
  set(net, "branch.weight", {1, 2, 3, 4, 5, 6, 7, 8, 9});
  set(net, "branch.bias", {3, 4, 0});
  set(net, "fc.weight", {10, 20, 30});
  set(net, "fc.bias", {0});
  SUBCASE("the branch is dead") {
    const auto slim = removed(net, {1, 2, 2, 1}, mask_without(net, {{"branch.weight", {0, 1, 2}}}));
    CHECK(group(slim.found, "stem+1").kept == Kept{{"'stem' still writes it", {0}}});
  }
  SUBCASE("the stem is dead") {
    const auto slim = removed(net, {1, 2, 2, 1}, mask_without(net, {{"stem.weight", {0}}}));
    CHECK(group(slim.found, "stem+1").kept == Kept{{"'branch' still writes it", {0}}});
  }
  SUBCASE("both are: the sum of their biases goes on, and the stem's into the branch") {
    const auto slim = removed(net, {1, 2, 2, 1}, mask_without(net, {{"stem.weight", {0}}, {"branch.weight", {0, 1, 2}}}));
    CHECK(group(slim.found, "stem+1").constant == List{0});
    CHECK(slim.found.folds == std::vector<Fold>{{"branch.bias", {0, 4, 7}}, {"fc.bias", {40}}});
  }
}

TEST_CASE("channels that only read each other go together") {
  Sketch net{[](auto& run, const auto& x) {
    const auto y = run("stem", x);
    return run("fc", run.average(run.relu(run.add(y, run("branch", y)))));
  }};
  net.conv("stem", 1, 2).conv("branch", 2, 2).linear("fc", 2, 1);
  const auto slim = removed(net, {1, 2, 2, 1}, mask_without(net, {{"fc.weight", {0}}, {"branch.weight", {2}}}));
  CHECK(group(slim.found, "stem+1").unread == List{0});  // the branch reads it, to write it
}

TEST_CASE("what is written after the last reader does not count, though the channel stays") {
  Sketch net{[](auto& run, const auto& x) {
    const auto y = run("stem", x);
    return run("fc", run.average(run.relu(run.add(y, run("up", run.relu(run("down", y)))))));
  }};
  net.conv("stem", 1, 2).conv("down", 2, 3, {.kernel = 1, .pad = 0, .bias = Bias::zeros}).conv("up", 3, 2).linear("fc", 2, 1);
  // fc reads channel 1 alone; channel 0 is read by `down`, before `up` adds to it.
  const auto slim = removed(net, {1, 2, 2, 1}, mask_without(net, {{"fc.weight", {0}}, {"up.weight", {3}}}));
  CHECK(group(slim.found, "stem+1").unread.empty());
  CHECK(group(slim.found, "down").unread == List{0});  // up's row 0 reads it, for nobody
  CHECK(get(slim.net, "up.weight").shape == Shape{2, 2, 1, 1});
}

TEST_CASE("a dead scale cuts what it multiplies, not the residual that is added") {
  Sketch net{[](auto& run, const auto& x) { return run("fc", run.average(run.sum("bn", run("branch", run("below", x)), run("shortcut", run("stem", x))))); }};
  net.conv("below", 1, 2).conv("branch", 2, 2).conv("stem", 1, 2).conv("shortcut", 2, 2).norm("bn", 2).linear("fc", 2, 1);
  MaskPart scales = MaskPart::ones("bn.weight", {2}), branch = MaskPart::ones("branch.weight", {2, 2, 1, 1}), shortcut = MaskPart::ones("shortcut.weight", {2, 2, 1, 1});
  scales.kill(0);
  for (MaskPart* part : {&branch, &shortcut}) part->kill(1), part->kill(2);  // row 0 reads channel 0, row 1 reads channel 1
  const auto slim = removed(net, {1, 2, 2, 1}, Mask({scales, branch, shortcut}));
  CHECK(group(slim.found, "below").unread == List{0});
  CHECK(slim.found.plan.removed() == 1);
  shortcut.kill(0);
  CHECK(group(removed(net, {1, 2, 2, 1}, Mask({scales, branch, shortcut})).found, "branch+1").zero == List{0});
}

TEST_CASE("a dead depthwise filter cuts its channel, and what writes it goes along") {
  Sketch net{[](auto& run, const auto& x) { return run("fc", run.average(run("depthwise", run("conv", x)))); }};
  net.conv("conv", 1, 3).conv("depthwise", 3, 3, {.depthwise = true, .bias = Bias::zeros}).linear("fc", 3, 1);
  set(net, "depthwise.bias", {2, 0, 0});
  set(net, "fc.weight", {10, 20, 30});
  set(net, "fc.bias", {0});
  const List filter{0, 1, 2, 3, 4, 5, 6, 7, 8};
  const auto slim = removed(net, image, mask_without(net, {{"depthwise.weight", filter}}));
  CHECK(group(slim.found, "conv").constant == List{0});
  CHECK(slim.found.folds == std::vector<Fold>{{"fc.bias", {20}}});
  CHECK(get(slim.net, "depthwise.weight").shape == Shape{2, 1, 3, 3});

  // With two filters a channel, one of them alive, it stays.
  Sketch doubled{[](auto& run, const auto& x) { return run("fc", run.average(run("depthwise", run("conv", x)))); }};
  doubled.conv("conv", 1, 3).conv("depthwise", 3, 6, {.depthwise = true, .bias = Bias::zeros}).linear("fc", 6, 1);
  CHECK(removed(doubled, image, mask_without(doubled, {{"depthwise.weight", filter}})).found.plan.removed() == 0);
}

TEST_CASE("convolutions in groups: a row reads the slices of its own group") {
  Sketch net{[](auto& run, const auto& x) { return run("fc", run.average(run("grouped", run.relu(run("conv", x))))); }};
  net.conv("conv", 1, 4, {.kernel = 1, .pad = 0, .bias = Bias::zeros}).conv("grouped", 4, 4, {.kernel = 1, .pad = 0, .groups = 2, .bias = Bias::zeros}).linear("fc", 4, 1);
  set(net, "conv.bias", {1, 0, 2, 0});
  set(net, "grouped.weight", {1, 2, 3, 4, 5, 6, 7, 8});
  // conv's channels 0 and 2 share a place in their groups: constants 1 and 2, read by rows 0, 1 and by rows 2, 3.
  const auto slim = removed(net, image, mask_without(net, {{"conv.weight", {0, 2}}}));
  CHECK(group(slim.found, "conv").constant == List{0});
  CHECK(slim.found.folds == std::vector<Fold>{{"grouped.bias", {1, 3, 10, 14}}});
  CHECK(slim.net.convs[1].layer.groups == 2);
}

TEST_CASE("through concat, pooling and GELU a constant stays one") {
  Sketch net{[](auto& run, const auto& x) {
    const auto y = run.apply(op::MaxPool{}, run.apply(op::Gelu{}, run.concat(run("left", x), run("right", x))));
    return run("fc", run.average(y));
  }};
  const ConvOptions biased{.kernel = 1, .pad = 0, .bias = Bias::zeros};
  net.conv("left", 1, 2, biased).conv("right", 1, 2, biased).linear("fc", 4, 1);
  set(net, "right.bias", {1, 0});
  set(net, "fc.weight", {0, 0, 1, 0});
  set(net, "fc.bias", {0});
  const auto slim = removed(net, {1, 2, 2, 1}, mask_without(net, {{"right.weight", {0}}}));
  CHECK(group(slim.found, "right").constant == List{0});
  CHECK(slim.found.folds.at(0).add.at(0) == doctest::Approx(0.8413447460685429));  // Phi(1), of a table of the normal distribution
}

TEST_CASE("units between the linear layers of a sequence model go, at every position alike") {
  Sketch net{[](auto& run, const auto& x) { return run("down", run.apply(op::Gelu{}, run("up", x))); }};
  net.linear("up", 4, 6).linear("down", 6, 4);
  set(net, "up.bias", {1, 1, 1, 1, 1, 1});
  const auto slim = removed(net, {1, 5, 4}, mask_without(net, {{"up.weight", {0, 1, 2, 3}}, {"down.weight", {1, 7, 13, 19}}}));
  CHECK(group(slim.found, "up").constant == List{0});
  CHECK(group(slim.found, "up").unread == List{1});
  CHECK(get(slim.net, "up.weight").shape == Shape{4, 4});
}

TEST_CASE("what a softmax mixes stays, and so does all that it comes from") {
  Sketch net{[](auto& run, const auto& x) { return run("down", run.apply(op::Softmax{}, run("up", run.relu(run("first", x))))); }};
  net.linear("first", 4, 5).linear("up", 5, 6).linear("down", 6, 4);
  const auto found = removed(net, {1, 4}, mask_without(net, {{"up.weight", {0, 1, 2, 3, 4}}, {"down.weight", {5, 11, 17, 23}}})).found;
  CHECK(found.plan.removed() == 0);
  CHECK(found.plan.groups[1].kept_because == "a softmax over the channels depends on all of them");
}

TEST_CASE("what reads through an op that is not known to be linear takes no constant but zero, and writes constants itself") {
  Sketch net{[](auto& run, const auto& x) { return run("down", run.apply(Squared{}, run.relu(run("up", x)), run.linear("odd").weight)); }};
  net.linear("up", 3, 4).linear("odd", 4, 3, {.bias = Bias::none}).linear("down", 3, 2);
  set(net, "up.bias", {2, -2, 0, 0});
  // up: 2, relu(-2) = 0, unread, alive; odd: row 0 is dead.
  const Dead dead{{"up.weight", {0, 1, 2, 3, 4, 5}}, {"odd.weight", {0, 1, 2, 3, 6, 10}}};
  const auto slim = removed(net, {1, 3}, mask_without(net, dead));
  CHECK(group(slim.found, "up").kept == Kept{{"'odd' reads its constant through 'squared', which is not known to be linear", {0}}});
  CHECK(group(slim.found, "up").zero == List{1});
  CHECK(group(slim.found, "up").unread == List{2});
  CHECK(group(slim.found, "odd").zero == List{0});
}

TEST_CASE("an op that belies its statement keeps what it is seen to change") {
  Sketch net{[](auto& run, const auto& x) { return run("down", run.apply(Liar{}, run("up", x))); }};
  net.linear("up", 3, 3).linear("down", 3, 2);
  CHECK(removed(net, {1, 3}, mask_without(net, {{"up.weight", {3, 4, 5}}})).found.plan.removed() == 0);
}

TEST_CASE("a bias takes the constants of one weight, and a weight leaves them to one bias") {
  Sketch shared{[](auto& run, const auto& x) {  // a and b share a bias
    const auto y = run.relu(run("up", x));
    return run("down", run.add(run("a", y), run.apply(op::Linear{}, x, run.linear("b").weight, run.linear("a").bias)));
  }};
  shared.linear("up", 3, 3).linear("a", 3, 3).linear("b", 3, 3, {.bias = Bias::none}).linear("down", 3, 2);
  set(shared, "up.bias", {2, 0, 0});
  const Kept kept{{"'a' shares its bias, which cannot take a constant of one layer", {0}}};
  CHECK(group(removed(shared, {1, 3}, mask_without(shared, {{"up.weight", {0, 1, 2}}})).found, "up").kept == kept);

  Sketch two{[](auto& run, const auto& x) {  // a is applied with its own bias and with b's
    const auto y = run.relu(run("up", x));
    return run("down", run.add(run("a", y), run.apply(op::Linear{}, y, run.linear("a").weight, run.linear("b").bias)));
  }};
  two.linear("up", 3, 3).linear("a", 3, 3).linear("b", 1, 3).linear("down", 3, 2);
  set(two, "up.bias", {2, 0, 0});
  CHECK(group(removed(two, {1, 3}, mask_without(two, {{"up.weight", {0, 1, 2}}})).found, "up").kept == kept);
}

TEST_CASE("a batch norm behind a fused activation is too late for a constant") {
  Sketch net{[](auto& run, const auto& x) {
    return run("down", run("bn", run.apply(op::Linear{.activation = Activation::relu}, run.relu(run("up", x)), run.linear("a").weight)));
  }};
  net.linear("up", 3, 3).linear("a", 3, 3, {.bias = Bias::none}).norm("bn", 3).linear("down", 3, 2);
  set(net, "up.bias", {2, 0, 0});
  CHECK(group(removed(net, {1, 3}, mask_without(net, {{"up.weight", {0, 1, 2}}})).found, "up").kept ==
        Kept{{"'a' has no bias that could take the constant, nor a batch norm of its own", {0}}});
}

TEST_CASE("a weight that the mask does not name lives; a mask may name scales and biases") {
  Sketch net{[](auto& run, const auto& x) { return run("fc", run.average(run("bn", run("conv", x)))); }};
  net.conv("conv", 1, 2).norm("bn", 2).linear("fc", 2, 1);
  set(net, "bn.bias", {3, 4});
  set(net, "fc.weight", {10, 20});
  set(net, "fc.bias", {0});
  MaskPart scales = MaskPart::ones("bn.weight", {2});
  scales.kill(0);
  const auto slim = removed(net, {1, 2, 2, 1}, Mask({scales}));
  CHECK(group(slim.found, "conv").constant == List{0});
  CHECK(slim.found.folds == std::vector<Fold>{{"fc.bias", {30}}});
  CHECK(slim.mask == Mask({MaskPart::ones("bn.weight", {1})}));
}

TEST_CASE("a bias that is dead in the mask takes no constant") {
  const auto net = two_neurons(3);
  Mask mask = mask_without(net, {{"fc1.weight", {0, 1}}});
  std::vector<MaskPart> parts = mask.parts();
  parts.push_back(MaskPart::ones("fc2.bias", {1}));
  parts.back().kill(0);
  const auto slim = removed(net, {1, 2}, Mask(parts));
  CHECK(group(slim.found, "fc1").kept == Kept{{"the bias of 'fc2' that should take the constant is dead in the mask", {0}}});
}

TEST_CASE("the numbers of a mask that does not fit are refused, and folds for another network too") {
  R r;
  const auto net = two_neurons(3);
  CHECK_THROWS_AS(find_dead_channels(r, net, {1, 2}, Mask({MaskPart::ones("fc1.weight", {3, 2})})), StaleState);
  CHECK_THROWS_AS(remove_dead(r, net, {1, 2}, Mask({MaskPart::ones("nowhere", {3, 2})})), StaleState);
  DeadChannels found = find_dead_channels(r, net, {1, 2}, mask_without(net, {{"fc1.weight", {0, 1}}}));
  CHECK_THROWS_WITH_AS(fold_constants(r, models::Mlp<R>(r, {2, 2, 3}, Rng(1)), found),
                       "constants for 'fc2.bias': found 1 of them, needed 3; fold into the network that they were found in", PlanError);
  found.folds[0].path = "fc7.bias";
  CHECK_THROWS_AS(fold_constants(r, net, found), PlanError);
}

TEST_CASE("nothing is touched, and the finding prints") {
  R r;
  const auto net = cascade();
  const auto mask = mask_without(net, {{"fc1.weight", {0, 1}}, {"fc2.weight", {1}}});
  const auto found = remove_dead(r, net, {1, 2}, mask).found;
  for (const char* path : {"fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "fc3.weight", "fc3.bias"}) CHECK(get(net, path) == get(cascade(), path));
  CHECK(str(found) ==
        "dead channels: 2 go, 15 -> 7 parameters, 10 -> 4 multiply-adds\n"
        "  fc1: 2 -> 1, 1 constant\n"
        "  fc2: 2 -> 1, 1 constant\n"
        "  constants go into fc2.bias\n"
        "  constants go into fc3.bias\n");
  CHECK(found.plan.policy == "dead channels of a mask with 7 of 10 weights alive");
  std::ostringstream stream;
  stream << found;
  CHECK(stream.str() == str(found));
}

}  // namespace dead_channels_test
