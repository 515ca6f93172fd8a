// SPDX-License-Identifier: Apache-2.0
// Times training steps and inference on request, one line of JSON a command: a child of
// bench/pytorch/compare.py, which describes the workloads and the protocol.
#include "serve.hpp"

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/espalier.hpp>
#include <espalier/train/adam.hpp>
#include <espalier/train/sgd.hpp>

namespace esp = espalier;
using Device = esp::EigenCpu;
using Workload = bench::Iteration;

namespace {

esp::Tensor<Device> noise(Device& device, const esp::Shape& shape) {
  esp::Rng rng(1);
  std::vector<float> values(static_cast<std::size_t>(shape.count()));
  for (float& v : values) v = rng.normal();
  return esp::Tensor<Device>::from(device, shape, values);
}

template <class Net, class Policy>
Workload training(Device& device, Net net, const esp::Shape& input, Policy policy, double lr) {
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
Workload inference(Device& device, Net net, const esp::Shape& input) {
  auto frozen = std::make_shared<esp::Frozen<Device, Net>>(device, std::move(net));
  auto images = std::make_shared<esp::Tensor<Device>>(noise(device, input));
  return [frozen, images] { (void)(*frozen)(*images); };
}

}  // namespace

int main(int argc, char** argv) {
  int threads = 2;
  bool quick = false;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--threads" && i + 1 < argc) threads = std::atoi(argv[i + 1]);
    quick = quick || std::string(argv[i]) == "--quick";
  }
  Device device({.threads = threads});
  const esp::Rng rng(1);
  const esp::Sgd sgd{.momentum = 0.9, .weight_decay = 1e-4};
  const auto vgg = [&] { return esp::models::Vgg<Device>(device, esp::models::vgg16, rng); };
  const auto resnet = [&] { return esp::models::ResNetCifar<Device>(device, {.depth = 56, .shortcut = esp::models::ShortcutA::pad_after}, rng); };
  const auto lenet = [&] { return esp::models::Mlp<Device>(device, esp::models::lenet_300_100, rng); };
  const esp::Shape image{1, 32, 32, 3}, vector{1, 784};

  bench::Workloads workloads;
  workloads["vgg16/train128"]["fast"] = [&] { return training(device, vgg(), image.with(0, 128), sgd, 1e-3); };
  workloads["resnet56/train128"]["fast"] = [&] { return training(device, resnet(), image.with(0, 128), sgd, 1e-3); };
  workloads["lenet300100/train60"]["fast"] = [&] { return training(device, lenet(), vector.with(0, 60), sgd, 1e-3); };
  workloads["lenet300100/train60adam"]["fast"] = [&] { return training(device, lenet(), vector.with(0, 60), esp::Adam{}, 1.2e-3); };
  for (const esp::Index batch : {1, 32}) {
    const std::string suffix = "/infer" + std::to_string(batch);
    workloads["vgg16" + suffix]["fast"] = [&, batch] { return inference(device, vgg(), image.with(0, batch)); };
    workloads["resnet56" + suffix]["fast"] = [&, batch] { return inference(device, resnet(), image.with(0, batch)); };
    workloads["lenet300100" + suffix]["fast"] = [&, batch] { return inference(device, lenet(), vector.with(0, batch)); };
  }
  if (quick) bench::try_all(workloads);
  else bench::serve(threads, workloads);
}
