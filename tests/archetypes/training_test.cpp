// SPDX-License-Identifier: Apache-2.0
// Layers, inference, dry runs and training steps on the archetype, beside the reference.
#include <doctest/doctest.h>

#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/op/flatten.hpp>
#include <espalier/op/loss.hpp>
#include <espalier/op/pool.hpp>

#include "archetypes/opaque_backend.hpp"

using namespace espalier;
using test::OpaqueBackend;
using Opaque = OpaqueBackend<float>;

namespace {

// Every layer with parameters, a residual, a shortcut with zero channels and dropout.
template <Backend B>
struct Net {
  Conv2d<B> conv1, depthwise, conv2;
  BatchNorm<B> norm1, norm2;
  Extent before{1}, after{2};
  Dropout dropout{0.25};
  LayerNorm<B> layer_norm;
  Linear<B> head;

  Net(B& b, Rng& rng)
      : conv1(b, 2, 3, {.bias = Bias::uniform_fan_in}, rng), depthwise(b, 3, 3, {.depthwise = true}, rng), conv2(b, 3, 6, {.stride = 2}, rng),
        norm1(b, 3), norm2(b, 6), layer_norm(b, 6 * 2 * 2), head(b, 6 * 2 * 2, 4, {}, rng) {}
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("conv1", self.conv1);
    visit("depthwise", self.depthwise);
    visit("conv2", self.conv2);
    visit("norm1", self.norm1);
    visit("norm2", self.norm2);
    visit("before", self.before);
    visit("after", self.after);
    visit("layer_norm", self.layer_norm);
    visit("head", self.head);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    auto h = espalier::forward(ctx, self.norm1, espalier::forward(ctx, self.conv1, x), Activation::relu);
    h = ctx.apply(op::MaxPool{}, espalier::forward(ctx, self.depthwise, h));
    const auto shortcut = ctx.apply(op::PadChannels{.stride = 2, .before = &self.before, .after = &self.after}, h);
    h = BatchNorm<B>::forward_add(self.norm2, ctx, espalier::forward(ctx, self.conv2, h), shortcut, Activation::relu);
    h = espalier::forward(ctx, self.layer_norm, ctx.apply(op::Flatten{}, h));
    return espalier::forward(ctx, self.head, espalier::forward(ctx, self.dropout, h));
  }
};

struct Descend {
  template <class T> void operator()(Index, T& w, const T& g) const { w -= static_cast<T>(0.05) * g; }
};

// The losses of five steps, then the logits of an evaluation and of a prepared one.
template <Backend B>
std::vector<float> run(B& b) {
  Rng rng(3);
  Net<B> net(b, rng);
  std::vector<float> pixels(6 * 8 * 8 * 2);
  for (float& p : pixels) p = rng.normal();
  const auto labels = Ids<B>::from(b, {6}, std::vector<std::int32_t>{0, 1, 2, 3, 0, 1});
  const auto x = Tensor<B>::from(b, {6, 8, 8, 2}, pixels);
  std::vector<float> seen;
  Tape<B> tape(b, {.training = true, .dropout = Rng(8)});
  for (int step = 0; step < 5; ++step) {
    tape.clear();
    const auto loss = tape.apply(op::CrossEntropy<B>{&labels}, forward(tape, net, tape.input(x)));
    tape.backward(loss);
    seen.push_back(loss.value().item(b));
    for_each_parameter(net, [&](const std::string&, auto& p) {
      b.each(p.value.count(), Descend{}, p.value.data(), std::as_const(p.gradient).data());
      p.has_gradient = false;
    });
  }
  const auto add = [&](const Tensor<B>& t) {
    const auto host = t.to_host(b);
    seen.insert(seen.end(), host.begin(), host.end());
  };
  add(predict(b, net, x));
  Frozen<B, Net<B>> frozen(b, net);
  add(frozen(x));
  add(frozen(x));
  return seen;
}

}  // namespace

TEST_CASE("a convolutional net trains on the archetype with the reference's losses, to the bit") {
  Opaque opaque;
  Reference reference;
  const auto expected = run(reference);
  CHECK(run(opaque) == expected);
  CHECK(expected[4] < expected[0]);
  CHECK(opaque.live_blocks() == 0);
}

TEST_CASE("a copied module has its own memory on the archetype too") {
  Opaque b;
  Rng rng(1);
  Linear<Opaque> a(b, 2, 2, {.init = Init::ones}, rng);
  Linear<Opaque> copy = a;
  b.fill(a.weight.value.data(), 4, 9.0f);
  CHECK(copy.weight.value.to_host(b) == std::vector<float>(4, 1.0f));
  CHECK(to_host(b, a.weight).values == std::vector<float>(4, 9.0f));
}

TEST_CASE("a dry run needs no memory of the backend") {
  Opaque b;
  Rng rng(1);
  const Net<Opaque> net(b, rng);
  const std::size_t blocks = b.live_blocks();
  const auto trace = dry_run<Opaque>(net, {6, 8, 8, 2});
  CHECK(b.live_blocks() == blocks);
  CHECK(trace.ops().back().out == Shape{6, 4});
}

TEST_CASE("prepared weights are used as they were when they were prepared") {
  Opaque b;
  Rng rng(1);
  const Conv2d<Opaque> conv(b, 1, 1, {.kernel = 1, .pad = 0, .init = Init::ones}, rng);
  const auto x = Tensor<Opaque>::full(b, {1, 1, 1, 1}, 3);
  PreparedWeights<Opaque> prepared;
  Eval<Opaque> eval(b, prepared);
  Conv2d<Opaque> changing = conv;
  CHECK(forward(eval, std::as_const(changing), x).item(b) == 3);
  b.fill(changing.weight.value.data(), 1, 5.0f);
  CHECK(forward(eval, std::as_const(changing), x).item(b) == 3);
  CHECK(predict(b, changing, x).item(b) == 15);
}
