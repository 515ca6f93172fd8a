// SPDX-License-Identifier: Apache-2.0
// Repeats a golden training run: ten steps from the same weights on the same batches, compared in loss,
// gradients, weights, running statistics and evaluation.
#pragma once

#include <optional>
#include <string_view>
#include <type_traits>

#include <espalier/nn/run.hpp>
#include <espalier/op/loss.hpp>
#include <espalier/train/adam.hpp>
#include <espalier/train/sgd.hpp>

#include "golden/golden.hpp"

namespace espalier::test {

/// What a run may differ by from PyTorch in float64: loss relatively, weights absolutely.
struct Closeness {
  double loss = 1e-5;
  double weights = 1e-4;
  double logits = 1e-4;      // of the first step, relative to the largest
  double gradients = 1e-4;   // of the first step, relative to each tensor's largest
  double evaluation = 1e-3;  // ten steps later, relative to the largest
};
inline constexpr Closeness in_float{};
inline constexpr Closeness in_double{.loss = 1e-9, .weights = 1e-9, .logits = 1e-10, .gradients = 1e-8, .evaluation = 1e-8};

/// The tensors of a file of ten steps, in our terms.
class Trajectory : public Golden {
 public:
  using Golden::Golden;
  static constexpr Index steps = 10;

  Index batch() const { return std::stol(text("batch")); }
  std::vector<std::string> names(const std::string& which) const {
    std::istringstream words(text(which));
    std::vector<std::string> all;
    for (std::string word; words >> word;) all.push_back(word);
    return all;
  }
  /// Images of one step, [batch, H, W, C] or [batch, features].
  template <Backend B>
  Tensor<B> images(B& b, Index step) const {
    std::istringstream words(text("input_shape_x"));
    std::vector<Index> extents;
    for (Index extent = 0; words >> extent;) extents.push_back(extent);
    const Shape one{std::span<const Index>{extents}.subspan(1)};
    const Formula formula(text("net") + "/input");
    std::vector<double> values;
    for (Index i = 0; i < one.count(); ++i) values.push_back(formula(static_cast<std::uint64_t>(step * one.count() + i)));
    values = channels_last(values, one);
    return Tensor<B>::from(b, channels_last(one), std::vector<typename B::Scalar>(values.begin(), values.end()));
  }
  /// One step's slice of integers [10, batch, ...].
  template <Backend B>
  Ids<B> slice(B& b, const std::string& name, Index step) const {
    const Shape all = shape(name);
    const Shape one(all.extents().subspan(1));
    const auto values = ids(name);
    return Ids<B>::from(b, one, std::span<const std::int32_t>(values).subspan(static_cast<std::size_t>(step * one.count()), static_cast<std::size_t>(one.count())));
  }

  /// Gives the net the initial weights; its parameters must have the file's names, order and shapes.
  template <Backend B, class Net>
  void initialise(B& b, Net& net) const {
    std::vector<std::string> found, buffers;
    for_each_parameter(net, [&](const std::string& path, Parameter<B>& p) {
      found.push_back(path);
      REQUIRE(has("shape/" + path));
      const auto extents = file().ints("shape/" + path);
      const Shape outside{std::span<const Index>{extents}};
      CHECK(p.outside_shape() == outside);
      const auto offset_and_scale = doubles("init/" + path);
      const Formula formula(text("net") + "/" + path);
      HostTensor host{outside, {}};
      for (Index i = 0; i < outside.count(); ++i)
        host.values.push_back(static_cast<float>(offset_and_scale[0] + offset_and_scale[1] * formula(static_cast<std::uint64_t>(i))));
      p.value = from_host(b, host, p.layout);
    });
    for_each_buffer(net, [&](const std::string& path, const auto&) { buffers.push_back(path); });
    CHECK(found == names("parameters"));
    CHECK(buffers == names("buffers"));
  }

  void check_first_gradient(const std::string& path, const std::vector<double>& gradient, const Closeness& close) const {
    INFO("gradient of ", path);
    const double largest = std::max(1e-2, max_abs(doubles("grad_sample64/" + path)));
    CHECK(distance(doubles("grad_sample64/" + path), sample(gradient), false) <= close.gradients * largest);
    const auto norms = doubles("grad_stats64/" + path), mine = stats(gradient);
    CHECK(std::abs(norms[0] - mine[0]) <= close.gradients * std::max(1e-2, norms[0]));
  }
  void check_final(const std::string& path, const std::vector<double>& values, const Closeness& close) const {
    INFO(path);
    const double error = distance(doubles("sample64/" + path), sample(values), false);
    worst_weight_ = std::max(worst_weight_, error);
    CHECK(error <= close.weights);
    const auto norms = doubles("stats64/" + path), mine = stats(values);
    const double slack = close.weights * std::sqrt(static_cast<double>(values.size()));
    CHECK(std::abs(norms[0] - mine[0]) <= slack);
    CHECK(std::abs(norms[1] - mine[1]) <= slack * std::sqrt(static_cast<double>(values.size())));
  }
  double worst_weight() const { return worst_weight_; }

