// SPDX-License-Identifier: Apache-2.0
// The networks that other libraries' tests prune, narrow: which channels are coupled, who reads them, and that masked and
// shrunk networks agree.
#include <doctest/doctest.h>

#include <espalier/op/attention.hpp>
#include <espalier/prune/filter_l1.hpp>
#include <espalier/prune/planning.hpp>

#include "laws/agreement.hpp"
#include "sketch.hpp"

using namespace espalier;
using namespace espalier::test;

namespace peer_nets_test {

using Sketch = SketchOn<Trace<Reference>, Eval<Reference>, Tape<Reference>>;

namespace {

// What ShuffleNet does between convolutions in groups, as a user's ops. Both state that channels at equal places live and die
// together, since neither could say otherwise which channel comes where once some are gone.

// y = the channels dealt out in turn from `groups` equal runs.
struct Shuffle {
  Index groups = 2;

  static constexpr std::string_view name = "shuffle";
  template <Backend B> struct Saved {};
  Shape shape(const Shapes& in) const { return in[0]; }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, in[0].shape());
    b.strided_copy(copy(in[0].shape(), true), in[0].data(), y.data(), Store::assign);
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    if (!d.wants(0)) return;
    auto [dx, store] = d.target(0);
    b.strided_copy(copy(in[0].shape(), false), dy.data(), dx.data(), store);
  }
  void channels(ChannelFlow& flow) const {
    const Channels& in = flow.in(0);
    const std::size_t runs = static_cast<std::size_t>(groups), length = in.size() / runs;
    Channels dealt;
    for (std::size_t i = 0; i < length; ++i)
      for (std::size_t run = 0; run < runs; ++run) {
        dealt.push_back(in[run * length + i]);
        flow.unite(in[i], in[run * length + i]);
      }
    flow.out(std::move(dealt));
  }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }

 private:
  StridedCopy copy(const Shape& x, bool forward) const {
    const Index c = x.channels(), length = c / groups;
    StridedCopy move{.extents = {x.rows(), groups, length}, .from_strides = {c, length, 1}, .to_strides = {c, 1, groups}};
    if (!forward) std::swap(move.from_strides, move.to_strides);
    return move;
  }
};

// y = the first or the second half of the channels.
struct Half {
  bool second = false;

  static constexpr std::string_view name = "half";
  template <Backend B> struct Saved {};
  Shape shape(const Shapes& in) const { return in[0].with(-1, in[0].channels() / 2); }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    const Index half = y.shape().channels();
    b.strided_copy({.extents = {y.shape().rows(), half}, .from_strides = {2 * half, 1}, .to_strides = {half, 1}}, in[0].data() + (second ? half : 0), y.data(), Store::assign);
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>& y, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    if (!d.wants(0)) return;
    auto dx = Tensor<B>::zeros(b, in[0].shape());
    const Index half = y.shape().channels();
    b.strided_copy({.extents = {y.shape().rows(), half}, .from_strides = {half, 1}, .to_strides = {2 * half, 1}}, dy.data(), dx.data() + (second ? half : 0), Store::assign);
    d.give(0, std::move(dx));
  }
  void channels(ChannelFlow& flow) const {
    const Channels& in = flow.in(0);
    const std::size_t half = in.size() / 2;
    for (std::size_t i = 0; i < half; ++i) flow.unite(in[i], in[half + i]);
    const auto begin = in.begin() + static_cast<std::ptrdiff_t>(second ? half : 0);
    flow.out(Channels(begin, begin + static_cast<std::ptrdiff_t>(half)));
  }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }
};

// y = the images of both operands as one batch.
struct Stack {
  static constexpr std::string_view name = "stack";
  template <Backend B> struct Saved {};
  Shape shape(const Shapes& in) const { return in[0].with(0, in[0][0] + in[1][0]); }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, shape(in.shapes()));
    b.strided_copy(all_of(in[0].shape()), in[0].data(), y.data(), Store::assign);
    b.strided_copy(all_of(in[1].shape()), in[1].data(), y.data() + in[0].count(), Store::assign);
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    for (int i = 0; i < 2; ++i) {
      if (!d.wants(i)) continue;
      auto [dx, store] = d.target(i);
      b.strided_copy(all_of(in[i].shape()), dy.data() + (i == 0 ? 0 : in[0].count()), dx.data(), store);
    }
  }
  void channels(ChannelFlow& flow) const {  // who reads the batch reads channel i of either image by the same slice
    flow.couple(0, 1);
    flow.through();
  }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }

 private:
  static StridedCopy all_of(const Shape& x) { return {.extents = {x.count()}, .from_strides = {1}, .to_strides = {1}}; }
};

