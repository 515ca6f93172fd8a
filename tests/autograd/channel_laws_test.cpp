// SPDX-License-Identifier: Apache-2.0
// What ops say of their channels is true: on random nets, zeroing what produces a class of coupled
// channels makes them zero wherever they appear, and then nothing that reads them matters any more.
#include <doctest/doctest.h>

#include <map>
#include <optional>
#include <set>
#include <vector>

#include <espalier/models/resnet_cifar.hpp>
#include <espalier/models/vgg.hpp>
#include <espalier/op/add.hpp>
#include <espalier/op/gelu.hpp>

#include "common/gradient_check.hpp"
#include "common/probe.hpp"

using namespace espalier;
using test::Double;
using test::Probe;

namespace {

// A chain of blocks drawn at random: every way in which channels are tied, passed on and made.
struct RandomNet {
  enum Kind { plain, biased, residual, added, depthwise, wide_depthwise, grouped, branches, shortcut, pooled, kinds };
  struct Block {
    Kind kind;
    std::vector<Conv2d<Double>> convs;
    std::vector<BatchNorm<Double>> norms;
    Extent before, after;

    template <class Self, class Visit>
    static void members(Self& self, Visit&& visit) {
      visit("convs", self.convs);
      visit("norms", self.norms);
      visit("before", self.before);
      visit("after", self.after);
    }
    template <class Self, class Context>
    static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
      const auto conv = [&](std::size_t i, const auto& h, Activation a = Activation::none) { return espalier::forward(ctx, self.convs[i], h, a); };
      const auto norm = [&](std::size_t i, const auto& h, Activation a) { return espalier::forward(ctx, self.norms[i], h, a); };
      switch (self.kind) {
        case biased: return ctx.apply(op::Gelu{}, conv(0, x));
        case residual: return BatchNorm<Double>::forward_add(self.norms[1], ctx, conv(1, norm(0, conv(0, x), Activation::relu)), x, Activation::relu);
        case added: return ctx.apply(op::Add{Activation::relu}, conv(0, x), x);
        case branches: return ctx.apply(op::Concat{}, norm(0, conv(0, x), Activation::relu), x, ctx.apply(op::Tanh{}, conv(1, x)));
        case shortcut: {
          const auto padded = ctx.apply(op::PadChannels{.stride = 2, .before = &self.before, .after = &self.after}, x);
          return BatchNorm<Double>::forward_add(self.norms[0], ctx, conv(0, x), padded, Activation::relu);
        }
        case pooled: return ctx.apply(op::AvgPool{{.kernel = 3, .stride = 1, .pad = 1}}, ctx.apply(op::MaxPool{{.kernel = 3, .stride = 1, .pad = 1}}, x));
        default: return norm(0, conv(0, x), Activation::relu);  // plain, depthwise, grouped
      }
    }
  };

  std::vector<Block> blocks;
  std::optional<Linear<Double>> hidden;
  std::optional<BatchNorm<Double>> hidden_norm;
  std::optional<Linear<Double>> head;
  bool flatten = false;
  Dropout dropout{0.3};