  static std::vector<double> sample(const std::vector<double>& all) {
    const std::size_t n = all.size(), m = std::min<std::size_t>(64, n);
    std::vector<double> some;
    for (std::size_t i = 0; i < m; ++i) some.push_back(all[i * n / m]);
    return some;
  }

 private:
  static double max_abs(const std::vector<double>& all) {
    double largest = 0;
    for (double v : all) largest = std::max(largest, std::abs(v));
    return largest;
  }
  static std::vector<double> stats(const std::vector<double>& all) {
    double squares = 0, sum = 0;
    for (double v : all) squares += v * v, sum += v;
    return {std::sqrt(squares), sum};
  }
  mutable double worst_weight_ = 0;
};

/// Trains the net as the file says and compares. `run(ctx, net, step)` gives the logits of a step's batch;
/// `meaningless(path)` names parameters whose final values carry no information.
template <Backend B, class Net, Optimizer O, class Run, class Meaningless>
void repeat_with(const Trajectory& golden, B& b, Net& net, O policy, double lr, const Closeness& close, Run run, Meaningless meaningless) {
  golden.initialise(b, net);
  auto optimiser = policy.over(b, net);
  Tape<B> tape(b);
  const auto losses = golden.doubles("loss64");
  double worst_loss = 0;
  for (Index step = 0; step < Trajectory::steps; ++step) {
    tape.clear();
    const auto labels = golden.slice(b, "labels", step);
    const auto logits = tape.keep(run(tape, net, step));
    const auto loss = tape.apply(op::CrossEntropy<B>{&labels}, logits);
    tape.backward(loss);
    INFO("step ", step);
    const double expected = losses[static_cast<std::size_t>(step)];
    const double error = std::abs(static_cast<double>(loss.value().item(b)) - expected) / std::abs(expected);
    worst_loss = std::max(worst_loss, error);
    CHECK(error <= close.loss);
    if (step == 0) {
      CHECK(distance(golden.doubles("logits64"), outside_values(b, logits.value(), Layout::plain), true) <= close.logits);
      for_each_parameter(net, [&](const std::string& path, const Parameter<B>& p) {
        REQUIRE(p.has_gradient);
        golden.check_first_gradient(path, outside_values(b, p.gradient, p.layout), close);
      });
    }
    optimiser.step(b, net, lr);
  }
  for_each_parameter(net, [&](const std::string& path, const Parameter<B>& p) {
    if (!meaningless(path)) golden.check_final(path, outside_values(b, p.value, p.layout), close);
  });
  for_each_buffer(net, [&](const std::string& path, const Buffer<B>& buffer) { golden.check_final(path, outside_values(b, buffer.value, Layout::plain), close); });
  Eval<B> eval(b);
  const auto logits = run(eval, std::as_const(net), Trajectory::steps - 1);
  CHECK(distance(golden.doubles("eval_logits64"), outside_values(b, logits, Layout::plain), true) <= close.evaluation);
  MESSAGE(golden.text("net"), ": worst relative loss ", worst_loss, ", worst weight ", golden.worst_weight());
}

template <Optimizer O>
O written(const Settings& s) {
  if constexpr (std::is_same_v<O, Sgd>) return {s.number("momentum"), s.number("nesterov") != 0, s.number("weight_decay")};
  else return {s.number("beta1"), s.number("beta2"), s.number("eps"), s.number("weight_decay")};
}
template <Optimizer O> inline constexpr std::string_view name_of{};
template <> inline constexpr std::string_view name_of<Sgd> = "sgd";
template <> inline constexpr std::string_view name_of<Adam> = "adam";
template <> inline constexpr std::string_view name_of<AdamW> = "adamw";

/// The same, with the optimiser that the file names. It is one of Os: only these are compiled for the net.
template <Optimizer... Os, Backend B, class Net, class Run, class Meaningless>
void repeat(const Trajectory& golden, B& b, Net net, const Closeness& close, Run run, Meaningless meaningless) {
  const Settings s(golden.text("optimiser"));
  const auto tried = [&]<class O>(std::type_identity<O>) {
    if (s.name == name_of<O>) repeat_with(golden, b, net, written<O>(s), s.number("lr"), close, run, meaningless);
    return s.name == name_of<O>;
  };
  if (!(tried(std::type_identity<Os>{}) || ...)) FAIL("an optimiser that this test does not know: ", s.name);
}

/// A net of images.
template <Optimizer... Os, Backend B, class Net>
void repeat(const Trajectory& golden, B& b, Net net, const Closeness& close) {
  repeat<Os...>(golden, b, std::move(net), close,
                [&](auto& ctx, auto& model, Index step) { return forward(ctx, model, ctx.input(golden.images(b, step))); }, [](const std::string&) { return false; });
}

}  // namespace espalier::test
