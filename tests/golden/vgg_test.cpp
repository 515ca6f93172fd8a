// SPDX-License-Identifier: Apache-2.0
// Ten steps of a small VGG against PyTorch.
#include <doctest/doctest.h>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/models/vgg.hpp>

#include "golden/trajectory.hpp"

using namespace espalier;
using namespace espalier::test;

namespace vgg_test {

namespace {

template <Backend B>
void run(B& b, const Closeness& close) {
  const auto folder = golden_folder();
  if (!folder) return;
  // The empty last stage adds the pool that the golden net has behind its last convolution.
  const models::VggConfig config{.stages = {{16}, {32}, {64}, {}}, .hidden = 64};
  repeat<Sgd>(Trajectory(*folder, "small_vgg"), b, models::Vgg<B>(b, config, Rng(0)), close);
}

}  // namespace

TEST_CASE("ten steps of a small VGG on EigenCpu follow PyTorch") {
  EigenCpu b({.threads = 2});
  run(b, in_float);
}

TEST_CASE("ten steps of a small VGG on EigenCpu without Winograd follow PyTorch") {
  EigenCpu b({.threads = 2, .convolution = ConvolutionMode::exact});
  run(b, in_float);
}

TEST_CASE("ten steps of a small VGG in double are PyTorch's to 1e-9") {
  BasicReference<double> b;
  run(b, in_double);
}

}  // namespace vgg_test
