// SPDX-License-Identifier: Apache-2.0
// Every piece of code that README.md and docs/guide show, compiled and run. The test docs/quoted holds
// the documents against the regions marked here, and against what this program prints.
#include <doctest/doctest.h>

#include <unistd.h>

#include <iostream>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/espalier.hpp>
#include <espalier/io/checkpoint.hpp>
#include <espalier/io/weights.hpp>
#include <espalier/prune/survivors.hpp>
#include <espalier/report/network.hpp>
#include <espalier/report/sensitivity.hpp>
#include <espalier/report/stop_signal.hpp>
#include <espalier/train/loop.hpp>

#include "common/gradient_check.hpp"
#include "conformance/backend.hpp"
#include "conformance/ops.hpp"

using namespace espalier;

// example-begin compile-once
// In a header that all programs include:
extern template Plan espalier::plan(EigenCpu&, const models::Vgg<EigenCpu>&, const Shape&, const FilterL1&);
// In one file:
template Plan espalier::plan(EigenCpu&, const models::Vgg<EigenCpu>&, const Shape&, const FilterL1&);
// example-end compile-once

namespace {

// What a document shows as output, between its name and the next.
void show(const std::string& name, const std::string& text) { std::cout << "=== " << name << '\n' << text << std::flush; }

// Bars, upright or lying, 12 x 12 and grey: two classes that a small network learns in a moment.
data::ImageSet bars(Index count, std::uint64_t seed) {
  data::ImageSet set;
  set.count = count;
  set.h = set.w = 12;
  set.c = 1;
  set.classes = 2;
  set.name = "bars";
  Rng rng(seed);
  for (Index i = 0; i < count; ++i) {
    const bool lying = rng.bernoulli(0.5);
    const Index at = rng.below(12);
    for (Index y = 0; y < 12; ++y)
      for (Index x = 0; x < 12; ++x) set.pixels.push_back(static_cast<std::uint8_t>((lying ? y : x) == at ? 255 : rng.below(60)));
    set.labels.push_back(lying ? 1 : 0);
  }
  return set;
}

struct Folder {
  std::string path;
  Folder() : path("/tmp/espalier-docs-XXXXXX") { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  ~Folder() { [[maybe_unused]] const int status = std::system(("rm -rf " + path).c_str()); }
};

// example-begin module
/// Two convolutions around which the input of the second pair runs past: relu(x + conv3(conv2(x))).
template <Backend B>
struct Tiny {
  Conv2d<B> conv1, conv2, conv3;
  BatchNorm<B> bn1, bn2, bn3;
  Linear<B> classifier;

  Tiny(B& b, Rng rng)
      : conv1(b, 1, 8, {}, rng), conv2(b, 8, 6, {}, rng), conv3(b, 6, 8, {}, rng),
        bn1(b, 8), bn2(b, 6), bn3(b, 8), classifier(b, 8, 2, {}, rng) {}

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("conv1", self.conv1);
    visit("bn1", self.bn1);
    visit("conv2", self.conv2);
    visit("bn2", self.bn2);
    visit("conv3", self.conv3);
    visit("bn3", self.bn3);
    visit("classifier", self.classifier);
  }
  /// x [N, H, W, 1] -> logits [N, 2].
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    const auto h = espalier::forward(ctx, self.bn1, espalier::forward(ctx, self.conv1, x), Activation::relu);
    const auto g = espalier::forward(ctx, self.bn2, espalier::forward(ctx, self.conv2, h), Activation::relu);
    const auto y = BatchNorm<B>::forward_add(self.bn3, ctx, espalier::forward(ctx, self.conv3, g), h, Activation::relu);
    return espalier::forward(ctx, self.classifier, ctx.apply(op::GlobalAvgPool{}, y));
  }
};
// example-end module

// example-begin op
/// y = x where x > 0, slope x elsewhere (Maas, Hannun & Ng 2013).
/// Shapes  x, y: any, equal.   Channels  pass through, because 0 stays 0.
struct LeakyRelu {
  float slope = 0.01f;

  static constexpr std::string_view name = "leaky_relu";
  template <Backend B> struct Saved {};  // x is kept anyway; nothing more is needed

  struct Forward {
    float slope;
    template <class T>
    ESPALIER_HD void operator()(Index, T& y, const T& x) const { y = x > T{0} ? x : static_cast<T>(slope) * x; }
  };
  struct Backward {
    float slope;
    template <class T>
    ESPALIER_HD void operator()(Index, T& dx, const T& x, const T& dy) const { dx = x > T{0} ? dy : static_cast<T>(slope) * dy; }
  };

