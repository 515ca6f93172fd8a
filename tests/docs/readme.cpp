// SPDX-License-Identifier: Apache-2.0
// The program on the first screen of README.md. The test docs/quoted compares it, and what it prints.
// example-begin readme
#include <iostream>
#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/espalier.hpp>
using namespace espalier;

int main() {
  EigenCpu device({.threads = 2});
  const Shape image{1, 32, 32, 3};  // batch, height, width, channels
  const models::Vgg<EigenCpu> vgg(device, models::vgg16, Rng(1));
  const FilterL1 policy{.amount = Widths{{32, 64, 128, 128, 256, 256, 256, 256, 256, 256, 256, 256, 256}}};
  const Plan cut = plan(device, vgg, image, policy);  // which filters go, and everything coupled to them
  const auto slim = shrink(device, vgg, cut);         // the same C++ type, narrower tensors
  for (const auto& net : {vgg, slim}) {
    const NetworkCost c = cost<EigenCpu>(net, image);
    std::cout << c.parameters << " parameters, " << c.multiply_adds << " multiply-adds\n";
  }
}
// example-end readme
