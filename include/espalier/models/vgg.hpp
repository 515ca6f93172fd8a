// SPDX-License-Identifier: Apache-2.0
// VGG with batch norm for small images (Simonyan & Zisserman 2015; the CIFAR form of Li et al. 2017).
#pragma once

#include <string>
#include <vector>

#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/op/flatten.hpp>
#include <espalier/op/pool.hpp>

namespace espalier::models {

/// What follows the last convolution's global average pool.
enum class VggHead {
  hidden,  // Linear(512), batch norm, ReLU, Linear(classes): Li et al.'s form
  linear,  // Linear(classes): the form of Liu et al.'s unstructured experiments
};

/// The convolution widths by stage, with a 2x2 max pool between stages; any list will do. After the
/// last stage the map is averaged, so any image that survives the poolings fits (for 32x32 images and
/// five stages this is the 2x2 average pool of the original).
struct VggConfig {
  std::vector<std::vector<Index>> stages;
  VggHead head = VggHead::hidden;
  Index hidden = 512;
  Index classes = 10;
  Index in = 3;
  Bias conv_bias = Bias::none;
  Init conv_init = Init::he_normal_fan_out;
  Init gamma = Init::half;  // of the convolutions' batch norms; the head's begins at 1, as in Li et al.'s code
  bool operator==(const VggConfig&) const = default;
};

inline const VggConfig vgg11{.stages = {{64}, {128}, {256, 256}, {512, 512}, {512, 512}}};
inline const VggConfig vgg13{.stages = {{64, 64}, {128, 128}, {256, 256}, {512, 512}, {512, 512}}};
inline const VggConfig vgg16{.stages = {{64, 64}, {128, 128}, {256, 256, 256}, {512, 512, 512}, {512, 512, 512}}};
inline const VggConfig vgg19{.stages = {{64, 64}, {128, 128}, {256, 256, 256, 256}, {512, 512, 512, 512}, {512, 512, 512, 512}}};

/// Parameters are named as in a PyTorch Sequential of convolution, batch norm, ReLU and pool:
/// features.0.weight, features.1.weight, features.3.weight, ..., classifier.0.weight.
template <Backend B>
struct Vgg {
  struct Unit {
    Conv2d<B> conv;
    BatchNorm<B> norm;
  };
  std::vector<std::vector<Unit>> stages;
  std::optional<Linear<B>> hidden;
  std::optional<BatchNorm<B>> hidden_norm;
  Linear<B> classifier;

  Vgg() = default;
  Vgg(B& b, const VggConfig& config, Rng rng) {
    Index width = config.in;
    std::uint64_t layer = 0;
    for (const auto& widths : config.stages) {
      auto& stage = stages.emplace_back();
      for (const Index out : widths) {
        Rng stream = rng.split(layer++);
        stage.push_back({Conv2d<B>(b, width, out, {.bias = config.conv_bias, .init = config.conv_init}, stream), BatchNorm<B>(b, out, config.gamma)});
        width = out;
      }
    }
    Rng stream = rng.split(layer);
    const LinearOptions head{.bias = Bias::zeros, .init = Init::normal_1e_2};
    if (config.head == VggHead::hidden) {
      hidden = Linear<B>(b, width, config.hidden, head, stream);
      hidden_norm = BatchNorm<B>(b, config.hidden, Init::ones);
      width = config.hidden;
    }
    classifier = Linear<B>(b, width, config.classes, head, stream);
  }

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    int position = 0;
    for (std::size_t s = 0; s < self.stages.size(); ++s) {
      for (auto& unit : self.stages[s]) {
        visit(str("features.", position).c_str(), unit.conv);
        visit(str("features.", position + 1).c_str(), unit.norm);
        position += 3;
      }
      ++position;  // the pool
    }
    visit("classifier.0", self.hidden);
    visit("classifier.1", self.hidden_norm);
    visit(self.hidden ? "classifier.3" : "classifier", self.classifier);
  }

  /// x [N, H, W, in] -> logits [N, classes].
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    auto h = x;
    for (std::size_t s = 0; s < self.stages.size(); ++s) {
      if (s > 0) h = ctx.apply(op::MaxPool{}, h);
      for (auto& unit : self.stages[s]) h = espalier::forward(ctx, unit.norm, espalier::forward(ctx, unit.conv, h), Activation::relu);
    }
    h = ctx.apply(op::GlobalAvgPool{}, h);
    if (self.hidden) h = espalier::forward(ctx, *self.hidden_norm, espalier::forward(ctx, *self.hidden, h), Activation::relu);
    return espalier::forward(ctx, self.classifier, h);
  }
};

}  // namespace espalier::models
