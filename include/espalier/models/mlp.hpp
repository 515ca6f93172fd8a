// SPDX-License-Identifier: Apache-2.0
// Multilayer perceptrons; LeNet-300-100 is one.
#pragma once

#include <string>
#include <vector>

#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/op/flatten.hpp>

namespace espalier::models {

/// LeNet-300-100 (LeCun et al. 1998; Frankle & Carbin 2019): 266,200 weights.
inline const std::vector<Index> lenet_300_100{784, 300, 100, 10};

/// Linear layers with ReLU between them, named fc1, fc2, ... Images are flattened.
template <Backend B>
struct Mlp {
  std::vector<Linear<B>> layers;

  Mlp() = default;
  /// `widths` from input to output, at least two. The lottery paper starts from Xavier normal and zero biases.
  Mlp(B& b, const std::vector<Index>& widths, Rng rng, LinearOptions options = {.bias = Bias::zeros, .init = Init::xavier_normal}) {
    if (widths.size() < 2) throw ShapeError(str("an Mlp needs an input and an output width, ", widths.size(), " were given"));
    for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
      Rng stream = rng.split(i);
      layers.push_back(Linear<B>(b, widths[i], widths[i + 1], options, stream));
    }
  }

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    for (std::size_t i = 0; i < self.layers.size(); ++i) visit(str("fc", i + 1).c_str(), self.layers[i]);
  }
  /// x [N, H, W, C] or [N, features] -> logits [N, classes].
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    const auto layer = [&](std::size_t i, const auto& in) {
      return espalier::forward(ctx, self.layers[i], in, i + 1 < self.layers.size() ? Activation::relu : Activation::none);
    };
    auto h = x.shape().rank() == 4 ? layer(0, ctx.apply(op::Flatten{}, x)) : layer(0, x);
    for (std::size_t i = 1; i < self.layers.size(); ++i) h = layer(i, h);
    return h;
  }
};

}  // namespace espalier::models
