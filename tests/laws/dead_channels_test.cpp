// SPDX-License-Identifier: Apache-2.0
// Law: without its dead channels a masked network computes the same, whatever couples them, and they are all
// that can go.
#include <doctest/doctest.h>

#include <set>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/io/mask.hpp>
#include <espalier/io/weights.hpp>
#include <espalier/models/convnet.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/models/resnet_cifar.hpp>
#include <espalier/models/vgg.hpp>
#include <espalier/prune/dead_channels.hpp>
#include <espalier/prune/filter_l1.hpp>

#include "agreement.hpp"
#include "archetypes/opaque_backend.hpp"
#include "io/scratch.hpp"

using namespace espalier;
using namespace espalier::test;

namespace dead_channels_test {

namespace {

const Shape image{1, 8, 8, 3};

template <Module M>
Mask random_mask(const M& net, double density, Rng rng) {
  std::vector<MaskPart> parts;
  for (MaskPart part : std::vector<MaskPart>(Mask::ones(net).parts())) {
    for (Index i = 0; i < part.weights(); ++i)
      if (!rng.bernoulli(density)) part.kill(i);
    parts.push_back(std::move(part));
  }
  return Mask(std::move(parts));
}

template <Backend B, Module M>
std::map<std::string, HostTensor> contents(B& b, const M& net) {
  std::map<std::string, HostTensor> all;
  for_each_member(net, [&](const std::string& path, const auto& member) {
    if constexpr (requires { to_host(b, member); }) all[path] = to_host(b, member);
  });
  return all;
}

// Everything that holds of every removal.
template <Backend B, Module M>
WithoutDead<M> check_removal(B& b, const M& net, const Shape& input, const Mask& mask, double tolerance = 1e-5) {
  const M masked = espalier::mask(b, net, mask);
  auto slim = remove_dead(b, net, input, mask);
  const Plan& plan = slim.found.plan;
  const auto x = random_images(b, input.with(0, 4), Rng(2));
  const auto expected = predict(b, masked, x).to_host(b);
  CHECK(difference(predict(b, slim.net, x).to_host(b), expected) <= tolerance);

  // mask equals shrink, the constants folded.
  const M folded = fold_constants(b, masked, slim.found);
  CHECK(difference(predict(b, espalier::mask(b, folded, plan), x).to_host(b), expected) <= tolerance);

  // Survivors keep their bits, where nothing is folded in.
  const auto before = contents(b, masked), after = contents(b, slim.net);
  const auto removed = espalier::detail::slices_of<B>(net, plan, [](ChannelRole) { return true; });
  for (const auto& entry : before) {
    const std::string& path = entry.first;
    HostTensor tensor = entry.second;
    CAPTURE(path);
    if (const auto slices = removed.of.find(path); slices != removed.of.end())
      for (const auto& [axis, dead] : slices->second) tensor = espalier::detail::without(tensor, axis, dead);
    const bool is_folded = std::any_of(slim.found.folds.begin(), slim.found.folds.end(), [&](const Fold& fold) { return fold.path == path; });
    if (is_folded) CHECK(tensor.shape == after.at(path).shape);
    else CHECK(tensor == after.at(path));
  }

  // The mask that is left fits what is left, and the dead there are zero.
  CHECK(contents(b, espalier::mask(b, slim.net, slim.mask)) == after);

  CHECK(parameter_count(slim.net) == plan.parameters_after);
  CHECK((parameter_count(slim.net) < parameter_count(net)) == (plan.removed() > 0));
  if (plan.removed() > 0) check_plan(b, folded, plan);

  const auto again = remove_dead(b, slim.net, input, slim.mask);
  CHECK(again.found.plan.removed() == 0);
  CHECK(again.found.folds.empty());
  CHECK(contents(b, again.net) == after);
  CHECK(again.mask == slim.mask);
  return slim;
}

// How many hidden neurons of a multilayer perceptron must stay, found by trying every neuron, over and over.
std::vector<Index> alive_by_brute_force(const std::vector<Index>& widths, const Mask& mask) {
  const auto live = [&](std::size_t layer, Index out, Index in) { return mask.parts()[layer].alive(out * widths[layer] + in); };
  std::vector<std::vector<bool>> fed, wanted;
  for (const Index width : widths) {
    fed.emplace_back(static_cast<std::size_t>(width), false);
    wanted.emplace_back(static_cast<std::size_t>(width), false);
  }
  std::fill(fed.front().begin(), fed.front().end(), true);
  std::fill(wanted.back().begin(), wanted.back().end(), true);
  for (bool changes = true; changes;) {
    changes = false;
    for (std::size_t layer = 0; layer + 1 < widths.size(); ++layer)
      for (Index out = 0; out < widths[layer + 1]; ++out)
        for (Index in = 0; in < widths[layer]; ++in) {
          const auto o = static_cast<std::size_t>(out), i = static_cast<std::size_t>(in);
          if (!live(layer, out, in)) continue;
          if (fed[layer][i] && !fed[layer + 1][o]) fed[layer + 1][o] = changes = true;
          if (wanted[layer + 1][o] && !wanted[layer][i]) wanted[layer][i] = changes = true;
        }
  }
  std::vector<Index> alive;
  for (std::size_t layer = 1; layer + 1 < widths.size(); ++layer) {
    Index count = 0;
    for (std::size_t n = 0; n < fed[layer].size(); ++n) count += fed[layer][n] && wanted[layer][n];
    alive.push_back(std::max<Index>(count, 1));
  }
  return alive;
}

template <Backend B>
std::vector<Index> hidden_widths(const models::Mlp<B>& net) {
  std::vector<Index> widths;
  for (std::size_t i = 0; i + 1 < net.layers.size(); ++i) widths.push_back(net.layers[i].weight.outside_shape()[0]);
  return widths;
}

}  // namespace

TEST_CASE("random networks under random masks compute the same without their dead channels") {
  Reference r;
  int removals = 0, folds = 0, kept = 0;
  std::set<std::string> met;
  for (std::uint64_t seed = 0; seed < 150; ++seed) {
    RandomNet<Reference> net(r, seed);
    season(r, net, image, seed);
    Rng rng = Rng(seed).split("density");
    const double density = 0.02 + 0.28 * rng.uniform_double();
    CAPTURE(seed);
    CAPTURE(net.kinds);
    CAPTURE(density);
    const auto slim = check_removal(r, net, image, random_mask(net, density, rng));
    removals += slim.found.plan.removed() > 0;
    folds += !slim.found.folds.empty();
    for (const auto& group : slim.found.groups)
      for (const auto& reason : group.kept) kept += reason.because != "the last of its group";
    if (slim.found.plan.removed() > 0)
      for (const auto& layer : net.layers) met.insert(kind_names[static_cast<std::size_t>(layer.kind)]);
  }
  CHECK(removals > 100);
  CHECK(folds > 30);
  CHECK(kept > 30);
  CHECK(met.size() == kind_names.size());
}

TEST_CASE("they are all that can go: silencing a channel that stays without a reason changes the result, for some weights") {
  Reference r;
  int tried = 0;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    RandomNet<Reference> net(r, seed);
    season(r, net, image, seed);
    CAPTURE(seed);
    CAPTURE(net.kinds);
    const Mask mask = random_mask(net, 0.15, Rng(seed).split("mask"));
    const auto found = find_dead_channels(r, net, image, mask);
    const auto x = random_images(r, image.with(0, 3), Rng(2));
    for (std::size_t g = 0; g < found.groups.size(); ++g) {
      if (found.plan.groups[g].kept_because == "the network's output") continue;
      std::set<Index> said(found.plan.groups[g].remove.begin(), found.plan.groups[g].remove.end());
      for (const auto& kept : found.groups[g].kept) said.insert(kept.channels.begin(), kept.channels.end());
      for (Index channel = 0; channel < found.groups[g].channels && found.groups[g].channels > 1; ++channel) {
        if (said.contains(channel)) continue;
        Plan silenced = found.plan;
        for (auto& group : silenced.groups) group.remove.clear();
        silenced.groups[g].remove = {channel};
        bool matters = false;
        for (std::uint64_t draw = 0; draw < 60 && !matters; ++draw) {  // a ReLU may be closed by chance
          season(r, net, image, 1000 * seed + draw);
          const auto masked = espalier::mask(r, net, mask);
          matters = predict(r, espalier::mask(r, masked, silenced), x).to_host(r) != predict(r, masked, x).to_host(r);
        }
        CAPTURE(found.groups[g].name);
        CAPTURE(channel);
        CHECK(matters);
        ++tried;
      }
    }
  }
  CHECK(tried > 30);
}