// A wiring given as a list, because these networks are too large to write down.
struct Step {
  enum class Kind { layer, relu, add, concat, stack, max_pool, average_pool, average, shuffle, first_half, second_half };
  Kind kind = Kind::layer;
  std::string layer{};
  std::vector<std::size_t> from{};
  op::Window window{};
};

struct Steps {
  std::shared_ptr<const std::vector<Step>> steps;

  template <class Run, class Value>
  Value operator()(Run& run, const Value& x) const {
    std::vector<Value> values{x};
    for (const Step& step : *steps) values.push_back(result(run, step, values));
    return values.back();
  }
  template <class Run, class Value>
  static Value result(Run& run, const Step& step, const std::vector<Value>& values) {
    const Value& x = values[step.from[0]];
    switch (step.kind) {
      case Step::Kind::layer: return run(step.layer, x);
      case Step::Kind::add: return run.add(x, values[step.from[1]]);
      case Step::Kind::concat: return run.concat(x, values[step.from[1]]);
      case Step::Kind::stack: return run.apply(Stack{}, x, values[step.from[1]]);
      case Step::Kind::max_pool: return run.apply(op::MaxPool{step.window}, x);
      case Step::Kind::average_pool: return run.apply(op::AvgPool{step.window}, x);
      case Step::Kind::average: return run.average(x);
      case Step::Kind::shuffle: return run.apply(Shuffle{}, x);
      case Step::Kind::first_half: return run.apply(Half{}, x);
      case Step::Kind::second_half: return run.apply(Half{.second = true}, x);
      default: return run.relu(x);
    }
  }
};

// Adds layers and steps together. A value is its place in the list, and knows its channels.
struct Drawing {
  struct Value {
    std::size_t place;
    Index channels;
  };
  using Kind = Step::Kind;

  std::shared_ptr<std::vector<Step>> steps = std::make_shared<std::vector<Step>>();
  Sketch net{Steps{steps}};

  Value conv(const std::string& name, Value x, Index out, const ConvOptions& o = {.kernel = 1, .pad = 0}) {
    net.conv(name, x.channels, out, o);
    return step({Kind::layer, name, {x.place}}, out);
  }
  Value norm(const std::string& name, Value x) {
    net.norm(name, x.channels);
    return step({Kind::layer, name, {x.place}}, x.channels);
  }
  // Convolution and batch norm, as most networks have them.
  Value unit(const std::string& name, Value x, Index out, const ConvOptions& o = {.kernel = 1, .pad = 0}) { return norm(name + "_bn", conv(name, x, out, o)); }
  Value relu(Value x) { return step({Kind::relu, {}, {x.place}}, x.channels); }
  Value add(Value a, Value b) { return step({Kind::add, {}, {a.place, b.place}}, a.channels); }
  Value concat(Value a, Value b) { return step({Kind::concat, {}, {a.place, b.place}}, a.channels + b.channels); }
  Value stack(Value a, Value b) { return step({Kind::stack, {}, {a.place, b.place}}, a.channels); }
  Value pool(Kind kind, Value x, const op::Window& window = {}) { return step({kind, {}, {x.place}, window}, x.channels); }
  Value half(Value x, bool second) { return step({second ? Kind::second_half : Kind::first_half, {}, {x.place}}, x.channels / 2); }
  Value shuffle(Value x) { return step({Kind::shuffle, {}, {x.place}}, x.channels); }
  Sketch classified(Value x, Index classes = 5) {
    const Value mean = step({Kind::average, {}, {x.place}}, x.channels);
    net.linear("fc", mean.channels, classes);
    step({Kind::layer, "fc", {mean.place}}, classes);
    return net;
  }

  static Value image(Index channels) { return {0, channels}; }

