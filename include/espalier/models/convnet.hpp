// SPDX-License-Identifier: Apache-2.0
// Small convolutional nets without batch norm: the lottery paper's Conv-2, Conv-4 and Conv-6, and LeNet-5.
#pragma once

#include <vector>

#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/op/flatten.hpp>
#include <espalier/op/pool.hpp>

namespace espalier::models {

/// Stages of convolutions (with bias and ReLU), a 2x2 max pool after each stage, then linear layers.
struct ConvNetConfig {
  std::vector<std::vector<Index>> stages;
  std::vector<Index> hidden;
  Index kernel = 3;
  Index pad = 1;
  Index image = 32;  // height and width of the input
  Index in = 3;
  Index classes = 10;
  Activation conv_activation = Activation::relu;
  bool operator==(const ConvNetConfig&) const = default;
};

/// Frankle & Carbin 2019, figure 2: 4,300,992 weights, 38,592 of them in convolutions.
inline const ConvNetConfig conv_2{.stages = {{64, 64}}, .hidden = {256, 256}};
/// 2,425,024 weights.
inline const ConvNetConfig conv_4{.stages = {{64, 64}, {128, 128}}, .hidden = {256, 256}};
/// 2,261,184 weights by this arithmetic; the paper prints 1.7M (docs/papers.md).
inline const ConvNetConfig conv_6{.stages = {{64, 64}, {128, 128}, {256, 256}}, .hidden = {256, 256}};
/// LeNet-5 in the form that the pruning literature uses (Han et al. 2015, after Caffe): 430,500 weights;
/// no ReLU after its convolutions.
inline const ConvNetConfig lenet_5{.stages = {{20}, {50}}, .hidden = {500}, .kernel = 5, .pad = 0, .image = 28, .in = 1, .conv_activation = Activation::none};

/// Parameters are named conv1, conv2, ..., fc1, fc2, ... Initial weights are Xavier normal, biases zero.
template <Backend B>
struct ConvNet {
  std::vector<std::vector<Conv2d<B>>> stages;
  std::vector<Linear<B>> head;
  Activation conv_activation = Activation::relu;

  ConvNet() = default;
  ConvNet(B& b, const ConvNetConfig& config, Rng rng) : conv_activation(config.conv_activation) {
    Index width = config.in, side = config.image;
    std::uint64_t layer = 0;
    for (const auto& widths : config.stages) {
      auto& stage = stages.emplace_back();
      for (const Index out : widths) {
        Rng stream = rng.split(layer++);
        stage.push_back(Conv2d<B>(b, width, out, {.kernel = config.kernel, .pad = config.pad, .bias = Bias::zeros, .init = Init::xavier_normal}, stream));
        width = out;
        side += 2 * config.pad - config.kernel + 1;
      }
      side /= 2;
    }
    if (side < 1) throw ShapeError(str("images of ", config.image, "x", config.image, " are too small for these stages"));
    width *= side * side;
    auto widths = config.hidden;
    widths.push_back(config.classes);
    for (const Index out : widths) {
      Rng stream = rng.split(layer++);
      head.push_back(Linear<B>(b, width, out, {.bias = Bias::zeros, .init = Init::xavier_normal}, stream));
      width = out;
    }
  }

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    int number = 0;
    for (auto& stage : self.stages)
      for (auto& conv : stage) visit(str("conv", ++number).c_str(), conv);
    for (std::size_t i = 0; i < self.head.size(); ++i) visit(str("fc", i + 1).c_str(), self.head[i]);
  }
  /// x [N, H, W, in] -> logits [N, classes].
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    auto h = x;
    for (auto& stage : self.stages) {
      for (auto& conv : stage) h = espalier::forward(ctx, conv, h, self.conv_activation);
      h = ctx.apply(op::MaxPool{}, h);
    }
    h = ctx.apply(op::Flatten{}, h);
    for (std::size_t i = 0; i < self.head.size(); ++i)
      h = espalier::forward(ctx, self.head[i], h, i + 1 < self.head.size() ? Activation::relu : Activation::none);
    return h;
  }
};

}  // namespace espalier::models