  Shape shape(const Shapes& in) const { return in[0]; }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    auto y = Tensor<B>::empty(b, in[0].shape());
    b.each(y.count(), Forward{slope}, y.data(), in[0].data());
    return y;
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>& in, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy,
                Gradients<B>& d) const {
    if (!d.wants(0)) return;
    auto dx = Tensor<B>::empty(b, in[0].shape());
    b.each(dx.count(), Backward{slope}, dx.data(), in[0].data(), dy.data());
    d.give(0, std::move(dx));
  }
  void channels(ChannelFlow& flow) const { flow.through(); }
  OpCost cost(const Shapes&, const Shape& y) const { return {.relu_elements = y.count()}; }
};
static_assert(DifferentiableOp<LeakyRelu, EigenCpu>);
// example-end op

// Two convolutions with the document's op between them.
template <Backend B>
struct Leaky {
  Conv2d<B> conv1, conv2;

  Leaky(B& b, Rng rng) : conv1(b, 1, 8, {.bias = Bias::uniform_fan_in}, rng), conv2(b, 8, 2, {}, rng) {}

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("conv1", self.conv1);
    visit("conv2", self.conv2);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    return espalier::forward(ctx, self.conv2, ctx.apply(LeakyRelu{.slope = 0.3f}, espalier::forward(ctx, self.conv1, x)));
  }
};

struct LossPrinter {
  std::vector<double> losses;
  void epoch(const EpochMetrics& m) { losses.push_back(m.loss); }
};

// example-begin conformance
template <Backend B>
void must_conform(B& mine) {
  test::backend_conformance(mine);             // every primitive against BasicReference<double>
  test::conforms<test::op_records>(mine, {});  // every op, forward and backward
}
// example-end conformance

}  // namespace

TEST_CASE("first steps: a network of one's own runs, learns from one batch, and tells its groups") {
  const data::ImageSet images = bars(64, 1);
  // example-begin first-steps
  EigenCpu device({.threads = 2});
  Tiny<EigenCpu> net(device, Rng(1));

  // Inference: nothing is recorded.
  const auto x = Tensor<EigenCpu>::full(device, {4, 12, 12, 1}, 0.5f);
  const std::vector<float> logits = predict(device, net, x).to_host(device);  // 4 x 2

  // One training step: a tape records, goes back, and an optimiser consumes the gradients.
  Tape<EigenCpu> tape(device);
  OptimizerRun<Sgd, EigenCpu> optimizer({.momentum = 0.9}, device, net);
  const auto labels = Ids<EigenCpu>::from(device, {4}, std::vector<std::int32_t>{0, 1, 0, 1});
  const auto output = forward(tape, net, tape.input(x));
  const auto loss = tape.apply(op::CrossEntropy<EigenCpu>{&labels}, output);
  tape.backward(loss);
  optimizer.step(device, net, 0.1);
  tape.clear();

  // A dry run: no arithmetic, only shapes, costs and channels.
  const NetworkCost costs = cost<EigenCpu>(net, {1, 12, 12, 1});
  // example-end first-steps
  CHECK(logits.size() == 8);
  CHECK(costs.parameters == parameter_count(net));
  show("costs", str(costs.parameters, " parameters, ", costs.multiply_adds, " multiply-adds, ", costs.bytes, " bytes\n"));
}