  RandomNet(Double& b, std::uint64_t seed) {
    Rng rng(seed);
    Index width = 3;
    const auto conv = [&](Index in, Index out, ConvOptions o) { return Conv2d<Double>(b, in, out, o, rng); };
    blocks.push_back({plain, {conv(width, 4, {})}, {norm(b, 4, rng)}, {}, {}});
    width = 4;
    const auto count = 3 + rng.below(4);
    for (std::uint32_t i = 0; i < count; ++i) {
      Block block{static_cast<Kind>(rng.below(kinds)), {}, {}, {}, {}};
      const Index wider = width + 2 * static_cast<Index>(rng.below(2));
      switch (block.kind) {
        case plain: block.convs = {conv(width, wider, {.bias = Bias::uniform_fan_in})}; width = wider; break;
        case biased: block.convs = {conv(width, wider, {.kernel = 1, .pad = 0, .bias = Bias::uniform_fan_in})}; width = wider; break;
        case residual: block.convs = {conv(width, wider, {}), conv(wider, width, {})}; block.norms = {norm(b, wider, rng)}; break;
        case added: block.convs = {conv(width, width, {.bias = Bias::uniform_fan_in})}; break;
        case depthwise: block.convs = {conv(width, width, {.depthwise = true, .bias = Bias::uniform_fan_in})}; break;
        case wide_depthwise:
          if (width > 6) block.kind = depthwise;
          block.convs = {conv(width, width > 6 ? width : 2 * width, {.depthwise = true})};
          width = width > 6 ? width : 2 * width;
          break;
        case grouped: block.convs = {conv(width, wider, {.groups = width % 2 == 0 ? 2 : 1})}; width = wider; break;
        case branches:
          block.convs = {conv(width, 2, {}), conv(width, 1, {.bias = Bias::uniform_fan_in})};
          block.norms = {norm(b, 2, rng)};
          width += 3;
          break;
        case shortcut:
          block.before.value = static_cast<Index>(rng.below(2));
          block.after.value = wider - width + (wider == width && block.before.value == 0 ? 0 : block.before.value);
          width += block.before.value + block.after.value;
          block.convs = {conv(width - block.before.value - block.after.value, width, {.stride = 2})};
          break;
        default: break;
      }
      const bool normed = block.kind != biased && block.kind != added && block.kind != branches && block.kind != pooled;
      if (normed) block.norms.push_back(norm(b, width, rng));
      blocks.push_back(std::move(block));
    }
    flatten = rng.below(2) == 0;
    const Index features = flatten ? width * area() : width;
    hidden = Linear<Double>(b, features, 5, {.bias = Bias::uniform_fan_in}, rng);
    if (rng.below(2) == 0) hidden_norm = norm(b, 5, rng);
    head = Linear<Double>(b, 5, 3, {.bias = Bias::uniform_fan_in}, rng);
  }
  Index area() const {
    Index side = 6;
    for (const Block& block : blocks)
      if (block.kind == shortcut) side = (side + 1) / 2;
    return side * side;
  }
  static BatchNorm<Double> norm(Double& b, Index channels, Rng& rng) {
    BatchNorm<Double> n(b, channels);
    for (Parameter<Double>* p : {&n.weight, &n.bias}) p->value = test::spread(b, {channels}, rng);
    n.running_mean.value = test::spread(b, {channels}, rng);
    return n;
  }

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("blocks", self.blocks);
    visit("hidden", self.hidden);
    visit("hidden_norm", self.hidden_norm);
    visit("head", self.head);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    auto h = x;
    for (auto& block : self.blocks) h = espalier::forward(ctx, block, h);
    h = self.flatten ? ctx.apply(op::Flatten{}, h) : ctx.apply(op::GlobalAvgPool{}, h);
    h = espalier::forward(ctx, *self.hidden, espalier::forward(ctx, self.dropout, h));
    if (self.hidden_norm) h = espalier::forward(ctx, *self.hidden_norm, h, Activation::relu);
    return espalier::forward(ctx, *self.head, h);
  }
};

// Sets the entries of a parameter whose outside coordinate along `axis` is `index`.
template <class F>
void set_slice(Double& b, Parameter<Double>& p, int axis, Index index, F value) {
  HostTensor host = to_host(b, p);
  Index stride = 1;
  for (int i = axis + 1; i < host.shape.rank(); ++i) stride *= host.shape[i];
  for (Index i = 0; i < host.shape.count(); ++i)
    if (i / stride % host.shape[axis] == index) host.values[static_cast<std::size_t>(i)] = static_cast<float>(value(i));
  p.value = from_host(b, host, p.layout);
}

// How the parameters of one class of channels are changed.
enum class Change {
  zero_writers,               // as a mask does
  zero_writers_wild_readers,  // what reads zeros does not matter
  zero_readers_wild_writers,  // what nobody reads does not matter
};

