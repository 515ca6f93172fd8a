// SPDX-License-Identifier: Apache-2.0
// What a mask of single weights lets go for real: LeNet-300-100, trained, masked by magnitude, without its dead
// neurons. Masked and small networks are timed in turns.
//   dead_channels --data MNIST_DIR [--threads N] [--json] [--quick]       without --data: noise, untrained
#include <iostream>

#include "harness.hpp"

#include <espalier/data/idx_gz.hpp>
#include <espalier/data/mnist.hpp>
#include <espalier/espalier.hpp>
#include <espalier/train/adam.hpp>
#include <espalier/train/loop.hpp>

namespace {

namespace esp = espalier;
using Device = esp::EigenCpu;
using Net = esp::models::Mlp<Device>;

// Median seconds of two workloads that take turns.
template <class F, class G>
std::pair<double, double> in_turns(F f, G g, int rounds) {
  const esp::SteadySeconds now;
  std::vector<double> first, second;
  for (int round = -2; round < rounds; ++round) {
    const double a = now();
    f();
    const double b = now();
    g();
    if (round < 0) continue;
    first.push_back(b - a);
    second.push_back(now() - b);
  }
  return {esp::summarize(first).median, esp::summarize(second).median};
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  std::string folder;
  for (int i = 1; i + 1 < argc; ++i)
    if (std::string(argv[i]) == "--data") folder = argv[i + 1];
  Device device({.threads = arguments.threads});
  Net net(device, esp::models::lenet_300_100, esp::Rng(1));
  std::optional<esp::data::TrainTest> sets;
  const esp::data::Normalise normalise{.mean = {0.1307F}, .std = {0.3081F}};
  const esp::TrainOptions<esp::Adam> recipe{.epochs = arguments.quick ? 1 : 5, .batch = 60, .schedule = {1.2e-3}, .normalise = normalise, .seed = 1};
  if (!folder.empty()) {
    sets = esp::data::mnist(folder);
    esp::train(device, net, sets->train, recipe);
  }
  const auto accuracy = [&](const Net& n) {
    return sets ? esp::Cell::percent(esp::evaluate(device, n, sets->test, normalise, 256).accuracy, 2) : esp::Cell::none();
  };

  const esp::Shape image{1, 28, 28, 1};
  esp::Table table{.title = esp::str("LeNet-300-100, ", sets ? sets->train.name : std::string("untrained"), ", dead neurons removed, ", arguments.threads, " threads"), .columns = {}, .rows = {}, .notes = {}};
  table.columns = {{"mask"}, {"fc1", esp::Align::right}, {"fc2", esp::Align::right}, {"params", esp::Align::right}, {"MACs", esp::Align::right}, {"live", esp::Align::right},
                   {"accuracy", esp::Align::right}, {"batch 1", esp::Align::right}, {"batch 128", esp::Align::right}, {"finding", esp::Align::right}};
  const auto add = [&](const std::string& name, const Net& dense, const Net& n, const esp::Mask& mask, double finding) {
    const auto time = [&](esp::Index batch) {
      esp::Frozen<Device, Net> before(device, dense), after(device, n);
      const auto x = esp::Tensor<Device>::full(device, image.with(0, batch), 0.5F);
      const auto [slow, fast] = in_turns([&] { (void)before(x); }, [&] { (void)after(x); }, arguments.quick ? 3 : 400);
      return esp::str(esp::format_fixed(slow / fast, 2), " x");
    };
    const auto cost = esp::cost<Device>(n, image);
    table.rows.push_back({name, esp::Cell::count(n.layers[0].weight.outside_shape()[0]), esp::Cell::count(n.layers[1].weight.outside_shape()[0]), esp::Cell::count(cost.parameters),
                          esp::Cell::count(cost.multiply_adds), esp::Cell::count(mask.survivors()), accuracy(n), time(1), time(128), finding > 0 ? esp::Cell::seconds(finding) : esp::Cell::none()});
  };
  add("none", net, net, esp::Mask::ones(net), 0);

  // Each mask is fine-tuned for one epoch; in rounds, each takes four fifths of the sparsity that is left.
  const auto cut = [&](const std::string& name, const Net& start, const esp::Mask& mask) {
    Net tuned = esp::mask(device, start, mask);
    if (sets) {
      auto once = recipe;
      once.epochs = 1;
      esp::Trainer trainer(device, tuned, sets->train, once);
      trainer.set_mask(mask);
      trainer.run();
    }
    const esp::SteadySeconds now;
    const double begin = now();
    const auto slim = esp::remove_dead(device, tuned, image, mask);
    add(name, tuned, slim.net, slim.mask, now() - begin);
    return tuned;
  };
  for (const double sparsity : {0.9, 0.95, 0.98, 0.99}) {
    const std::string percent = esp::format_percent(sparsity, 0);
    cut(esp::str("magnitude ", percent), net, esp::GlobalMagnitude{.sparsity = sparsity}.first(device, net));
  }
  esp::Mask mask = esp::Mask::ones(net);
  Net tuned = net;
  for (const double sparsity : {0.8, 0.9, 0.95, 0.98, 0.99}) {
    mask = esp::GlobalMagnitude{.sparsity = sparsity}.next(device, tuned, mask);
    tuned = cut(esp::str("in rounds, ", esp::format_percent(sparsity, 0)), tuned, mask);
  }
  cut("random 99%", net, esp::Unstructured<esp::Random, esp::Scope::global>{.sparsity = 0.99}.first(device, net));
  table.notes = {"Times: how many times as fast as the masked network, which is as fast as the dense one. Each mask is fine-tuned for one epoch."};
  if (arguments.json) std::cout << to_json(table).dump() << '\n';
  else std::cout << to_text(table, 140, esp::standard_output().utf8);
}
