// SPDX-License-Identifier: Apache-2.0
// A small learnable task and a small network with one layer of every kind that has state: convolution,
// batch norm, dropout, linear.
#pragma once

#include <cmath>
#include <string>

#include <espalier/data/dataset.hpp>
#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/op/flatten.hpp>
#include <espalier/op/pool.hpp>
#include <espalier/train/options.hpp>

namespace espalier::test {

/// Synthetic images of 6 x 6, one channel, three classes: a bright row, a bright column or a bright block, with noise.
inline data::ImageSet toy_images(Index count, std::uint64_t seed) {
  data::ImageSet set{count, 6, 6, 1, {}, {}, 3, "synthetic bars", "made from a seed", {"row", "column", "block"}};
  Rng rng(seed);
  for (Index i = 0; i < count; ++i) {
    const auto label = static_cast<std::int32_t>(rng.below(3));
    const Index at = rng.below(6), up = rng.below(4), left = rng.below(4);
    for (Index y = 0; y < 6; ++y)
      for (Index x = 0; x < 6; ++x) {
        const bool bright = label == 0 ? y == at : label == 1 ? x == at : y >= up && y < up + 3 && x >= left && x < left + 3;
        set.pixels.push_back(static_cast<std::uint8_t>((bright ? 160 : 20) + rng.below(60)));
      }
    set.labels.push_back(label);
  }
  return set;
}

inline data::Normalise toy_channels() { return {{0.3f}, {0.3f}}; }

template <Backend B>
struct ToyNet {
  Conv2d<B> conv;
  BatchNorm<B> norm;
  Dropout dropout{.probability = 0.25};
  Linear<B> head;

  ToyNet() = default;
  ToyNet(B& b, Rng rng, Index width = 6) : conv(b, 1, width, {}, rng), norm(b, width), head(b, width * 9, 3, {}, rng) {}

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("conv", self.conv);
    visit("norm", self.norm);
    visit("dropout", self.dropout);
    visit("head", self.head);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    auto h = espalier::forward(ctx, self.norm, espalier::forward(ctx, self.conv, x), Activation::relu);
    h = ctx.apply(op::Flatten{}, ctx.apply(op::MaxPool{}, h));
    return espalier::forward(ctx, self.head, espalier::forward(ctx, self.dropout, h));
  }
};

/// All values of a network's parameters and buffers, by path.
template <Backend B, Module M>
std::vector<std::pair<std::string, HostTensor>> content(B& b, const M& net) {
  std::vector<std::pair<std::string, HostTensor>> all;
  for_each_member(net, [&](const std::string& path, const auto& member) {
    if constexpr (requires { member.value.shape(); }) all.emplace_back(path, to_host(b, member));
  });
  return all;
}

}  // namespace espalier::test