// Runs a changed copy of the net. If its writers are zero, the class must be zero wherever it appears.
template <class Net>
std::vector<double> run_changed(Double& b, Net net, const Tensor<Double>& x, bool training, int of, Change change) {
  Probe<Double> dry(b, false);
  dry.output(forward(dry, net, dry.input(x)));
  std::map<const void*, Parameter<Double>*> parameters;
  for_each_parameter(net, [&](const std::string&, auto& p) { parameters[&p] = &p; });
  const auto set = [&](bool readers, auto value) {
    for (const auto& member : dry.trace().graph().members()) {
      if (dry.trace().graph().find(member.channel) != of || member.role == ChannelRole::statistic) continue;
      if ((member.role == ChannelRole::reader) == readers) set_slice(b, *parameters.at(member.owner), member.axis, member.index, value);
    }
  };
  const auto zero = [](Index) { return 0.0; };
  const auto wild = [](Index i) { return 100 + static_cast<double>(i % 17); };
  // A slice may be read and written by one class; the writers are set last.
  if (change == Change::zero_writers_wild_readers) set(true, wild);
  if (change == Change::zero_readers_wild_writers) set(true, zero);
  if (change == Change::zero_readers_wild_writers) set(false, wild);
  else set(false, zero);

  Probe<Double> probe(b, training);
  const auto output = forward(probe, net, probe.input(x));
  bool all_zero = true;
  int appearances = 0;
  for (const auto& result : probe.results()) {
    const auto values = result.var.value().to_host(b);
    const auto& channels = result.traced.channels();
    REQUIRE(static_cast<Index>(channels.size()) == result.shape().channels());
    for (std::size_t c = 0; c < channels.size(); ++c) {
      if (probe.trace().graph().find(channels[c]) != of) continue;
      ++appearances;
      for (std::size_t i = c; i < values.size(); i += channels.size()) all_zero = all_zero && values[i] == 0;
    }
  }
  CHECK(appearances > 0);
  if (change != Change::zero_readers_wild_writers) CHECK(all_zero);
  return output.var.value().to_host(b);
}

// The law, for every class of channels that may go.
template <class Net>
int check_law(Double& b, const Net& net, const Tensor<Double>& x) {
  Probe<Double> dry(b, false);
  Net copy = net;
  dry.output(forward(dry, copy, dry.input(x)));
  const ChannelGraph& graph = dry.trace().graph();
  std::set<int> classes, frozen;
  for (int c = 0; c < graph.channel_count(); ++c) classes.insert(graph.find(c));
  for (const auto& f : graph.frozen()) frozen.insert(graph.find(f.channel));
  const auto untouched = predict(b, net, x).to_host(b);
  int removable = 0, matters = 0;
  for (int of : classes) {
    if (frozen.count(of) > 0) continue;
    ++removable;
    CAPTURE(of);
    for (bool training : {false, true}) {
      const auto zeroed = run_changed(b, net, x, training, of, Change::zero_writers);
      CHECK(run_changed(b, net, x, training, of, Change::zero_writers_wild_readers) == zeroed);
      CHECK(run_changed(b, net, x, training, of, Change::zero_readers_wild_writers) == zeroed);
      if (!training && zeroed != untouched) ++matters;
    }
  }
  CHECK(removable > 0);
  CHECK(matters > 0);
  return removable;
}

}  // namespace

TEST_CASE("a class of coupled channels whose producers are zero is zero everywhere, on random nets") {
  int removable = 0;
  std::set<int> kinds;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    CAPTURE(seed);
    Double b;
    const RandomNet net(b, seed);
    for (const auto& block : net.blocks) kinds.insert(block.kind);
    Rng rng(seed + 1000);
    removable += check_law(b, net, test::spread(b, {3, 6, 6, 3}, rng));
  }
  CHECK(kinds.size() == RandomNet::kinds);  // every kind of block was drawn
  MESSAGE(removable, " classes of channels");
}

TEST_CASE("the law holds for CIFAR ResNets with either shortcut, and for VGG") {
  Double b;
  Rng rng(4);
  const auto x = test::spread(b, {2, 8, 8, 3}, rng);
  for (auto form : {models::ShortcutA::pad_both_sides, models::ShortcutA::pad_after}) {
    const models::ResNetCifar<Double> net(b, {.depth = 14, .shortcut = form, .widths = {2, 4, 7}, .classes = 3}, Rng(1));
    check_law(b, net, x);
  }
  check_law(b, models::Vgg<Double>(b, {.stages = {{3, 4}, {5}}, .hidden = 4, .classes = 3}, Rng(2)), x);
}