 private:
  Value step(Step s, Index channels) {
    steps->push_back(std::move(s));
    return {steps->size(), channels};
  }
};

using Names = std::vector<std::string>;
using Slices = std::vector<std::vector<Index>>;
const Shape image{1, 16, 16, 3};

template <class Net>
std::vector<ChannelGroup> groups_of(const Net& net, const Shape& input) {
  return detail::find_groups<Reference>(net, input);
}

Names layers(const ChannelGroup& g, ChannelRole role) {
  Names all;
  for (const auto& part : g.parts)
    if (part.role == role) all.push_back(layer_of(part.path));
  return all;
}

std::string joined(const Names& names) {
  std::string all;
  for (const auto& name : names) all += (all.empty() ? "" : " ") + name;
  return all;
}

// "conv1 conv2 -> conv3": who writes and who reads each group that may be pruned, in the order of the computation; between them,
// in brackets, the depthwise convolutions that carry it on.
template <class Net>
Names couplings(const Net& net, const Shape& input) {
  Names all;
  for (const auto& g : groups_of(net, input)) {
    if (!g.frozen_because.empty()) continue;
    const Names filters = layers(g, ChannelRole::filter);
    all.push_back(joined(layers(g, ChannelRole::producer)) + (filters.empty() ? "" : " (" + joined(filters) + ")") + " -> " + joined(layers(g, ChannelRole::reader)));
  }
  return all;
}

const ChannelGroup& group(const std::vector<ChannelGroup>& groups, const std::string& name) {
  const auto found = std::find_if(groups.begin(), groups.end(), [&](const ChannelGroup& g) { return g.name == name; });
  REQUIRE(found != groups.end());
  return *found;
}

const Slices& slices(const ChannelGroup& g, const std::string& path, ChannelRole role) {
  const auto found = std::find_if(g.parts.begin(), g.parts.end(), [&](const ChannelPart& p) { return p.path == path && p.role == role; });
  REQUIRE(found != g.parts.end());
  return found->slices;
}

// Every group loses channels, and the masked and the shrunk network compute the same: evaluated and trained.
template <class Net>
Plan check(Net net, const Shape& input, const Structured<L2Norm>& policy = {.amount = Fraction{0.4}}) {
  Reference r;
  season(r, net, input, 1);
  const Plan p = plan(r, net, input, policy);
  const std::size_t prunable = couplings(net, input).size();
  CHECK(static_cast<std::size_t>(std::count_if(p.groups.begin(), p.groups.end(), [](const PlannedGroup& g) { return !g.remove.empty(); })) == prunable);
  check_agreement(r, net, p);
  check_plan(r, net, p);
  return p;
}

// ResNet with projections (He et al. 2016, option B; torchvision's resnet18 and resnet50), a sixteenth as wide.
Sketch resnet(const std::vector<int>& blocks, bool bottleneck) {
  Drawing d;
  auto h = d.pool(Step::Kind::max_pool, d.relu(d.unit("conv1", Drawing::image(3), 4, {})), {.kernel = 3, .stride = 2, .pad = 1});
  for (std::size_t stage = 1; stage <= blocks.size(); ++stage) {
    const Index width = Index{4} << (stage - 1), out = bottleneck ? 4 * width : width;
    for (int block = 0; block < blocks[stage - 1]; ++block) {
      const std::string at = str("layer", stage, '.', block, '.');
      const Index stride = stage > 1 && block == 0 ? 2 : 1;
      const ConvOptions strided{.stride = stride};
      const auto x = h;
      if (bottleneck) h = d.unit(at + "conv3", d.relu(d.unit(at + "conv2", d.relu(d.unit(at + "conv1", x, width)), width, strided)), out);
      else h = d.unit(at + "conv2", d.relu(d.unit(at + "conv1", x, width, strided)), out, {});
      const bool projected = stride == 2 || x.channels != out;
      h = d.relu(d.add(h, projected ? d.unit(at + "downsample", x, out, {.kernel = 1, .stride = stride, .pad = 0}) : x));
    }
  }
  return d.classified(h);
}

