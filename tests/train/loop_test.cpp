// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <limits>

#include <espalier/backend/reference.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/train/adam.hpp>
#include <espalier/train/loop.hpp>

#include "toys.hpp"

using namespace espalier;

namespace loop_test {

using test::content;
using test::ToyNet;

namespace {

TrainOptions<Adam, Constant> quick() {
  return {.epochs = 3, .batch = 8, .schedule = {.value = 0.01}, .normalise = test::toy_channels(), .seed = 4};
}

struct Recorder {
  std::vector<StepMetrics> steps;
  std::vector<EpochMetrics> epochs;
  void step(const StepMetrics& m) { steps.push_back(m); }
  void epoch(const EpochMetrics& m) { epochs.push_back(m); }
};

// Multiplies activations by infinity from the given forward pass of a training tape on.
template <Backend B>
struct Poison {
  Index* passes = nullptr;
  Index at = 0;
  struct Blow {
    static constexpr std::string_view name = "blow";
    template <Backend> struct Saved {};
    struct F {
      template <class T> void operator()(Index, T& y, const T& x) const { y = x * std::numeric_limits<T>::infinity(); }
    };
    Shape shape(const Shapes& in) const { return in[0]; }
    Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
      auto y = Tensor<B>::empty(b, in[0].shape());
      b.each(y.count(), F{}, y.data(), in[0].data());
      return y;
    }
    void backward(B& b, const Inputs<B>&, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
      if (d.wants(0)) d.give(0, Tensor<B>(dy)), static_cast<void>(b);
    }
    void channels(ChannelFlow&) const {}
    OpCost cost(const Shapes&, const Shape&) const { return {}; }
  };
  ToyNet<B> inner;

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) { visit("inner", self.inner); }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    auto h = espalier::forward(ctx, self.inner.norm, espalier::forward(ctx, self.inner.conv, x), Activation::relu);
    h = ctx.apply(op::MaxPool{}, h);
    if (++*self.passes > self.at) h = ctx.apply(Blow{}, h);
    return espalier::forward(ctx, self.inner.head, ctx.apply(op::Flatten{}, h));
  }
};

// The mean of all squared logits: drives them to zero.
struct SquaredLogits {
  bool operator==(const SquaredLogits&) const = default;
  template <class Context, class Output, Backend B>
  auto operator()(Context& ctx, const Output& logits, const typename Context::Value& x, const Ids<B>& labels) const {
    if (x.shape() != Shape{labels.count(), 6, 6, 1}) throw ShapeError("the loss was given another input");
    return ctx.apply(op::MeanSquaredError{}, logits, ctx.input(Tensor<B>::zeros(ctx.device(), logits.shape())));
  }
};

}  // namespace

TEST_CASE("training learns: on separable images the loss falls and the accuracy on others rises") {
  Reference b;
  const auto images = test::toy_images(120, 1), others = test::toy_images(60, 2);
  ToyNet<Reference> net(b, Rng(1));
  auto options = quick();
  options.epochs = 6;
  const TrainResult result = train(b, net, images, others, options);
  REQUIRE(result.history.size() == 6);
  CHECK_FALSE(result.stopped);
  CHECK(result.step == Step{90, 15});
  CHECK(result.history.back().loss < 0.5 * result.history.front().loss);
  CHECK(result.history.back().evaluation->accuracy > 0.9);
  CHECK(*result.history.back().evaluation == evaluate(b, net, others, options.normalise));
}

TEST_CASE("the same seed gives the same bits, whatever is observed, prefetched or printed") {
  const auto images = test::toy_images(50, 1);
  const auto run = [&](Index prefetch, std::uint64_t seed, auto&& observer) {
    Reference b;
    ToyNet<Reference> net(b, Rng(1));
    auto options = quick();
    options.prefetch = prefetch;
    options.seed = seed;
    options.augment = {.pad = 1, .flip = 0.5};
    const auto result = train(b, net, images, options, observer);
    return std::pair(content(b, net), result.history);
  };
  Recorder recorder;
  const auto first = run(0, 4, NoObserver{});
  CHECK(run(3, 4, recorder) == first);
  CHECK(run(0, 5, NoObserver{}) != first);
  CHECK(recorder.epochs == first.second);
  REQUIRE(recorder.steps.size() == 21);
  CHECK(recorder.steps[6].count == 2);  // 50 = 6 * 8 + 2
  CHECK(recorder.steps[20].step == Step{21, 7});
  double sum = 0;
  for (std::size_t i = 0; i < 7; ++i) sum += recorder.steps[i].loss * static_cast<double>(recorder.steps[i].count);
  CHECK(recorder.epochs[0].loss == sum / 50);
}