TEST_CASE("prune a CNN: plan, mask, shrink, fine-tune, save, load, report") {
  Folder folder;
  const data::TrainTest images{bars(512, 1), bars(128, 2)};
  EigenCpu device({.threads = 2});
  Tiny<EigenCpu> net(device, Rng(1));

  // example-begin train
  const TrainOptions<Sgd, MultiStep> options{
      .epochs = 3, .batch = 32, .optimizer = {.momentum = 0.9, .weight_decay = 1e-4},
      .schedule = {.from = 0.05, .factor = 0.1, .at = {epochs(2)}},
      .normalise = data::measured_channels(images.train), .seed = 1};
  const TrainResult trained = train(device, net, images.train, images.test, options);
  const double dense_accuracy = trained.history.back().evaluation->accuracy;
  // example-end train
  CHECK(dense_accuracy > 0.9);

  const Shape input{1, 12, 12, 1};
  const Plan cut = plan(device, net, input, FilterL1{.amount = Fraction{0.5}});

  // example-begin mask-shrink
  const auto masked = mask(device, net, cut);    // every shape as it was, zeros inside
  const auto pruned = shrink(device, net, cut);  // narrower tensors
  const auto a = evaluate(device, masked, images.test, options.normalise);
  const auto b = evaluate(device, pruned, images.test, options.normalise);  // the same, up to rounding
  // example-end mask-shrink
  CHECK(a.correct == b.correct);
  CHECK(a.loss == doctest::Approx(b.loss).epsilon(1e-4));

  // example-begin fine-tune
  auto slim = pruned;
  const TrainOptions<Sgd> gentle{
      .epochs = 1, .batch = 32, .schedule = {.value = 1e-3}, .normalise = options.normalise, .seed = 2};
  train(device, slim, images.train, gentle);

  auto scratch = pruned;                              // the control: the same architecture from new weights
  ScratchE{.seed = 3}.start(device, scratch);
  train(device, scratch, images.train, options);
  // example-end fine-tune
  CHECK(parameter_count(scratch) == parameter_count(slim));

  const std::string file = folder.path + "/slim.safetensors";
  // example-begin save-load
  save_weights(device, slim, file, {{"data", "bars"}});

  Tiny<EigenCpu> loaded(device, Rng(0));       // of the full widths
  load_weights(device, loaded, file, input);   // has the file's widths and values now
  // example-end save-load
  CHECK(parameter_count(loaded) == parameter_count(slim));
  CHECK(evaluate(device, loaded, images.test, options.normalise) == evaluate(device, slim, images.test, options.normalise));

  // example-begin report
  const NetworkCost before = cost<EigenCpu>(net, input), after = cost<EigenCpu>(slim, input);
  const std::string table = to_text(cost_table(before, after), 90);
  const LatencyStats slow = latency(device, net, input);              // seconds: median, p95, min, spread
  const LatencyStats fast = latency(device, slim, input);
  const auto suspects = layers_not_faster(device, net, slim, input);  // fewer multiply-adds, and no less time
  // example-end report
  show("report", table);
  CHECK(slow.median > 0);
  CHECK(fast.median > 0);
  for (const NotFaster& layer : suspects) CHECK(layer.after >= layer.before);
}

TEST_CASE("prune a CNN: a plan is text, and text is a plan") {
  Folder folder;
  EigenCpu device({.threads = 1});
  const Tiny<EigenCpu> net(device, Rng(1));
  const Shape input{1, 12, 12, 1};
  const std::string file = folder.path + "/plan.txt";
  // example-begin plan
  const Plan cut = plan(device, net, input, FilterL1{.amount = Fraction{0.5}});
  write_file_atomically(file, to_text(cut));
  // example-end plan
  show("plan", to_text(cut));
  CHECK(plan_from_text(to_text(cut)) == cut);
}

TEST_CASE("prune a CNN: every amount and exception that the guide lists is accepted") {
  EigenCpu device({.threads = 1});
  const models::ResNetCifar<EigenCpu> net(device, {.depth = 20}, Rng(1));
  const Shape input{1, 32, 32, 3};
  // example-begin amounts
  const FilterL1 half{.amount = Fraction{0.5}, .skip = {"conv1", "layer3.*"}};
  const FilterL1 by_layer{.amount = PerLayer{{{"layer1.*.conv1", 0.6}, {"layer2.*.conv1", 0.3}}}};
  const FilterL1 everywhere{.amount = Global{.remove = 0.4}, .keep_at_least = 2};
  const FilterL1 for_the_processor{.amount = Fraction{0.3}, .round_to = 8};
  const FilterL1 greedy{.amount = Fraction{0.5}, .selection = Selection::greedy};
  const Structured<GeometricMedian> other{.amount = Fraction{0.5}};
  // example-end amounts
  for (const auto& policy : {half, by_layer, everywhere, for_the_processor, greedy}) CHECK(plan(device, net, input, policy).removed() > 0);
  CHECK(plan(device, net, input, other).removed() > 0);
  for (const auto& group : plan(device, net, input, for_the_processor).groups)
    if (!group.remove.empty()) CHECK(group.keep() % 8 == 0);

  std::string groups;
  // example-begin groups
  for (const ChannelGroup& group : channel_groups(device, net, input).groups)
    groups += str(group.name, ": ", group.channels, " channels",
                  group.frozen_because.empty() ? "" : ", stays: ", group.frozen_because, '\n');
  // example-end groups
  show("groups", groups);
}