// Torch-Pruning's customised layer as far as it goes by channels (its division by the norm over all channels mixes them):
// y = x scale[channel], a factor that is learnt.
struct ScaleChannels {
  static constexpr std::string_view name = "scale_channels";
  template <Backend B> struct Saved {};
  struct Multiply {
    template <class T> ESPALIER_HD void operator()(Index, T& y, const T& x) const { y *= x; }
  };
  Shape shape(const Shapes& in) const {
    if (in[0].channels() != in[1].count()) throw ShapeError(str("scale_channels: the input has ", in[0].channels(), " channels, the layer ", in[1].count()));
    return in[0];
  }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    return times(b, in[0], in[1]);
  }
  // dx = dy scale[channel],  dscale[channel] = sum of dy x.
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    if (d.wants(0)) d.give(0, times(b, dy, in[1]));
    if (!d.wants(1)) return;
    Tensor<B> products = dy;
    b.each(products.count(), Multiply{}, products.data(), in[0].data());
    auto [dscale, store] = d.target(1);
    b.column_sums(dy.shape().rows(), dy.shape().channels(), std::as_const(products).data(), dscale.data(), store);
  }
  void channels(ChannelFlow& flow) const {
    flow.through();
    flow.follow(1, ChannelRole::scale);
  }
  OpCost cost(const Shapes&, const Shape& y) const { return {.multiply_adds = y.count()}; }

 private:
  template <Backend B>
  static Tensor<B> times(B& b, const Tensor<B>& x, const Tensor<B>& scale) {
    const Index rows = x.shape().rows(), c = x.shape().channels();
    auto y = Tensor<B>::empty(b, x.shape());
    b.strided_copy({.extents = {rows, c}, .from_strides = {0, 1}, .to_strides = {c, 1}}, scale.data(), y.data(), Store::assign);
    b.each(y.count(), Multiply{}, y.data(), x.data());
    return y;
  }
};
static_assert(DifferentiableOp<ScaleChannels, Reference>);

template <Backend B>
struct Scale {
  Parameter<B> weight;

  Scale(B& b, Index channels) : weight(Tensor<B>::full(b, {channels}, 1), Layout::plain, Init::ones) {}

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("weight", self.weight);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    return ctx.apply(ScaleChannels{}, x, self.weight);
  }
};

template <Backend B>
struct Scaled {
  Conv2d<B> conv1, conv2;
  Scale<B> scale;

  Scaled(B& b, Rng rng) : conv1(b, 3, 256, {}, rng), conv2(b, 256, 5, {}, rng), scale(b, 256) {}

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("conv1", self.conv1);
    visit("scale", self.scale);
    visit("conv2", self.conv2);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    return espalier::forward(ctx, self.conv2, espalier::forward(ctx, self.scale, espalier::forward(ctx, self.conv1, x)));
  }
};

// y = a map's pixels as the tokens of a sentence, or a sentence as a map of one row.
struct Tokens {
  static constexpr std::string_view name = "tokens";
  template <Backend B> struct Saved {};
  Shape shape(const Shapes& in) const {
    const Shape& x = in[0];
    return x.rank() == 4 ? Shape{x[0], x[1] * x[2], x[3]} : Shape{x[0], 1, x[1], x[2]};
  }
  template <Backend B>
  Tensor<B> forward(B&, const Inputs<B>& in, Saved<B>&) const {
    return Tensor<B>(in[0]).reshaped(shape(in.shapes()));
  }
  template <Backend B>
  void backward(B&, const Inputs<B>& in, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    if (d.wants(0)) d.give(0, Tensor<B>(dy).reshaped(in[0].shape()));
  }
  void channels(ChannelFlow& flow) const { flow.through(); }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }
};

// h = x + attention(norm(x)), y = h + feed_forward(norm(h)).
template <Backend B>
struct VitLayer {
  LayerNorm<B> norm1, norm2;
  Linear<B> query, key, value, out, fc1, fc2;
  Index heads = 2;

