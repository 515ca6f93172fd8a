// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/models/resnet_cifar.hpp>
#include <espalier/models/vgg.hpp>
#include <espalier/op/loss.hpp>
#include <espalier/train/adam.hpp>
#include <espalier/train/sgd.hpp>

using namespace espalier;

namespace eigen_cpu_training_test {

namespace {

// Every weight and running statistic after three steps, and the logits of an evaluation.
template <class Net, class Policy>
std::vector<float> train(int threads, Policy policy, auto make) {
  EigenCpu b({.threads = threads});
  Net net = make(b);
  const Shape shape{5, 16, 16, 3};
  Rng rng(9);
  std::vector<float> pixels(static_cast<std::size_t>(shape.count()));
  for (float& p : pixels) p = rng.normal();
  const auto x = Tensor<EigenCpu>::from(b, shape, pixels);
  const auto labels = Ids<EigenCpu>::from(b, {5}, std::vector<std::int32_t>{0, 1, 2, 3, 4});
  auto optimiser = policy.over(b, net, {.clip_norm = 5});
  Tape<EigenCpu> tape(b);
  for (int step = 0; step < 3; ++step) {
    tape.clear();
    tape.backward(tape.apply(op::CrossEntropy<EigenCpu>{&labels}, forward(tape, net, tape.input(x))));
    optimiser.step(b, net, 0.01);
  }
  auto all = predict(b, net, x).to_host(b);
  for_each_member(net, [&](const std::string&, auto& member) {
    if constexpr (requires { member.value.to_host(b); }) {
      const auto values = member.value.to_host(b);
      all.insert(all.end(), values.begin(), values.end());
    }
  });
  return all;
}

template <class Net, class Policy>
void equal_bits(Policy policy, auto make) {
  const auto one = train<Net>(1, policy, make);
  for (float v : one) REQUIRE(std::isfinite(v));
  for (int threads : {1, 2, 3, 4, 7}) {
    CAPTURE(threads);
    CHECK(train<Net>(threads, policy, make) == one);
  }
}

}  // namespace

TEST_CASE("training a ResNet gives equal bits on 1, 2, 3, 4 and 7 threads") {
  using Net = models::ResNetCifar<EigenCpu>;
  equal_bits<Net>(Sgd{}, [](EigenCpu& b) { return Net(b, {.depth = 14, .widths = {16, 20, 33}}, Rng(1)); });
}

TEST_CASE("training a VGG gives equal bits on 1, 2, 3, 4 and 7 threads") {
  using Net = models::Vgg<EigenCpu>;
  equal_bits<Net>(Adam{}, [](EigenCpu& b) { return Net(b, {.stages = {{16, 17}, {32}, {40}}, .hidden = 50}, Rng(2)); });
}

}  // namespace eigen_cpu_training_test
