// SPDX-License-Identifier: Apache-2.0
// Ten steps of ResNet-20 against PyTorch, with both forms of the parameterless shortcut.
#include <doctest/doctest.h>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/models/resnet_cifar.hpp>

#include "golden/trajectory.hpp"

using namespace espalier;
using namespace espalier::test;

namespace resnet_test {

namespace {

template <Backend B>
void run(B& b, const std::string& name, models::ShortcutA form, const Closeness& close) {
  const auto folder = golden_folder();
  if (!folder) return;
  repeat<Sgd>(Trajectory(*folder, name), b, models::ResNetCifar<B>(b, {.depth = 20, .shortcut = form}, Rng(0)), close);
}

}  // namespace

TEST_CASE("ten steps of ResNet-20 on EigenCpu follow PyTorch, zero channels on both sides") {
  EigenCpu b({.threads = 2});
  run(b, "resnet20_pad_both_sides", models::ShortcutA::pad_both_sides, in_float);
}

TEST_CASE("ten steps of ResNet-20 on EigenCpu follow PyTorch, average pool and zero channels behind") {
  EigenCpu b({.threads = 2});
  run(b, "resnet20_average_then_pad_after", models::ShortcutA::pad_after, in_float);
}

TEST_CASE("ten steps of ResNet-20 in double are PyTorch's to 1e-9, zero channels on both sides") {
  BasicReference<double> b;
  run(b, "resnet20_pad_both_sides", models::ShortcutA::pad_both_sides, in_double);
}

TEST_CASE("ten steps of ResNet-20 in double are PyTorch's to 1e-9, average pool and zero channels behind") {
  BasicReference<double> b;
  run(b, "resnet20_average_then_pad_after", models::ShortcutA::pad_after, in_double);
}

}  // namespace resnet_test
