// SPDX-License-Identifier: Apache-2.0
// A criterion of your own: no base class, no registration. This one is Taylor expansion with the square
// of Molchanov et al. 2019 (eq. 8), written with public tools only, and compared with the shipped ones
// on a network trained for a minute: accuracy right after pruning, before any fine-tuning.
//
//   custom_criterion             Fashion-MNIST, about a minute on two cores
//   custom_criterion --quick     seconds
//
// Expect: every criterion that looks at the network beats Random, and Reversed<L1Norm> is the worst.
#pragma once

#include <algorithm>
#include <iostream>
#include <span>
#include <vector>

#include "../common/result.hpp"

namespace examples {

inline const Program custom_criterion_program{
    .name = "custom_criterion",
    .summary = "Writes a pruning criterion in ten lines and compares it with the shipped ones.",
    .usage = "Examples:\n"
             "  custom_criterion                  Fashion-MNIST, about a minute\n"
             "  custom_criterion --quick          seconds\n"
             "  custom_criterion --fraction 0.3   remove 30 % of each layer's filters\n"
             "  custom_criterion --json\n",
    .archs = {"small-vgg"},
    .lacks = {"--dry-run", "--plan", "--model", "--fine-tune-epochs"}};

// example-begin criterion
/// (sum of w dL/dw)^2 over each filter: the squared first-order change of the loss when it goes.
struct SquaredTaylor {
  bool operator==(const SquaredTaylor&) const = default;

  void score(const esp::ChannelGroup& group, std::span<double> out) const {
    std::fill(out.begin(), out.end(), 0.0);
    for (const auto& part : group.parts) {
      if (part.role != esp::ChannelRole::producer) continue;   // every layer that writes this channel
      for (std::size_t channel = 0; channel < out.size(); ++channel)
        for (const esp::Index filter : part.slices[channel]) {
          const auto w = part.row(*part.value, filter), g = part.row(*part.gradient, filter);
          double sum = 0;
          for (std::size_t i = 0; i < w.size(); ++i) sum += static_cast<double>(w[i]) * static_cast<double>(g[i]);
          out[channel] += sum * sum;
        }
    }
  }
  friend std::ostream& operator<<(std::ostream& to, const SquaredTaylor&) { return to << "SquaredTaylor{}"; }
};
static_assert(esp::Criterion<SquaredTaylor>);
// example-end criterion

template <esp::Backend B>
esp::ExitCode custom_criterion(B& device, const Options& given) {
  Options o = given;
  if (o.quick && !o.train_images) o.train_images = 3000;
  const Images images = load_images(o);
  const esp::Shape input = images.one();
  Session session(o, "custom_criterion", 1, configuration_json(o, images));
  auto net = make_net(device, o, input, esp::Rng(o.seed));
  const Trained trained = session.train(device, net, "dense", images, {.epochs = o.epochs.value_or(o.quick ? 2 : 2), .batch = o.batch.value_or(64), .lr = o.lr.value_or(0.05)});

  // Taylor criteria read gradients: one backward pass over a large batch, and no optimiser step after it.
  esp::data::Loader loader(images.train, {.batch = 1024, .normalise = images.normalise});
  const esp::data::Batch* batch = loader.next();
  const std::vector<typename B::Scalar> pixels(batch->pixels.begin(), batch->pixels.end());
  const auto labels = esp::Ids<B>::from(device, {batch->count}, batch->labels);
  auto scored = net;
  esp::Tape<B> tape(device, {.training = false});
  const auto logits = esp::forward(tape, scored, tape.input(esp::Tensor<B>::from(device, input.with(0, batch->count), pixels)));
  tape.backward(tape.apply(esp::op::CrossEntropy<B>{&labels}, logits));

  esp::Table table{.title = esp::str(images.name, ", ", esp::format_percent(o.fraction.value_or(0.3), 0), " of each layer's filters removed, no fine-tuning; dense ", esp::format_percent(trained.test.accuracy, 2)), .columns = {{"criterion", esp::Align::left}, {"accuracy", esp::Align::right}, {"delta", esp::Align::right}}, .rows = {}, .notes = {}};
  esp::Json json = configuration_json(o, images);
  json["dense_accuracy"] = trained.test.accuracy;
  double own = 0, random = 0;
  const auto try_out = [&](const char* name, auto criterion) {
    const auto plan = esp::plan(device, scored, input, esp::Structured<decltype(criterion)>{.criterion = criterion, .amount = esp::Fraction{o.fraction.value_or(0.3)}});
    const auto result = esp::evaluate(device, esp::shrink(device, net, plan), images.test, images.normalise);
    table.rows.push_back({name, esp::Cell::percent(result.accuracy, 2), esp::Cell::points(result.accuracy - trained.test.accuracy, 2)});
    json[name] = result.accuracy;
    return result.accuracy;
  };
  own = try_out("SquaredTaylor", SquaredTaylor{});
  try_out("Taylor", esp::Taylor{});
  try_out("L1Norm", esp::L1Norm{});
  try_out("L2Norm", esp::L2Norm{});
  try_out("BatchNormScale", esp::BatchNormScale{});
  try_out("GeometricMedian", esp::GeometricMedian{});
  random = try_out("Random", esp::Random{.seed = o.seed});
  try_out("Reversed<L1Norm>", esp::Reversed<esp::L1Norm>{});
  session.progress().clear();
  if (o.json) std::cout << json.dump() << '\n';
  else std::cout << to_text(table, 100, esp::standard_output(o.color).utf8);
  if (o.check && own <= random) throw esp::ClaimFailed("SquaredTaylor did not beat Random");
  return esp::ExitCode::done;
}

}  // namespace examples