  VitLayer(B& b, Index width, Index feed_forward, Rng& rng)
      : norm1(b, width), norm2(b, width), query(b, width, width, {}, rng), key(b, width, width, {}, rng), value(b, width, width, {}, rng),
        out(b, width, width, {}, rng), fc1(b, width, feed_forward, {}, rng), fc2(b, feed_forward, width, {}, rng) {}

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("norm1", self.norm1);
    visit("query", self.query);
    visit("key", self.key);
    visit("value", self.value);
    visit("out", self.out);
    visit("norm2", self.norm2);
    visit("fc1", self.fc1);
    visit("fc2", self.fc2);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    const auto n = espalier::forward(ctx, self.norm1, x);
    const auto q = espalier::forward(ctx, self.query, n), k = espalier::forward(ctx, self.key, n), v = espalier::forward(ctx, self.value, n);
    const auto probabilities = ctx.apply(op::Softmax{}, ctx.apply(op::AttentionScores<B>{.heads = self.heads}, q, k));
    const auto attended = espalier::forward(ctx, self.out, ctx.apply(op::AttentionApply{.heads = self.heads}, probabilities, v));
    const auto h = ctx.apply(op::Add{}, x, attended);
    const auto hidden = ctx.apply(op::Gelu{}, espalier::forward(ctx, self.fc1, espalier::forward(ctx, self.norm2, h)));
    return ctx.apply(op::Add{}, h, espalier::forward(ctx, self.fc2, hidden));
  }
};

// ViT (Dosovitskiy et al. 2021), narrow: patches of 4x4 pixels, two layers, a head over the mean of all tokens. Without
// position embeddings, which would be added to channels that must stay.
template <Backend B>
struct Vit {
  Conv2d<B> patches;
  std::vector<VitLayer<B>> layers;
  LayerNorm<B> norm;
  Linear<B> head;

  Vit(B& b, Rng rng) : patches(b, 3, 8, {.kernel = 4, .stride = 4, .pad = 0, .bias = Bias::zeros}, rng), norm(b, 8), head(b, 8, 5, {}, rng) {
    for (int i = 0; i < 2; ++i) layers.push_back(VitLayer<B>(b, 8, 20, rng));
  }
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("patches", self.patches);
    visit("layers", self.layers);
    visit("norm", self.norm);
    visit("head", self.head);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    auto h = ctx.apply(Tokens{}, espalier::forward(ctx, self.patches, x));
    for (auto& layer : self.layers) h = espalier::forward(ctx, layer, h);
    const auto mean = ctx.apply(op::GlobalAvgPool{}, ctx.apply(Tokens{}, espalier::forward(ctx, self.norm, h)));
    return espalier::forward(ctx, self.head, mean);
  }
};

}  // namespace

// Torch-Pruning's torchvision script and NNI's test_speedup_torchvision name these networks.

TEST_CASE("ResNet-18: all that is added in a stage is one group, the first stage's with the stem") {
  const Sketch net = resnet({2, 2, 2, 2}, false);
  CHECK(couplings(net, image) ==
        Names{"conv1 layer1.0.conv2 layer1.1.conv2 -> layer1.0.conv1 layer1.1.conv1 layer2.0.conv1 layer2.0.downsample",
              "layer1.0.conv1 -> layer1.0.conv2", "layer1.1.conv1 -> layer1.1.conv2", "layer2.0.conv1 -> layer2.0.conv2",
              "layer2.0.conv2 layer2.0.downsample layer2.1.conv2 -> layer2.1.conv1 layer3.0.conv1 layer3.0.downsample",
              "layer2.1.conv1 -> layer2.1.conv2", "layer3.0.conv1 -> layer3.0.conv2",
              "layer3.0.conv2 layer3.0.downsample layer3.1.conv2 -> layer3.1.conv1 layer4.0.conv1 layer4.0.downsample",
              "layer3.1.conv1 -> layer3.1.conv2", "layer4.0.conv1 -> layer4.0.conv2",
              "layer4.0.conv2 layer4.0.downsample layer4.1.conv2 -> layer4.1.conv1 fc", "layer4.1.conv1 -> layer4.1.conv2"});
  const auto groups = groups_of(net, image);
  CHECK(layers(group(groups, "layer2.0.conv2+2"), ChannelRole::scale) == Names{"layer2.0.conv2_bn", "layer2.0.downsample_bn", "layer2.1.conv2_bn"});
  check(net, image);
}