TEST_CASE("whatever a plan silences is found by its mask alone, and nothing is folded for it") {
  Reference r;
  int planned = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    RandomNet<Reference> net(r, seed);
    CAPTURE(seed);
    CAPTURE(net.kinds);
    season(r, net, image, seed);
    std::optional<Plan> plan;
    try {
      plan = espalier::plan(r, net, image, FilterL1{.amount = Fraction{0.4}, .linear = LinearLayers::prune, .keep_at_least = 1});
    } catch (const PolicyError&) {
      continue;
    }
    ++planned;
    const auto found = find_dead_channels(r, net, image, mask_of<Reference>(net, *plan));
    for (std::size_t g = 0; g < plan->groups.size(); ++g) {
      CHECK(found.groups[g].name == plan->groups[g].name);
      CHECK(found.plan.groups[g].remove == plan->groups[g].remove);
    }
    CHECK(found.folds.empty());
  }
  CHECK(planned > 40);
}

TEST_CASE("without unread channels a network trains the same: outputs, gradients and running statistics") {
  Reference r;
  int checked = 0;
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    RandomNet<Reference> net(r, seed);
    CAPTURE(seed);
    CAPTURE(net.kinds);
    season(r, net, image, seed);
    std::optional<Plan> plan;
    try {
      plan = espalier::plan(r, net, image, FilterL1{.amount = Fraction{0.4}, .linear = LinearLayers::prune, .keep_at_least = 1});
    } catch (const PolicyError&) {
      continue;
    }
    // All that reads the plan's channels is dead, and nothing else.
    const auto readers = espalier::detail::slices_of<Reference>(net, *plan, [](ChannelRole role) { return role == ChannelRole::reader; });
    std::vector<MaskPart> parts = std::vector<MaskPart>(Mask::ones(net).parts());
    for (MaskPart& part : parts)
      if (const auto slices = readers.of.find(part.path); slices != readers.of.end())
        for (const auto& [axis, dead] : slices->second) espalier::detail::for_each_marked(part.shape, axis, dead, [&](Index i) { part.kill(i); });
    const Mask mask{parts};
    const auto masked = espalier::mask(r, net, mask);
    const auto slim = remove_dead(r, net, image, mask);
    const bool only_unread = std::all_of(slim.found.groups.begin(), slim.found.groups.end(), [](const DeadGroup& g) { return g.zero.empty() && g.constant.empty(); });
    if (!only_unread) continue;
    ++checked;
    for (std::size_t g = 0; g < plan->groups.size(); ++g) CHECK(slim.found.plan.groups[g].remove == plan->groups[g].remove);
    check_agreement(r, masked, slim.net, slim.found.plan);
  }
  CHECK(checked > 20);
}