TEST_CASE("a run of the loop is what one writes by hand with tape, loss and optimiser") {
  Reference b;
  const auto images = test::toy_images(12, 1);
  models::Mlp<Reference> net(b, {36, 5, 3}, Rng(1)), by_hand = net;
  const TrainOptions<Sgd, MultiStep> options{.epochs = 2, .batch = 6, .schedule = {.from = 0.1, .at = {epochs(1)}}, .normalise = test::toy_channels(), .seed = 9};
  train(b, net, images, options);

  data::Loader<data::ImageSet> loader(images, {.batch = 6, .order = data::Order::shuffled, .normalise = test::toy_channels(), .seed = 9});
  auto sgd = optimizer_run(Sgd{}, b, by_hand);
  for (int epoch = 0; epoch < 2; ++epoch)
    while (const data::Batch* batch = loader.next()) {
      Tape<Reference> tape(b);
      const auto labels = Ids<Reference>::from(b, {6}, batch->labels);
      const auto x = tape.input(Tensor<Reference>::from(b, {6, 6, 6, 1}, batch->pixels));
      tape.backward(tape.apply(op::CrossEntropy<Reference>{&labels}, forward(tape, by_hand, x)));
      sgd.step(b, by_hand, epoch == 0 ? 0.1 : 0.1 * 0.1);
    }
  CHECK(content(b, net) == content(b, by_hand));
}

TEST_CASE("a stopped run continues from its state to the same bits, at every batch") {
  const auto images = test::toy_images(30, 1), others = test::toy_images(10, 2);
  const auto options = quick();
  Reference b;
  ToyNet<Reference> uninterrupted(b, Rng(1));
  const auto whole = train(b, uninterrupted, images, others, options);
  for (int stop_after = 0; stop_after <= 12; ++stop_after) {
    CAPTURE(stop_after);
    ToyNet<Reference> net(b, Rng(1));
    Trainer first(b, net, images, options);
    first.evaluate_on(others);
    int polls = 0;
    const auto part = first.run(NoObserver{}, NoCheckpoints{}, [&] { return polls++ == stop_after; });
    CHECK(part.stopped == (stop_after < 12));
    CHECK(part.step.iteration == stop_after);

    ToyNet<Reference> other(b, Rng(77));  // its weights will be replaced
    Trainer second(b, other, images, options);
    second.evaluate_on(others);
    second.restore(first.state(), net);
    CHECK(second.state() == first.state());
    const auto rest = second.run();
    CHECK(content(b, other) == content(b, uninterrupted));
    CHECK(rest.history == whole.history);
  }
}

TEST_CASE("a state of other data, another network or another optimiser is refused and changes nothing") {
  Reference b;
  const auto images = test::toy_images(30, 1), more = test::toy_images(50, 1);
  ToyNet<Reference> net(b, Rng(1)), other(b, Rng(1));
  Trainer first(b, net, images, quick());
  Trainer second(b, other, more, quick());
  const auto before = content(b, other);
  CHECK_THROWS_WITH_AS(second.restore(first.state(), net), doctest::Contains("found 4 batches an epoch, needed 7"), StaleState);
  Trainer sgd(b, other, images, TrainOptions<Sgd>{.batch = 8, .normalise = test::toy_channels()});
  CHECK_THROWS_AS(sgd.restore(first.state(), net), StaleState);
  CHECK(content(b, other) == before);
}

TEST_CASE("a loss of one's own sees output, input and labels") {
  Reference b;
  const auto images = test::toy_images(16, 1);
  models::Mlp<Reference> net(b, {36, 3}, Rng(1));
  const TrainOptions<Sgd, Constant, SquaredLogits> options{.epochs = 30, .batch = 16, .schedule = {.value = 0.1}, .normalise = test::toy_channels()};
  const auto result = train(b, net, images, options);
  CHECK(result.history.back().loss < 0.1 * result.history.front().loss);
}

TEST_CASE("a learning rate of a million stops the run with step, tensor and rate, and keeps no gradient") {
  Reference b;
  const auto images = test::toy_images(40, 1);
  models::Mlp<Reference> net(b, {36, 16, 3}, Rng(1));
  TrainOptions<Sgd> options{.epochs = 50, .batch = 8, .schedule = {.value = 1e6}, .normalise = test::toy_channels()};
  try {
    train(b, net, images, options);
    FAIL("it did not diverge");
  } catch (const Diverged& e) {
    const std::string text = e.what();
    MESSAGE(text);
    CHECK(text.find("training at step ") != std::string::npos);
    CHECK(text.find("the first tensor that is not finite is ") != std::string::npos);
    CHECK(text.find("fc") != std::string::npos);
    CHECK(text.find("it was 1e+06") != std::string::npos);
    CHECK(text.find("No checkpoint was kept") != std::string::npos);
  }
  for_each_parameter(net, [](const std::string&, const auto& p) { CHECK_FALSE(p.has_gradient); });
}

