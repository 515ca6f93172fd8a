// SPDX-License-Identifier: Apache-2.0
// Ten steps of LeNet-300-100 against PyTorch, with four optimisers.
#include <doctest/doctest.h>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/models/mlp.hpp>

#include "golden/trajectory.hpp"

using namespace espalier;
using namespace espalier::test;

namespace lenet_test {

namespace {

const std::vector<std::string> optimisers{"adam", "adamw", "sgd", "nesterov"};

template <Backend B>
void run(B& b, const Closeness& close) {
  const auto folder = golden_folder();
  if (!folder) return;
  for (const auto& optimiser : optimisers) {
    CAPTURE(optimiser);
    repeat<Adam, AdamW, Sgd>(Trajectory(*folder, "lenet300100_" + optimiser), b, models::Mlp<B>(b, models::lenet_300_100, Rng(0)), close);
  }
}

}  // namespace

TEST_CASE("the golden files' formula gives the README's numbers") {
  const Formula formula("lenet300100.52/fc1.weight");
  CHECK(formula.seed() == 0xb6efb5dda5b27bb7u);
  CHECK(formula.bits(0) == 1021890);
  CHECK(formula.bits(1) == 455753);
  CHECK(formula.bits(2) == 53714);
  CHECK(formula.bits(3) == 88509);
  CHECK(0.0625 * formula(0) == 0.05931878089904785);
}

TEST_CASE("ten steps of LeNet-300-100 on EigenCpu follow PyTorch") {
  EigenCpu b({.threads = 2});
  run(b, in_float);
}

TEST_CASE("ten steps of LeNet-300-100 in double are PyTorch's to 1e-9") {
  BasicReference<double> b;
  run(b, in_double);
}

}  // namespace lenet_test
