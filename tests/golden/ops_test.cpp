// SPDX-License-Identifier: Apache-2.0
// Every single operation and optimiser of the golden file, in double: results and gradients.
#include <doctest/doctest.h>

#include <set>

#include <espalier/op/add.hpp>
#include <espalier/op/attention.hpp>
#include <espalier/op/batch_norm.hpp>
#include <espalier/op/conv2d.hpp>
#include <espalier/op/flatten.hpp>
#include <espalier/op/gelu.hpp>
#include <espalier/op/layer_norm.hpp>
#include <espalier/op/linear.hpp>
#include <espalier/op/loss.hpp>
#include <espalier/op/pool.hpp>
#include <espalier/train/adam.hpp>
#include <espalier/train/sgd.hpp>

#include "common/gradient_check.hpp"
#include "golden/golden.hpp"

using namespace espalier;
using namespace espalier::test;

namespace {

constexpr double tolerance = 1e-12;  // relative to the largest value of a tensor

// Cases of operations that the library does not have: a padded average that leaves the padding out,
// adaptive pooling to more than one cell, a log-softmax apart from its loss.
const std::set<std::string> absent{"adaptive_avg_pool_2x3", "avg_pool_pad_excluded", "log_softmax"};

struct Operand {
  std::string name;
  Layout layout = Layout::plain;
};

class Cases {
 public:
  explicit Cases(const std::filesystem::path& folder) : golden_(folder, "ops") {}

  const Golden& golden() const { return golden_; }
  Double& device() { return b_; }

  // A tensor of the file in our layout: weights by their layout, images channels-last.
  Tensor<Double> tensor(const std::string& name, Layout layout = Layout::plain) {
    const Shape outer = golden_.shape(name);
    auto values = golden_.doubles(name);
    if (layout == Layout::plain) return Tensor<Double>::from(b_, outer.rank() == 0 ? Shape{1} : channels_last(outer), channels_last(values, outer));
    const Shape inner = inside(outer, layout);
    std::vector<double> relaid(values.size());
    espalier::detail::relayout(std::span<const double>(values), std::span<double>(relaid), inner, layout, false);
    return Tensor<Double>::from(b_, inner, relaid);
  }
  void compare(const std::string& name, const Tensor<Double>& found, Layout layout = Layout::plain) {
    INFO(name);
    auto values = outside_values(b_, found, layout);
    if (layout == Layout::plain) values = channels_last(values, golden_.shape(name), true);
    CHECK(distance(golden_.doubles(name), values, true) <= tolerance);
  }

  template <class Op>
  void operator()(const std::string& name, const Op& op, const std::vector<Operand>& operands) {
    done_.insert(name);
    Tape<Double> tape(b_);
    std::vector<Var<Double>> inputs;
    for (const auto& o : operands) inputs.push_back(tape.variable(tensor(name + "/in/" + o.name, o.layout)));
    // GELU is tried on four times the input, where it bends.
    std::vector<Var<Double>> used = inputs;
    if (golden_.text(name).find("op=gelu") == 0) used[0] = tape.apply(op::WeightedSum{.weight_a = 4, .weight_b = 0}, inputs[0], inputs[0]);
    const auto y = tape.keep(tape.apply(op, used));
    const auto weights = tensor(name + "/grad_out");
    tape.backward(tape.apply(Project{&weights}, y));
    compare(name + "/out", y.value());
    for (std::size_t i = 0; i < operands.size(); ++i) compare(name + "/grad/" + operands[i].name, inputs[i].gradient(), operands[i].layout);
  }
  void mark(const std::string& name) { done_.insert(name); }
  const std::set<std::string>& done() const { return done_; }

