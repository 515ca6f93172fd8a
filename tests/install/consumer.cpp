// SPDX-License-Identifier: Apache-2.0
// What a user's first program needs of an installed espalier: that its headers are found, and Eigen and threads with them.
#include <espalier/config.hpp>
#include <espalier/error.hpp>

#include <Eigen/Core>
#include <cstdio>
#include <thread>

int main() {
  std::jthread speak{[] { std::printf("espalier %s, Eigen %d\n", ESPALIER_VERSION, EIGEN_WORLD_VERSION); }};
}