TEST_CASE("the first offending tensor is named: a weight that came as a NaN, or the op that made the first infinity") {
  Reference b;
  const auto images = test::toy_images(40, 1);
  models::Mlp<Reference> net(b, {36, 16, 3}, Rng(1));
  net.layers[1].weight.value.data()[5] = std::numeric_limits<float>::quiet_NaN();
  const TrainOptions<Sgd> options{.batch = 8, .normalise = test::toy_channels()};
  CHECK_THROWS_WITH_AS(train(b, net, images, options), doctest::Contains("at step 0 (epoch 1): the loss is nan; the first tensor that is not finite is parameter 'fc2.weight' (1 of 48 values"), Diverged);

  Index passes = 0;
  Poison<Reference> poisoned{&passes, 3, ToyNet<Reference>(b, Rng(1))};
  CHECK_THROWS_WITH_AS(train(b, poisoned, images, options), doctest::Contains("at step 3 (epoch 1): the loss is nan; the first tensor that is not finite is the result of blow"), Diverged);
}

TEST_CASE("a NaN that a ReLU hides from the loss is found at the end of the epoch") {
  Reference b;
  const auto images = test::toy_images(16, 1);
  models::Mlp<Reference> net(b, {36, 4, 3}, Rng(1));
  // Input weights of a unit whose output weights are zero: the loss never sees it.
  TrainOptions<Sgd> options{.optimizer = {.weight_decay = 0}, .normalise = test::toy_channels()};
  struct Spoil {
    models::Mlp<Reference>& net;
    void step(const StepMetrics&) { net.layers[0].bias->value.data()[0] = std::numeric_limits<float>::infinity(); }
  };
  CHECK_THROWS_WITH_AS(train(b, net, images, options, Spoil{net}), doctest::Contains("the loss is finite, but not the weights; the first tensor that is not finite is parameter 'fc1.bias'"), Diverged);
}

TEST_CASE("options out of range are refused at the door with field, value and range") {
  Reference b;
  const auto images = test::toy_images(16, 1);
  ToyNet<Reference> net(b, Rng(1));
  const auto refused = [&](auto change, const char* text) {
    auto options = quick();
    change(options);
    CHECK_THROWS_WITH_AS(train(b, net, images, options), doctest::Contains(text), PolicyError);
  };
  refused([](auto& o) { o.epochs = -1; }, "TrainOptions: found epochs = -1, needed at least 0");
  refused([](auto& o) { o.batch = 0; }, "batch = 0");
  refused([](auto& o) { o.clip_norm = -2; }, "clip_norm = -2");
  refused([](auto& o) { o.optimizer.beta1 = 1.5; }, "Adam: found beta1 = 1.5");
  refused([](auto& o) { o.schedule.value = std::nan(""); }, "Constant: found value");
  refused([](auto& o) { o.normalise = {}; }, "Normalise: found 0 means");
  refused([](auto& o) { o.drop_last = true; o.batch = 17; }, "no more than the data set holds");
}

TEST_CASE("no epochs is a run that does nothing, and a smaller last batch can be dropped") {
  Reference b;
  const auto images = test::toy_images(20, 1);
  ToyNet<Reference> net(b, Rng(1));
  const auto before = content(b, net);
  auto options = quick();
  options.epochs = 0;
  CHECK(train(b, net, images, options).history.empty());
  CHECK(content(b, net) == before);
  options.epochs = 1;
  options.drop_last = true;
  const auto result = train(b, net, images, options);
  CHECK(result.step == Step{2, 2});
  CHECK(result.history[0].count == 16);
}

TEST_CASE("a warm training step takes no memory from the system for tensors") {
  Reference b;
  const auto images = test::toy_images(32, 1);
  ToyNet<Reference> net(b, Rng(1));
  struct Count {
    Reference& b;
    std::vector<std::size_t> at;
    void step(const StepMetrics&) { at.push_back(b.pool().system_allocations()); }
  } count{b, {}};
  auto options = quick();
  options.clip_norm = 1;
  train(b, net, images, options, count);
  CHECK(count.at[2] == count.at.back());
}

TEST_CASE("options print as they are written") {
  CHECK(str(TrainOptions<Sgd>{.epochs = 2, .normalise = {{0.5f}, {0.25f}}}) ==
        "TrainOptions{.epochs = 2, .batch = 128, .optimizer = Sgd{.momentum = 0.9, .nesterov = false, .weight_decay = 1e-04}, .schedule = Constant{.value = 0.001}, "
        ".loss = SoftmaxCrossEntropy{}, .normalise = {.mean = {0.5}, .std = {0.25}}, .augment = {.pad = 0, .flip = 0}, .seed = 0, .drop_last = false, .prefetch = 2}");
}

}  // namespace loop_test