 private:
  Double b_;
  Golden golden_;
  std::set<std::string> done_;
};

void check_conv(Cases& run, const std::string& name, const Settings& s) {
  const auto [stride_h, stride_w] = s.pair("stride");
  const auto [pad_h, pad_w] = s.pair("pad");
  const Index groups = static_cast<Index>(s.number("groups"));
  const bool depthwise = groups > 1 && groups == run.golden().shape(name + "/in/x")[1];
  const op::Conv2d conv{.stride_h = stride_h, .stride_w = stride_w, .pad_h = pad_h, .pad_w = pad_w, .groups = depthwise ? 1 : groups, .depthwise = depthwise};
  std::vector<Operand> operands{{"x"}, {"weight", Layout::convolution}};
  if (run.golden().has(name + "/in/bias")) operands.push_back({"bias"});
  run(name, conv, operands);
}

void check_batch_norm(Cases& run, const std::string& name, const Settings& s) {
  Buffer<Double> mean{run.tensor(name + "/in/running_mean")}, var{run.tensor(name + "/in/running_var")};
  op::BatchNorm<Double> norm{.eps = s.number("eps"), .momentum = s.number("momentum"), .running_mean = &mean, .running_var = &var};
  if (s.values.at("mode") == "train") {
    norm.statistics = Statistics::batch;
    norm.update_mean = &mean;
    norm.update_var = &var;
  }
  run(name, norm, {{"x"}, {"weight"}, {"bias"}});
  run.compare(name + "/running_mean_after", mean.value);
  run.compare(name + "/running_var_after", var.value);
}

void check_pool(Cases& run, const std::string& name, const Settings& s) {
  const op::Window window{.kernel = static_cast<Index>(s.number("kernel")), .stride = static_cast<Index>(s.number("stride")), .pad = static_cast<Index>(s.number("pad"))};
  if (s.values.at("op") == "max_pool2d") run(name, op::MaxPool{window}, {{"x"}});
  else run(name, op::AvgPool{window}, {{"x"}});
}

// Heads [N, A, T, d] side by side [N, T, A d], and back.
std::vector<double> heads_together(const std::vector<double>& x, const Shape& heads, bool back = false) {
  const Index n = heads[0], a = heads[1], t = heads[2], d = heads[3];
  std::vector<double> y(x.size());
  for (Index i = 0; i < n; ++i)
    for (Index h = 0; h < a; ++h)
      for (Index r = 0; r < t; ++r)
        for (Index c = 0; c < d; ++c) {
          const auto apart = static_cast<std::size_t>(((i * a + h) * t + r) * d + c), together = static_cast<std::size_t>((i * t + r) * a * d + h * d + c);
          if (back) y[apart] = x[together];
          else y[together] = x[apart];
        }
  return y;
}

void check_attention(Cases& run, const std::string& name, const Settings& s) {
  run.mark(name);
  Double& b = run.device();
  const Golden& golden = run.golden();
  const Shape heads = golden.shape(name + "/in/q");
  const Shape together{heads[0], heads[2], heads[1] * heads[3]};
  const auto tensor = [&](const std::string& part) { return Tensor<Double>::from(b, together, heads_together(golden.doubles(name + part), heads)); };
  const auto close = [&](const std::string& part, const std::vector<double>& values) {
    INFO(name, part);
    CHECK(distance(golden.doubles(name + part), values, true) <= tolerance);
  };
  const Index count = static_cast<Index>(s.number("heads"));
  Tape<Double> tape(b);
  const auto q = tape.variable(tensor("/in/q")), k = tape.variable(tensor("/in/k")), v = tape.variable(tensor("/in/v"));
  std::optional<Tensor<Double>> bias;
  if (golden.has(name + "/in/mask")) {
    std::vector<double> values;
    for (auto kept : golden.ids(name + "/in/mask")) values.push_back(kept != 0 ? 0 : -1e9);
    bias = Tensor<Double>::from(b, {heads[0], heads[2]}, values);
  }
  close("/scores", tape.apply(op::AttentionScores<Double>{.heads = count}, q, k).value().to_host(b));
  const auto scores = tape.apply(op::AttentionScores<Double>{.heads = count, .key_bias = bias ? &*bias : nullptr}, q, k);
  const auto probabilities = tape.keep(tape.apply(op::Softmax{}, scores));
  const auto y = tape.keep(tape.apply(op::AttentionApply{.heads = count}, probabilities, v));
  const auto weights = tensor("/grad_out");
  tape.backward(tape.apply(Project{&weights}, y));
  close("/probs", probabilities.value().to_host(b));
  close("/out", heads_together(y.value().to_host(b), heads, true));
  close("/grad/q", heads_together(q.gradient().to_host(b), heads, true));
  close("/grad/k", heads_together(k.gradient().to_host(b), heads, true));
  close("/grad/v", heads_together(v.gradient().to_host(b), heads, true));
}

struct Weights {
  Parameter<Double> w;
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) { visit("w", self.w); }
};

