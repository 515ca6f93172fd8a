// SPDX-License-Identifier: Apache-2.0
// Times training steps and inference on request, one line of JSON a command: a child of
// bench/pytorch/compare.py, which describes the workloads and the protocol.
#include <chrono>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/espalier.hpp>
#include <espalier/train/adam.hpp>
#include <espalier/train/sgd.hpp>

namespace esp = espalier;
using Device = esp::EigenCpu;
using Workload = std::function<void()>;  // one iteration

namespace {

double seconds_of(const Workload& iteration) {
  const auto start = std::chrono::steady_clock::now();
  iteration();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

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
  for (int i = 1; i + 1 < argc; ++i)
    if (std::string(argv[i]) == "--threads") threads = std::atoi(argv[i + 1]);
  Device device({.threads = threads});
  const esp::Rng rng(1);
  const esp::Sgd sgd{.momentum = 0.9, .weight_decay = 1e-4};
  const auto vgg = [&] { return esp::models::Vgg<Device>(device, esp::models::vgg16, rng); };
  const auto resnet = [&] { return esp::models::ResNetCifar<Device>(device, {.depth = 56, .shortcut = esp::models::ShortcutA::pad_after}, rng); };
  const auto lenet = [&] { return esp::models::Mlp<Device>(device, esp::models::lenet_300_100, rng); };
  const esp::Shape image{1, 32, 32, 3}, vector{1, 784};

  std::map<std::string, std::function<Workload()>> workloads;
  workloads["vgg16/train128"] = [&] { return training(device, vgg(), image.with(0, 128), sgd, 1e-3); };
  workloads["resnet56/train128"] = [&] { return training(device, resnet(), image.with(0, 128), sgd, 1e-3); };
  workloads["lenet300100/train60"] = [&] { return training(device, lenet(), vector.with(0, 60), sgd, 1e-3); };
  workloads["lenet300100/train60adam"] = [&] { return training(device, lenet(), vector.with(0, 60), esp::Adam{}, 1.2e-3); };
  for (const esp::Index batch : {1, 32}) {
    const std::string suffix = "/infer" + std::to_string(batch);
    workloads["vgg16" + suffix] = [&, batch] { return inference(device, vgg(), image.with(0, batch)); };
    workloads["resnet56" + suffix] = [&, batch] { return inference(device, resnet(), image.with(0, batch)); };
    workloads["lenet300100" + suffix] = [&, batch] { return inference(device, lenet(), vector.with(0, batch)); };
  }

  std::map<std::string, Workload> built;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, name, mode;
    int iterations = 0;
    words >> command >> name >> mode >> iterations;
    if (command == "quit") break;
    if (command == "list") {
      std::cout << "{\"program\": \"espalier " ESPALIER_VERSION "\", \"threads\": " << threads << ", \"workloads\": {";
      const char* separator = "";
      for (const auto& [workload, make] : workloads) std::cout << std::exchange(separator, ", ") << '"' << workload << "\": [\"fast\"]";
      std::cout << "}}" << std::endl;
    } else if (command == "time" && workloads.contains(name) && mode == "fast" && iterations > 0) {
      if (!built.contains(name)) {
        built[name] = workloads[name]();
        double warm = 0;
        for (int i = 0; i < 3 || warm < 0.5; ++i) warm += seconds_of(built[name]);
      } else {
        built[name]();
      }
      std::cout << "{\"workload\": \"" << name << "\", \"mode\": \"fast\", \"seconds\": [";
      for (int i = 0; i < iterations; ++i) std::cout << (i ? ", " : "") << seconds_of(built[name]);
      std::cout << "]}" << std::endl;
    } else {
      std::cout << "{\"error\": \"needed is 'list', 'time WORKLOAD fast ITERATIONS' with a listed workload, or 'quit'\"}" << std::endl;
    }
  }
}