TEST_CASE("ResNet-50: the stem stands alone, each stage's bottlenecks share their wide channels") {
  const std::vector<int> blocks{3, 4, 6, 3};
  const Sketch net = resnet(blocks, true);
  Names expected{"conv1 -> layer1.0.conv1 layer1.0.downsample"};
  for (std::size_t stage = 1; stage <= blocks.size(); ++stage) {
    const auto layer = [&](int block, const char* name) { return str("layer", stage, '.', block, '.', name); };
    Names writers, readers;
    for (int block = 0; block < blocks[stage - 1]; ++block) {
      expected.push_back(layer(block, "conv1") + " -> " + layer(block, "conv2"));
      expected.push_back(layer(block, "conv2") + " -> " + layer(block, "conv3"));
      writers.push_back(layer(block, "conv3"));
      if (block == 0) writers.push_back(layer(block, "downsample"));
      else readers.push_back(layer(block, "conv1"));
    }
    if (stage == blocks.size()) readers.push_back("fc");
    else readers.insert(readers.end(), {str("layer", stage + 1, ".0.conv1"), str("layer", stage + 1, ".0.downsample")});
    expected.push_back(joined(writers) + " -> " + joined(readers));
  }
  Names found = couplings(net, image);
  std::sort(expected.begin(), expected.end());
  std::sort(found.begin(), found.end());
  CHECK(found == expected);
  check(net, image);
}

TEST_CASE("DenseNet: every layer's channels are a group of their own, read at their place by all that follow") {
  Drawing d;
  auto h = d.conv("conv0", Drawing::image(3), 6, {});
  for (const char* layer : {"1", "2", "3"}) {  // batch norm and ReLU come first, over all that there is
    const std::string at = str("denselayer", layer, '.');
    const auto narrow = d.conv(at + "conv1", d.relu(d.norm(at + "norm1", h)), 8);
    h = d.concat(h, d.conv(at + "conv2", d.relu(d.norm(at + "norm2", narrow)), 4, {}));
  }
  h = d.pool(Step::Kind::average_pool, d.conv("transition", d.relu(d.norm("transition_bn", h)), 9));
  const Sketch net = d.classified(d.relu(d.norm("norm5", h)));
  CHECK(couplings(net, image) ==
        Names{"conv0 -> denselayer1.conv1 denselayer2.conv1 denselayer3.conv1 transition", "denselayer1.conv1 -> denselayer1.conv2",
              "denselayer1.conv2 -> denselayer2.conv1 denselayer3.conv1 transition", "denselayer2.conv1 -> denselayer2.conv2",
              "denselayer2.conv2 -> denselayer3.conv1 transition", "denselayer3.conv1 -> denselayer3.conv2", "denselayer3.conv2 -> transition",
              "transition -> fc"});
  const auto groups = groups_of(net, image);
  const auto& second = group(groups, "denselayer2.conv2");
  CHECK(slices(second, "denselayer3.norm1.weight", ChannelRole::scale) == Slices{{10}, {11}, {12}, {13}});
  CHECK(slices(second, "transition.weight", ChannelRole::reader) == Slices{{10}, {11}, {12}, {13}});
  CHECK(layers(group(groups, "conv0"), ChannelRole::scale) == Names{"denselayer1.norm1", "denselayer2.norm1", "denselayer3.norm1", "transition_bn"});
  check(net, image);
}