template <Optimizer O>
void check_optimiser(Cases& run, const std::string& name, O policy, double lr) {
  run.mark(name);
  Double& b = run.device();
  Weights net{{run.tensor(name + "/in/start"), Layout::plain}};
  auto optimiser = policy.over(b, net);
  const auto gradients = run.golden().doubles(name + "/in/grads"), after = run.golden().doubles(name + "/after");
  for (std::size_t step = 0; step < 5; ++step) {
    const auto row = [&](const std::vector<double>& all) { return std::vector<double>(all.begin() + static_cast<long>(8 * step), all.begin() + static_cast<long>(8 * step + 8)); };
    net.w.gradient = Tensor<Double>::from(b, {8}, row(gradients));
    net.w.has_gradient = true;
    optimiser.step(b, net, lr);
    INFO(name, ", step ", step);
    CHECK(distance(row(after), net.w.value.to_host(b), true) <= tolerance);
    CHECK_FALSE(net.w.has_gradient);
  }
}

void check(Cases& run, const std::string& name, const Settings& s) {
  Double& b = run.device();
  const std::string& op = s.values.at("op");
  if (op == "conv2d") check_conv(run, name, s);
  else if (op == "batch_norm") check_batch_norm(run, name, s);
  else if (op == "max_pool2d" || op == "avg_pool2d") check_pool(run, name, s);
  else if (op == "adaptive_avg_pool2d") run(name, op::GlobalAvgPool{}, {{"x"}});
  else if (op == "attention") check_attention(run, name, s);
  else if (op == "linear") run(name, op::Linear{}, run.golden().has(name + "/in/bias") ? std::vector<Operand>{{"x"}, {"weight", Layout::linear}, {"bias"}} : std::vector<Operand>{{"x"}, {"weight", Layout::linear}});
  else if (op == "layer_norm") run(name, op::LayerNorm{.eps = s.number("eps")}, {{"x"}, {"weight"}, {"bias"}});
  else if (op == "gelu" && s.values.at("form") == "erf") run(name, op::Gelu{}, {{"x"}});
  else if (op == "gelu") run(name, op::GeluTanh{}, {{"x"}});
  else if (op == "relu") run(name, op::Relu{}, {{"x"}});
  else if (op == "tanh") run(name, op::Tanh{}, {{"x"}});
  else if (op == "softmax") run(name, op::Softmax{}, {{"x"}});
  else if (op == "mse") run(name, op::MeanSquaredError{}, {{"x"}, {"target"}});
  else if (op == "cross_entropy" || op == "embedding") {
    const std::string ids_name = name + (op == "embedding" ? "/in/ids" : "/in/labels");
    const auto ids = Ids<Double>::from(b, run.golden().shape(ids_name), run.golden().ids(ids_name));
    if (op == "embedding") run(name, op::Embedding<Double>{&ids}, {{"weight"}});
    else run(name, op::CrossEntropy<Double>{&ids}, {{"x"}});
  } else {
    const double lr = s.number("lr"), decay = s.number("weight_decay"), beta1 = s.number("beta1"), beta2 = s.number("beta2"), eps = s.number("eps");
    if (op == "sgd") check_optimiser(run, name, Sgd{s.number("momentum"), s.number("nesterov") != 0, decay}, lr);
    else if (op == "adam") check_optimiser(run, name, Adam{beta1, beta2, eps, decay}, lr);
    else if (op == "adamw") check_optimiser(run, name, AdamW{beta1, beta2, eps, decay}, lr);
    else FAIL("no check for operation ", op);
  }
}

}  // namespace

TEST_CASE("every operation and optimiser gives PyTorch's results and gradients, to 1e-12 in double") {
  const auto folder = golden_folder();
  if (!folder) return;
  Cases run(*folder);
  std::set<std::string> all;
  for (const auto& entry : run.golden().file().metadata()) {
    const std::string& name = entry.first;
    const Settings settings(entry.second);
    if (!settings.has("op")) continue;
    all.insert(name);
    CAPTURE(name);
    if (absent.count(name) == 0) check(run, name, settings);
  }
  CHECK(all.size() > 40);
  for (const auto& name : absent) CHECK(all.count(name) == 1);
  CHECK(run.done().size() + absent.size() == all.size());
}
