// SPDX-License-Identifier: Apache-2.0
// Training steps and inference of whole networks: VGG-16, ResNet-56 and LeNet-300-100, as bench/pytorch/README.md lists
// them. The work is three products a layer for training: forward, and the gradients of its weights and of its input,
// that of the images included, which nothing computes.
//   steps [--threads N] [--json] [--quick]
//   steps --serve [--threads N]     a child of bench/pytorch/compare.py
#include "harness.hpp"
#include "serve.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/espalier.hpp>
#include <espalier/train/adam.hpp>
#include <espalier/train/sgd.hpp>

namespace esp = espalier;
using Device = esp::EigenCpu;

namespace {

/// What is timed, the work of one iteration, and what builds it.
struct Workload {
  std::string name;
  double flops;
  std::function<bench::Iteration()> make;
};

esp::Tensor<Device> noise(Device& device, const esp::Shape& shape) {
  esp::Rng rng(1);
  std::vector<float> values(static_cast<std::size_t>(shape.count()));
  for (float& v : values) v = rng.normal();
  return esp::Tensor<Device>::from(device, shape, values);
}

template <class Net, class Policy>
bench::Iteration training(Device& device, Net net, const esp::Shape& input, Policy policy, double lr) {
  struct State {
    Net net;
    esp::Tensor<Device> images;
    esp::Ids<Device> labels;
    esp::Tape<Device> tape;
    esp::OptimizerRun<Policy, Device> run;
  };
  std::vector<std::int32_t> classes(static_cast<std::size_t>(input[0]));
  for (std::size_t i = 0; i < classes.size(); ++i) classes[i] = static_cast<std::int32_t>(i % 10);
  esp::OptimizerRun<Policy, Device> run(policy, device, net);
  auto labels = esp::Ids<Device>::from(device, {input[0]}, classes);
  std::shared_ptr<State> s(new State{std::move(net), noise(device, input), std::move(labels), esp::Tape<Device>(device), std::move(run)});
  return [s, &device, lr] {
    s->tape.clear();
    const auto logits = esp::forward(s->tape, s->net, s->tape.input(s->images));
    const auto loss = s->tape.apply(esp::op::CrossEntropy<Device>{&s->labels}, logits);
    s->tape.backward(loss);
    s->run.step(device, s->net, lr);
  };
}

template <class Net>
bench::Iteration inference(Device& device, Net net, const esp::Shape& input) {
  auto frozen = std::make_shared<esp::Frozen<Device, Net>>(device, std::move(net));
  auto images = std::make_shared<esp::Tensor<Device>>(noise(device, input));
  return [frozen, images] { (void)(*frozen)(*images); };
}

}  // namespace

int main(int argc, char** argv) {
  const bench::Arguments arguments(argc, argv);
  Device device({.threads = arguments.threads});
  const esp::Rng rng(1);
  const auto vgg = [&] { return esp::models::Vgg<Device>(device, esp::models::vgg16, rng); };
  const auto resnet = [&] { return esp::models::ResNetCifar<Device>(device, {.depth = 56, .shortcut = esp::models::ShortcutA::pad_after}, rng); };
  const auto lenet = [&] { return esp::models::Mlp<Device>(device, esp::models::lenet_300_100, rng); };
  const esp::Shape image{1, 32, 32, 3}, vector{1, 784};

  std::vector<Workload> workloads;
  const auto macs = [](const auto& net, const esp::Shape& input) { return static_cast<double>(esp::cost<Device>(net, input).multiply_adds); };
  const auto train = [&](const std::string& name, auto net, const esp::Shape& input, auto policy, double lr) {
    workloads.push_back({name, 6 * macs(net(), input), [=, &device] { return training(device, net(), input, policy, lr); }});
  };
  const auto infer = [&](const std::string& name, auto net, const esp::Shape& input) {
    workloads.push_back({name, 2 * macs(net(), input), [=, &device] { return inference(device, net(), input); }});
  };
  const esp::Sgd sgd{.momentum = 0.9, .weight_decay = 1e-4};
  train("vgg16/train128", vgg, image.with(0, 128), sgd, 1e-3);
  train("resnet56/train128", resnet, image.with(0, 128), sgd, 1e-3);
  train("lenet300100/train60", lenet, vector.with(0, 60), sgd, 1e-3);
  train("lenet300100/train60adam", lenet, vector.with(0, 60), esp::Adam{}, 1.2e-3);
  for (const esp::Index batch : {1, 32}) {
    const std::string suffix = "/infer" + std::to_string(batch);
    infer("vgg16" + suffix, vgg, image.with(0, batch));
    infer("resnet56" + suffix, resnet, image.with(0, batch));
    infer("lenet300100" + suffix, lenet, vector.with(0, batch));
  }

  if (std::find(argv, argv + argc, std::string("--serve")) != argv + argc) {
    bench::Workloads served;
    for (const Workload& w : workloads) served[w.name]["fast"] = w.make;
    bench::serve(arguments.threads, served);
    return 0;
  }
  bench::Suite suite("training steps and inference", arguments);
  for (const Workload& w : workloads) suite.run(w.name, w.flops, w.make());
  suite.print(arguments.json);
}