TEST_CASE("prune a CNN: a scan and a budget") {
  Folder folder;
  EigenCpu device({.threads = 2});
  const Shape input{1, 12, 12, 1};
  const data::ImageSet held_out = bars(64, 3);
  const data::Normalise normalise = data::measured_channels(held_out);
  const Tiny<EigenCpu> net(device, Rng(1));
  // example-begin scan
  const SensitivityScan scan = sensitivity(device, net, input, FilterL1{}, {0.25, 0.5, 0.75},
      [&](const auto& slim) { return evaluate(device, slim, held_out, normalise).accuracy; });
  const std::string table = to_text(sensitivity_table(scan));
  write_file_atomically(folder.path + "/sensitivity.csv", to_csv(sensitivity_points(scan)));
  write_file_atomically(folder.path + "/sensitivity.svg", to_svg(sensitivity_chart(scan, most_sensitive(scan))));
  // example-end scan
  // example-begin budget
  const FilterL1 fitted = within_budget(device, net, FilterL1{}, scan, Budget{.multiply_adds = 0.6, .within = 0.1});
  const Plan cut = plan(device, net, input, fitted);
  // example-end budget
  CHECK(table.find("conv1+1") != std::string::npos);
  CHECK(static_cast<double>(cut.multiply_adds_after) <= 0.6 * static_cast<double>(cut.multiply_adds_before));
}

TEST_CASE("add an op: the example's gradient is right, and a network prunes through it") {
  // example-begin gradient-check
  CHECK_GRADIENT(LeakyRelu{}, {{3, 5}});
  CHECK_GRADIENT(LeakyRelu{.slope = 0.3f}, {{2, 3, 3, 2}});
  // example-end gradient-check
  EigenCpu device({.threads = 1});
  const auto x = Tensor<EigenCpu>::from(device, {2}, std::vector<float>{-2, 3});
  Eval<EigenCpu> eval(device);
  CHECK(eval.apply(LeakyRelu{.slope = 0.5f}, x).to_host(device) == std::vector<float>{-1, 3});

  const Leaky<EigenCpu> net(device, Rng(1));
  const Plan cut = plan(device, net, {1, 12, 12, 1}, FilterL1{.amount = Fraction{0.5}});
  CHECK(cut.removed() == 4);
  Rng rng(2);
  std::vector<float> pixels(144);
  for (float& p : pixels) p = rng.normal();
  const auto image = Tensor<EigenCpu>::from(device, {1, 12, 12, 1}, pixels);
  const auto masked = predict(device, mask(device, net, cut), image).to_host(device), pruned = predict(device, shrink(device, net, cut), image).to_host(device);
  CHECK(masked.size() == 2 * 12 * 12);
  for (std::size_t i = 0; i < masked.size(); ++i) CHECK(masked[i] == doctest::Approx(pruned[i]).epsilon(1e-5));
}

TEST_CASE("train and resume: a run that was stopped ends like one that was not") {
  Folder place;
  const auto images = bars(128, 1);
  const std::string folder = place.path + "/run";
  EigenCpu device({.threads = 2});
  const TrainOptions<Sgd> options{.epochs = 2, .batch = 32, .schedule = {.value = 0.05}, .normalise = data::measured_channels(images), .seed = 1};
  Tiny<EigenCpu> straight(device, Rng(1));
  train(device, straight, images, options);
  {
    Tiny<EigenCpu> stopped(device, Rng(1));
    int steps = 0;
    train(device, stopped, images, options, NoObserver{}, Checkpointer{.folder = folder}, [&] { return ++steps > 5; });
  }
  Tiny<EigenCpu> net(device, Rng(1));
  LossPrinter printer;
  // example-begin resume
  StopSignal stop;                                                     // Ctrl-C or SIGTERM: true from then on
  const Checkpointer checkpoints{.folder = folder, .every = epochs(1), .keep = 2};
  const TrainResult result = train(device, net, images, options, printer, checkpoints, stop);
  if (result.stopped) return;                                          // a checkpoint was written; run again to continue
  // example-end resume
  CHECK(result.history.size() == 2);
  for_each_parameter(net, [&](const std::string& path, const auto& p) {
    for_each_parameter(straight, [&](const std::string& other, const auto& q) {
      if (path == other) CHECK(to_host(device, p) == to_host(device, q));
    });
  });
}

TEST_CASE("add a backend: the conformance suite is one call") {
  Reference reference;
  must_conform(reference);
}

TEST_CASE("measure: a compiled model computes what the model does") {
  EigenCpu device({.threads = 2});
  const Tiny<EigenCpu> net(device, Rng(1));
  const auto x = Tensor<EigenCpu>::full(device, {32, 12, 12, 1}, 0.5f);
  std::string printed;
  // example-begin compile
  auto fast = compile(device, net, x);  // a snapshot; runs x and times each linear layer, once
  for (const LinearChoice& choice : fast.choices()) printed += str(choice.reason(), '\n');
  const Tensor<EigenCpu> logits = fast(x);
  // example-end compile
  CHECK(printed.find("% zeros, dense ") != std::string::npos);
  const auto expected = predict(device, net, x).to_host(device), found = logits.to_host(device);
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(std::abs(found[i] - expected[i]) <= 1e-5f * (1 + std::abs(expected[i])));
}
