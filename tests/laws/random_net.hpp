// SPDX-License-Identifier: Apache-2.0
// Networks drawn from a seed, out of everything that couples channels: residual adds, shortcuts that pad,
// concatenations, convolutions in groups, depthwise and shared ones, flattening, biases, batch norms.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/op/add.hpp>
#include <espalier/op/flatten.hpp>
#include <espalier/op/gelu.hpp>
#include <espalier/op/loss.hpp>
#include <espalier/op/pool.hpp>

namespace espalier::test {

enum class Kind { plain, grouped, depthwise, residual, padded, concat, dense, tangle, shared, max_pool, avg_pool, gelu };
inline constexpr std::array kind_names{"plain", "grouped", "depthwise", "residual", "padded", "concat", "dense", "tangle", "shared", "max_pool", "avg_pool", "gelu"};

/// One step of a random network.
template <Backend B>
struct RandomLayer {
  Kind kind = Kind::plain;
  std::array<std::optional<Conv2d<B>>, 3> convs;
  std::array<std::optional<BatchNorm<B>>, 3> norms;
  std::optional<Extent> before, after;

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    constexpr std::array conv_names{"a", "b", "c"}, norm_names{"a_norm", "b_norm", "c_norm"};
    for (std::size_t i = 0; i < 3; ++i) {
      visit(conv_names[i], self.convs[i]);
      visit(norm_names[i], self.norms[i]);
    }
    visit("before", self.before);
    visit("after", self.after);
  }
  // Convolution, batch norm if there is one, activation.
  template <class Self, class Context>
  static auto unit(Self& self, Context& ctx, const typename Context::Value& x, std::size_t i, Activation activation) {
    if (!self.norms[i]) return espalier::forward(ctx, *self.convs[i], x, activation);
    return espalier::forward(ctx, *self.norms[i], espalier::forward(ctx, *self.convs[i], x), activation);
  }
  template <class Self, class Context>
  static auto sum(Self& self, Context& ctx, const typename Context::Value& x, std::size_t i, const typename Context::Value& residual) {
    const auto y = espalier::forward(ctx, *self.convs[i], x);
    if (self.norms[i]) return BatchNorm<B>::forward_add(*self.norms[i], ctx, y, residual, Activation::relu);
    return ctx.apply(op::Add{.activation = Activation::relu}, y, residual);
  }
  template <class Self, class Context>
  static typename Context::Value forward(Self& self, Context& ctx, const typename Context::Value& x) {
    constexpr auto relu = Activation::relu;
    switch (self.kind) {
      case Kind::residual: return sum(self, ctx, unit(self, ctx, x, 0, relu), 1, x);
      case Kind::padded: {
        const auto shortcut = ctx.apply(op::PadChannels{.stride = 2, .before = &*self.before, .after = &*self.after}, x);
        return sum(self, ctx, x, 0, shortcut);
      }
      case Kind::concat: return ctx.apply(op::Concat{}, unit(self, ctx, x, 0, relu), unit(self, ctx, x, 1, Activation::none));
      case Kind::dense: return ctx.apply(op::Concat{}, x, unit(self, ctx, x, 0, relu));
      case Kind::tangle: {  // one layer's outputs are coupled to two others'
        const auto whole = unit(self, ctx, x, 0, Activation::none);
        return ctx.apply(op::Add{.activation = relu}, whole,
                         ctx.apply(op::Concat{}, unit(self, ctx, x, 1, relu), unit(self, ctx, x, 2, Activation::none)));
      }
      case Kind::shared: return unit(self, ctx, unit(self, ctx, x, 0, relu), 0, relu);
      case Kind::max_pool: return ctx.apply(op::MaxPool{}, x);
      case Kind::avg_pool: return ctx.apply(op::AvgPool{}, x);
      case Kind::gelu: return ctx.apply(op::Gelu{}, x);
      default: return unit(self, ctx, x, 0, relu);
    }
  }
};

/// Images of 8x8x3, or of another side, to five logits.
template <Backend B, Index Side = 8>
struct RandomNet {
  static constexpr Index side = Side, in = 3, out = 5;
  std::vector<RandomLayer<B>> layers;
  bool flatten = false;
  std::optional<Linear<B>> hidden;
  std::optional<BatchNorm<B>> hidden_norm;
  Linear<B> head;
  std::string kinds;  // for messages

