// SPDX-License-Identifier: Apache-2.0
// A user's first program: the headers are found, Eigen and threads with them, and a network has its known size.
#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/espalier.hpp>

#include <cstdio>

int main() {
  espalier::EigenCpu device({.threads = 2});
  const espalier::models::Mlp<espalier::EigenCpu> lenet(device, espalier::models::lenet_300_100, espalier::Rng(1));
  std::printf("espalier %s: %lld parameters\n", ESPALIER_VERSION, static_cast<long long>(espalier::parameter_count(lenet)));
}