// NNI#4648: depthwise convolutions after pointwise ones ended in unbalanced groups or empty layers there.
TEST_CASE("MobileNetV2: depthwise filters follow the expansion, linear bottlenecks of one width are one group (NNI#4648)") {
  Drawing d;
  const auto inverted = [&](const std::string& name, Drawing::Value x, Index out, Index expansion, Index stride) {
    auto h = x;
    if (expansion > 1) h = d.relu(d.unit(name + ".expand", h, expansion * x.channels));
    h = d.relu(d.unit(name + ".depthwise", h, h.channels, {.stride = stride, .depthwise = true}));
    h = d.unit(name + ".project", h, out);
    return stride == 1 && x.channels == out ? d.add(x, h) : h;
  };
  auto h = d.relu(d.unit("stem", Drawing::image(3), 8, {}));
  h = inverted("block1", h, 4, 1, 1);
  h = inverted("block2", h, 6, 6, 2);
  h = inverted("block3", h, 6, 6, 1);
  h = inverted("block4", h, 6, 6, 1);
  h = inverted("block5", h, 10, 6, 2);
  const Sketch net = d.classified(d.relu(d.unit("last", h, 16)));
  CHECK(couplings(net, image) ==
        Names{"stem (block1.depthwise) -> block1.project", "block1.project -> block2.expand", "block2.expand (block2.depthwise) -> block2.project",
              "block2.project block3.project block4.project -> block3.expand block4.expand block5.expand",
              "block3.expand (block3.depthwise) -> block3.project", "block4.expand (block4.depthwise) -> block4.project",
              "block5.expand (block5.depthwise) -> block5.project", "block5.project -> last", "last -> fc"});
  CHECK(layers(group(groups_of(net, image), "block3.expand"), ChannelRole::scale) == Names{"block3.expand_bn", "block3.depthwise_bn"});
  check(net, image);
}

// NNCF, tests/torch/pruning/helpers.py, NASnetBlock: PNASNet's cell B at stride 2 from two channels to four. NNCF leaves all of it
// alone: its convolutions in groups have more outputs than inputs ("closing conv missing").
TEST_CASE("NNCF NASNet cell: a channel with two depthwise filters in each branch ties two channels of the branch it is added to") {
  Drawing d;
  const auto x = d.conv("first_conv", Drawing::image(1), 2, {.kernel = 2, .pad = 0, .bias = Bias::zeros});
  const auto separable = [&](const std::string& name, Index kernel) {
    return d.unit(name, x, 4, {.kernel = kernel, .stride = 2, .pad = (kernel - 1) / 2, .depthwise = true});
  };
  const auto y1 = separable("sep_conv1", 7), y2 = separable("sep_conv2", 3);
  const auto y3 = d.unit("conv1", d.pool(Step::Kind::max_pool, x, {.kernel = 3, .stride = 2, .pad = 1}), 4);
  const auto left = d.relu(d.add(y1, y2)), right = d.relu(d.add(y3, separable("sep_conv3", 5)));
  const Sketch net = d.classified(d.relu(d.unit("conv2", d.concat(left, right), 4)));
  const Shape gray{1, 8, 8, 1};
  CHECK(couplings(net, gray) == Names{"first_conv conv1 (sep_conv1 sep_conv2 sep_conv3) -> conv1 conv2", "conv2 -> fc"});
  const auto groups = groups_of(net, gray);
  const auto& cell = group(groups, "first_conv+1");
  CHECK(cell.channels == 2);
  CHECK(slices(cell, "first_conv.weight", ChannelRole::producer) == Slices{{0}, {1}});
  CHECK(slices(cell, "conv1.weight", ChannelRole::producer) == Slices{{0, 1}, {2, 3}});
  CHECK(slices(cell, "sep_conv3.weight", ChannelRole::filter) == Slices{{0, 1}, {2, 3}});
  CHECK(slices(cell, "conv2.weight", ChannelRole::reader) == Slices{{0, 1, 4, 5}, {2, 3, 6, 7}});
  check(net, gray);
}

// NNCF, the same file, TestShuffleUnit and SplitConcatModel; the library has no such ops, see docs/design/channel-groups.md.

TEST_CASE("a channel shuffle behind a convolution in groups, written as an op of one's own, deals its channels out") {
  Drawing d;
  auto h = d.shuffle(d.relu(d.unit("compress", Drawing::image(4), 6, {.kernel = 1, .pad = 0, .groups = 2})));
  h = d.relu(d.unit("depthwise", h, 6, {.depthwise = true}));
  const Sketch net = d.classified(d.relu(d.unit("expand", h, 8)));
  const Shape wide{1, 8, 8, 4};
  CHECK(couplings(net, wide) == Names{"compress (depthwise) -> expand", "expand -> fc"});
  const auto groups = groups_of(net, wide);
  CHECK(slices(group(groups, "compress"), "compress.weight", ChannelRole::producer) == Slices{{0, 3}, {1, 4}, {2, 5}});
  CHECK(slices(group(groups, "compress"), "expand.weight", ChannelRole::reader) == Slices{{0, 1}, {2, 3}, {4, 5}});
  check(net, wide);
}

