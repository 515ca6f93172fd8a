// SPDX-License-Identifier: Apache-2.0
// The CIFAR ResNets of He et al. 2016 (section 4.2): 6n + 2 layers, widths 16, 32, 64, shortcut A.
#pragma once

#include <array>
#include <vector>

#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/op/flatten.hpp>
#include <espalier/op/pool.hpp>

namespace espalier::models {

/// The two forms of the parameterless shortcut that exist in the wild.
enum class ShortcutA {
  pad_both_sides,  // every second pixel, zero channels on both sides
  pad_after,       // 2x2 average pool, zero channels at the end (Li et al. 2017's code)
};

struct ResNetConfig {
  int depth = 56;  // 20, 32, 44, 56, 110: 6n + 2
  ShortcutA shortcut = ShortcutA::pad_both_sides;
  std::array<Index, 3> widths{16, 32, 64};
  Index classes = 10;
  Index in = 3;
  Init conv_init = Init::he_normal_fan_out;
  bool operator==(const ResNetConfig&) const = default;
};

/// relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)).
template <Backend B>
struct BasicBlock {
  struct Shortcut {
    ShortcutA form = ShortcutA::pad_both_sides;
    Extent pad_before, pad_after;

    template <class Self, class Visit>
    static void members(Self& self, Visit&& visit) {
      visit("pad_before", self.pad_before);
      visit("pad_after", self.pad_after);
    }
    template <class Self, class Context>
    static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
      if (self.form == ShortcutA::pad_both_sides)
        return ctx.apply(op::PadChannels{.stride = 2, .before = &self.pad_before, .after = &self.pad_after}, x);
      return ctx.apply(op::PadChannels{.before = &self.pad_before, .after = &self.pad_after}, ctx.apply(op::AvgPool{}, x));
    }
  };

  Conv2d<B> conv1, conv2;
  BatchNorm<B> bn1, bn2;
  std::optional<Shortcut> shortcut;

  BasicBlock() = default;
  BasicBlock(B& b, Index in, Index out, Index stride, const ResNetConfig& config, Rng rng) {
    conv1 = Conv2d<B>(b, in, out, {.stride = stride, .init = config.conv_init}, rng);
    conv2 = Conv2d<B>(b, out, out, {.init = config.conv_init}, rng);
    bn1 = BatchNorm<B>(b, out);
    bn2 = BatchNorm<B>(b, out);
    if (stride != 1 || in != out) {
      const Index before = config.shortcut == ShortcutA::pad_both_sides ? (out - in) / 2 : 0;
      shortcut = Shortcut{config.shortcut, {before}, {out - in - before}};
    }
  }

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("conv1", self.conv1);
    visit("bn1", self.bn1);
    visit("conv2", self.conv2);
    visit("bn2", self.bn2);
    visit("shortcut", self.shortcut);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    const auto h = espalier::forward(ctx, self.bn1, espalier::forward(ctx, self.conv1, x), Activation::relu);
    const auto y = espalier::forward(ctx, self.conv2, h);
    if (!self.shortcut) return BatchNorm<B>::forward_add(self.bn2, ctx, y, x, Activation::relu);
    return BatchNorm<B>::forward_add(self.bn2, ctx, y, espalier::forward(ctx, *self.shortcut, x), Activation::relu);
  }
};

/// Parameters are named conv1, bn1, layer1.0.conv1, ..., layer3.8.bn2, linear.
template <Backend B>
struct ResNetCifar {
  Conv2d<B> conv1;
  BatchNorm<B> bn1;
  std::array<std::vector<BasicBlock<B>>, 3> layers;
  Linear<B> linear;

  ResNetCifar() = default;
  /// Throws ShapeError unless the depth is 6n + 2.
  ResNetCifar(B& b, const ResNetConfig& config, Rng rng) {
    const int blocks = (config.depth - 2) / 6;
    if (config.depth < 8 || config.depth != 6 * blocks + 2)
      throw ShapeError(str("a CIFAR ResNet has 6n + 2 layers (20, 32, 44, 56, 110); ", config.depth, " was asked for"));
    Rng stem = rng.split("stem"), head = rng.split("linear");
    conv1 = Conv2d<B>(b, config.in, config.widths[0], {.init = config.conv_init}, stem);
    bn1 = BatchNorm<B>(b, config.widths[0]);
    Index width = config.widths[0];
    for (std::size_t stage = 0; stage < 3; ++stage)
      for (int i = 0; i < blocks; ++i) {
        const Rng stream = rng.split(stage * 1000 + static_cast<std::uint64_t>(i));
        layers[stage].push_back(BasicBlock<B>(b, width, config.widths[stage], stage > 0 && i == 0 ? 2 : 1, config, stream));
        width = config.widths[stage];
      }
    linear = Linear<B>(b, width, config.classes, {.bias = Bias::uniform_fan_in}, head);
  }

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("conv1", self.conv1);
    visit("bn1", self.bn1);
    visit("layer1", self.layers[0]);
    visit("layer2", self.layers[1]);
    visit("layer3", self.layers[2]);
    visit("linear", self.linear);
  }
  /// x [N, H, W, in] -> logits [N, classes].
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    auto h = espalier::forward(ctx, self.bn1, espalier::forward(ctx, self.conv1, x), Activation::relu);
    for (auto& stage : self.layers)
      for (auto& block : stage) h = espalier::forward(ctx, block, h);
    return espalier::forward(ctx, self.linear, ctx.apply(op::GlobalAvgPool{}, h));
  }
};

}  // namespace espalier::models