  RandomNet() = default;
  RandomNet(B& b, std::uint64_t seed) {
    Rng rng(seed);
    Rng weights = rng.split("weights");
    Index width = in, area = side;
    const auto between = [&](Index low, Index high) { return low + static_cast<Index>(rng.below(static_cast<std::uint32_t>(high - low + 1))); };
    const int depth = static_cast<int>(between(2, 6));
    for (int i = 0; i < depth; ++i) {
      RandomLayer<B> layer;
      layer.kind = i == 0 ? Kind::plain : static_cast<Kind>(rng.below(static_cast<std::uint32_t>(kind_names.size())));
      const bool shrinks = layer.kind == Kind::padded || layer.kind == Kind::max_pool || layer.kind == Kind::avg_pool;
      if (shrinks && area <= 2) layer.kind = Kind::residual;
      kinds += str(kinds.empty() ? "" : " ", kind_names[static_cast<std::size_t>(layer.kind)]);
      const auto conv = [&](std::size_t at, Index outputs, ConvOptions o = {}) {
        o.kernel = rng.bernoulli(0.3) ? 1 : 3;
        o.pad = o.kernel / 2;
        o.bias = rng.bernoulli(0.5) ? Bias::uniform_fan_in : Bias::none;
        layer.convs[at] = Conv2d<B>(b, width, outputs, o, weights);
        if (rng.bernoulli(0.6)) layer.norms[at] = BatchNorm<B>(b, outputs);
        return outputs;
      };
      switch (layer.kind) {
        case Kind::plain: width = conv(0, between(4, 12)); break;
        case Kind::grouped: {
          const Index groups = width % 3 == 0 ? 3 : width % 2 == 0 ? 2 : 1;
          width = conv(0, groups * between(2, 4), {.groups = groups});
          break;
        }
        case Kind::depthwise: width = conv(0, width * between(1, 2), {.depthwise = true}); break;
        case Kind::residual: {
          const Index outer = width;
          width = conv(0, between(4, 12));
          width = conv(1, outer);
          break;
        }
        case Kind::padded: {
          layer.before = Extent{between(0, 3)};
          layer.after = Extent{between(0, 3)};
          width = conv(0, width + layer.before->value + layer.after->value, {.stride = 2});
          break;
        }
        case Kind::concat: {
          const Index first = conv(0, between(2, 6));
          width = first + conv(1, between(2, 6));
          break;
        }
        case Kind::dense: width += conv(0, between(2, 6)); break;
        case Kind::tangle: {
          const Index first = between(2, 5), second = between(2, 5);
          conv(0, first + second);
          conv(1, first);
          conv(2, second);
          width = first + second;
          break;
        }
        case Kind::shared: conv(0, width); break;
        default: break;
      }
      if (layer.kind == Kind::padded || layer.kind == Kind::max_pool || layer.kind == Kind::avg_pool) area = (area + 1) / 2;
      layers.push_back(std::move(layer));
    }
    flatten = rng.bernoulli(0.5);
    if (flatten) width *= area * area;
    if (rng.bernoulli(0.6)) {
      hidden = Linear<B>(b, width, between(4, 10), {}, weights);
      width = hidden->weight.outside_shape()[0];
      if (rng.bernoulli(0.5)) hidden_norm = BatchNorm<B>(b, width);
    }
    head = Linear<B>(b, width, out, {}, weights);
    kinds += flatten ? " flatten" : " average";
  }

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("layers", self.layers);
    visit("hidden", self.hidden);
    visit("hidden_norm", self.hidden_norm);
    visit("head", self.head);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    auto h = x;
    for (auto& layer : self.layers) h = espalier::forward(ctx, layer, h);
    h = self.flatten ? ctx.apply(op::Flatten{}, h) : ctx.apply(op::GlobalAvgPool{}, h);
    if (self.hidden) h = espalier::forward(ctx, *self.hidden, h, self.hidden_norm ? Activation::none : Activation::relu);
    if (self.hidden_norm) h = espalier::forward(ctx, *self.hidden_norm, h, Activation::relu);
    return espalier::forward(ctx, self.head, h);
  }
};

template <Backend B>
Tensor<B> random_images(B& b, const Shape& shape, Rng rng) {
  std::vector<typename B::Scalar> values(static_cast<std::size_t>(shape.count()));
  // Each image has a brightness of its own: pooled, mere noise is nearly the same for all, and a batch norm over few of them
  // would magnify what was rounded.
  const Index size = shape.count() / shape[0];
  for (Index i = 0; i < shape.count(); ++i) values[static_cast<std::size_t>(i)] = static_cast<typename B::Scalar>(rng.normal() + static_cast<double>(i / size % 4) - 1.5);
  return Tensor<B>::from(b, shape, values);
}

/// Weights that keep activations near 1; scales, shifts and biases far from 1 and 0, so that none can be
/// forgotten unseen; running statistics and gradients of two training passes.
template <Backend B, Module M>
void season(B& b, M& net, const Shape& image, std::uint64_t seed) {
  const Rng rng = Rng(seed).split("season");
  for_each_parameter(net, [&](const std::string& path, auto& p) {
    Rng stream = rng.split(path);
    HostTensor host = to_host(b, p);
    const Shape& s = host.shape;
    const bool is_scale = s.rank() == 1 && path.ends_with(".weight");
    const double deviation = s.rank() == 1 ? 0.5 : std::sqrt(2.0 / (static_cast<double>(s.count()) / static_cast<double>(s[0])));
    for (float& v : host.values) v = is_scale ? 0.5F + stream.uniform() : static_cast<float>(deviation * static_cast<double>(stream.normal()));
    p.value = from_host(b, host, p.layout);
  });
  for (std::uint64_t pass = 0; pass < 2; ++pass) {
    Tape<B> tape(b);
    const auto y = forward(tape, net, tape.input(random_images(b, image.with(0, 4), rng.split(pass))));
    const auto scattered = random_images(b, y.shape(), rng.split("targets"));
    tape.backward(tape.apply(op::MeanSquaredError{}, y, tape.input(scattered)));
  }
}

}  // namespace espalier::test