TEST_CASE("a split into halves, written as an op of one's own, couples the halves") {
  Drawing d;
  const auto h = d.relu(d.unit("conv1", Drawing::image(1), 16));
  const auto first = d.unit("conv2", d.half(h, false), 16), second = d.unit("conv3", d.half(h, true), 16);
  const Sketch net = d.classified(d.relu(d.unit("conv4", d.concat(first, second), 10)));
  const Shape gray{1, 8, 8, 1};
  CHECK(couplings(net, gray) == Names{"conv1 -> conv2 conv3", "conv2 -> conv4", "conv3 -> conv4", "conv4 -> fc"});
  const auto groups = groups_of(net, gray);
  CHECK(group(groups, "conv1").channels == 8);
  CHECK(slices(group(groups, "conv1"), "conv1.weight", ChannelRole::producer)[1] == std::vector<Index>{1, 9});
  check(net, gray);
}

// NNI, test_channel_dependency.py, PatternA: the sum of two concatenations on dim 0. NNI lists the pairs {conv1, conv2} and
// {conv3, conv4}; the addition ties these too. op::Concat has the channels' axis only.
TEST_CASE("NNI: concatenations along the batch, written as an op of one's own, couple what they stack; their sum couples all four") {
  const auto joined = [](Drawing::Value (Drawing::*join)(Drawing::Value, Drawing::Value)) {
    Drawing d;
    const auto x = Drawing::image(3), first = d.conv("conv1", x, 16, {}), second = d.conv("conv2", x, 16, {});
    const auto left = d.stack(first, second), third = d.conv("conv3", x, 16, {}), fourth = d.conv("conv4", x, 16, {});
    return d.classified((d.*join)(left, d.stack(third, fourth)));
  };
  const Sketch apart = joined(&Drawing::concat), summed = joined(&Drawing::add);
  CHECK(couplings(apart, image) == Names{"conv1 conv2 -> fc", "conv3 conv4 -> fc"});
  CHECK(couplings(summed, image) == Names{"conv1 conv2 conv3 conv4 -> fc"});
  check(apart, image);
  check(summed, image);
}

// Torch-Pruning, tests/test_customized_layer.py: of 256 channels 1 % go.
TEST_CASE("Torch-Pruning customised layer: a module of one's own with a factor a channel loses 3 of 256, and 253 are left") {
  Reference r;
  const Scaled<Reference> net(r, Rng(1));
  const Shape small{1, 4, 4, 3};
  CHECK(layers(group(groups_of(net, small), "conv1"), ChannelRole::scale) == Names{"scale"});
  const Plan p = check(net, small, {.amount = Fraction{0.01}});
  CHECK(p.removed() == 3);
  CHECK(shrink(r, net, p).scale.weight.outside_shape() == Shape{253});
}

// Torch-Pruning narrows the embedding too; the narrower layer norms then see other statistics, and no mask says the same.
TEST_CASE("ViT: the units of the feed-forward layers may go; layer norm and whole heads keep the rest") {
  Reference r;
  const Vit<Reference> net(r, Rng(1));
  std::map<std::string, std::string> kept;
  for (const auto& g : groups_of(net, image)) kept[g.name] = g.frozen_because;
  const std::string mixes = "layer norm mixes its channels: removing one changes the statistics of the others", whole = "attention heads are removed whole, not by channel";
  CHECK(kept == std::map<std::string, std::string>{{"patches+4", mixes},
                                                   {"layers.0.query", whole}, {"layers.0.key", whole}, {"layers.0.value", whole}, {"layers.0.fc1", ""},
                                                   {"layers.1.query", whole}, {"layers.1.key", whole}, {"layers.1.value", whole}, {"layers.1.fc1", ""},
                                                   {"head", "the network's output"}});
  CHECK(couplings(net, image) == Names{"layers.0.fc1 -> layers.0.fc2", "layers.1.fc1 -> layers.1.fc2"});
  const Plan p = check(net, image, {.amount = Fraction{0.4}, .linear = LinearLayers::prune});
  CHECK(p.removed() == 16);
}

}  // namespace peer_nets_test