TEST_CASE("of LeNet-300-100 under a random mask exactly the neurons on a live path stay") {
  EigenCpu c;
  for (const double density : {0.3, 0.03, 0.01, 0.003, 0.0003})
    for (std::uint64_t seed = 0; seed < 2; ++seed) {
      CAPTURE(density);
      CAPTURE(seed);
      models::Mlp<EigenCpu> net(c, models::lenet_300_100, Rng(seed), {.bias = Bias::uniform_fan_in, .init = Init::xavier_normal});
      const Mask mask = random_mask(net, density, Rng(seed).split("mask"));
      const auto slim = check_removal(c, net, {1, 784}, mask);
      CHECK(hidden_widths(slim.net) == alive_by_brute_force(models::lenet_300_100, mask));
    }
}

TEST_CASE("deep multilayer perceptrons lose exactly what is on no live path") {
  Reference r;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    CAPTURE(seed);
    Rng rng = Rng(seed).split("widths");
    std::vector<Index> widths{4 + rng.below(20)};
    for (std::uint32_t i = 0; i <= 1 + rng.below(5); ++i) widths.push_back(3 + rng.below(20));
    models::Mlp<Reference> net(r, widths, Rng(seed), {.bias = Bias::uniform_fan_in, .init = Init::he_normal_fan_in});
    const Mask mask = random_mask(net, 0.05 + 0.2 * rng.uniform_double(), rng);
    const auto slim = remove_dead(r, net, {1, widths[0]}, mask);
    const auto x = random_images(r, {5, widths[0]}, Rng(2));
    const auto expected = predict(r, espalier::mask(r, net, mask), x).to_host(r), found = predict(r, slim.net, x).to_host(r);
    for (std::size_t i = 0; i < found.size(); ++i) CHECK(std::abs(found[i] - expected[i]) <= 1e-5F);
    const auto alive = alive_by_brute_force(widths, mask), stay = hidden_widths(slim.net);
    CHECK(std::count(alive.begin(), alive.end(), 0) == 0);
    CHECK(stay == alive);
  }
}

