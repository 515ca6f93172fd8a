// SPDX-License-Identifier: Apache-2.0
// Dense, masked and shrunk side by side: a mask makes nothing smaller or faster, shrinking does.
//   pruning [--threads N] [--json] [--quick]
#include "harness.hpp"

#include <espalier/espalier.hpp>
#include <espalier/prune/papers.hpp>

namespace {

using Device = espalier::EigenCpu;

template <class Net>
void compare(bench::Suite& suite, Device& device, const std::string& name, const Net& dense, const espalier::FilterL1& policy) {
  namespace esp = espalier;
  const esp::Shape image{1, 32, 32, 3};
  const auto plan = esp::plan(device, dense, image, policy);
  const auto time = [&](const std::string& what, const Net& net, esp::Index batch) {
    esp::Frozen<Device, Net> frozen(device, net);
    const auto x = esp::Tensor<Device>::full(device, image.with(0, batch), 0.5f);
    suite.run(esp::str(name, ", batch ", batch, ", ", what), 2.0 * static_cast<double>(esp::cost<Device>(net, image).multiply_adds * batch), [&] { (void)frozen(x); });
  };
  for (const esp::Index batch : {1, 32}) {
    time("dense", dense, batch);
    time("masked", esp::mask(device, dense, plan), batch);
    time("shrunk", esp::shrink(device, dense, plan), batch);
  }
}

}  // namespace

int main(int argc, char** argv) {
  namespace esp = espalier;
  const bench::Arguments arguments(argc, argv);
  Device device({.threads = arguments.threads});
  bench::Suite suite("inference, dense against masked against shrunk", arguments);
  compare(suite, device, "VGG-16-A", esp::models::Vgg<Device>(device, esp::models::vgg16, esp::Rng(1)), esp::papers::li2017::vgg16_a());
  compare(suite, device, "VGG-16, half", esp::models::Vgg<Device>(device, esp::models::vgg16, esp::Rng(1)), {.amount = esp::Fraction{0.5}});
  compare(suite, device, "ResNet-56-B", esp::models::ResNetCifar<Device>(device, {.depth = 56}, esp::Rng(1)), esp::papers::li2017::resnet56_b());
  suite.print(arguments.json);
}