TEST_CASE("sparse VGGs, ResNets and ConvNets compute the same without their dead channels") {
  EigenCpu c({.threads = 2});
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    CAPTURE(seed);
    const Rng rng(seed);
    const double density = std::array{0.1, 0.05, 0.02, 0.01}[seed];
    CAPTURE(density);
    const auto check = [&](auto net, const Shape& input) {
      season(c, net, input, seed);
      return check_removal(c, net, input, random_mask(net, density, rng.split("mask"))).found.plan.removed();
    };
    models::VggConfig config{.stages = {{12, 16}, {24, 20}, {32}}, .hidden = 24};
    config.head = seed % 2 == 0 ? models::VggHead::hidden : models::VggHead::linear;
    config.conv_bias = seed < 2 ? Bias::uniform_fan_in : Bias::none;
    CHECK(check(models::Vgg<EigenCpu>(c, config, rng), {1, 16, 16, 3}) > 0);
    const auto form = seed % 2 == 0 ? models::ShortcutA::pad_both_sides : models::ShortcutA::pad_after;
    CHECK(check(models::ResNetCifar<EigenCpu>(c, {.depth = 14, .shortcut = form, .widths = {8, 12, 16}}, rng), {1, 16, 16, 3}) >= (seed < 2 ? 0 : 1));
    CHECK(check(models::ConvNet<EigenCpu>(c, {.stages = {{12, 10}, {14}}, .hidden = {20, 16}, .image = 12, .in = 2}, rng), {1, 12, 12, 2}) > 0);
    CHECK(check(models::ConvNet<EigenCpu>(c, models::lenet_5, rng), {1, 28, 28, 1}) > 0);
  }
}

TEST_CASE("what is found does not depend on the backend or its threads") {
  Reference r;
  OpaqueBackend<float> opaque;
  EigenCpu one({.threads = 1}), three({.threads = 3});
  const auto slim = [&](auto& b, std::uint64_t seed) {
    using B = std::remove_cvref_t<decltype(b)>;
    RandomNet<B> net(b, seed);
    season(b, net, image, seed);
    return remove_dead(b, net, image, random_mask(net, 0.1, Rng(seed).split("mask")));
  };
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    CAPTURE(seed);
    const auto expected = slim(r, seed);
    const auto on_archetype = slim(opaque, seed);
    CHECK(on_archetype.found == expected.found);
    CHECK(on_archetype.mask == expected.mask);
    CHECK(contents(opaque, on_archetype.net) == contents(r, expected.net));
    const auto fast = slim(one, seed), threaded = slim(three, seed);
    CHECK(fast.found.plan == expected.found.plan);
    CHECK(fast.found.groups == expected.found.groups);
    CHECK(threaded.found == fast.found);
    CHECK(contents(three, threaded.net) == contents(one, fast.net));
  }
}

TEST_CASE("what is left is saved with its mask, and loads into a network of the full widths") {
  EigenCpu c;
  const ScratchFolder scratch;
  models::Vgg<EigenCpu> net(c, {.stages = {{12, 16}, {24}}, .hidden = 24}, Rng(1));
  const Shape input{1, 16, 16, 3};
  season(c, net, input, 1);
  const auto slim = remove_dead(c, net, input, random_mask(net, 0.03, Rng(7)));
  REQUIRE(slim.found.plan.removed() > 0);
  save_weights(c, slim.net, scratch / "slim.safetensors");
  save_mask(slim.mask, scratch / "slim.mask.safetensors");
  models::Vgg<EigenCpu> loaded(c, {.stages = {{12, 16}, {24}}, .hidden = 24}, Rng(2));
  load_weights(c, loaded, scratch / "slim.safetensors", input);
  const Mask mask = load_mask(scratch / "slim.mask.safetensors");
  CHECK(contents(c, loaded) == contents(c, slim.net));
  CHECK(mask == slim.mask);
  CHECK(find_dead_channels(c, loaded, input, mask).plan.removed() == 0);
}

}  // namespace dead_channels_test
