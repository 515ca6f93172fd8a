// SPDX-License-Identifier: Apache-2.0
// Planning, masking and shrinking on a backend whose memory the host cannot read.
#include <doctest/doctest.h>

#include <espalier/models/resnet_cifar.hpp>
#include <espalier/op/loss.hpp>
#include <espalier/prune/apply.hpp>
#include <espalier/prune/filter_l1.hpp>
#include <espalier/prune/planning.hpp>
#include <espalier/train/sgd.hpp>

#include "archetypes/opaque_backend.hpp"

using namespace espalier;
using Opaque = test::OpaqueBackend<float>;

namespace {

const Shape input{2, 8, 8, 3};

template <Backend B>
models::ResNetCifar<B> small_resnet(B& b) {
  return {b, {.depth = 8, .widths = {4, 8, 12}, .classes = 3}, Rng(2)};
}
template <Backend B>
Tensor<B> images(B& b) {
  Rng rng(3);
  std::vector<typename B::Scalar> pixels(static_cast<std::size_t>(input.count()));
  for (auto& p : pixels) p = rng.normal();
  return Tensor<B>::from(b, input, pixels);
}
template <Backend B>
std::vector<float> logits_of_shrunk(B& b) {
  const auto net = small_resnet(b);
  return predict(b, shrink(b, net, plan(b, net, input, FilterL1{.amount = Fraction{0.5}})), images(b)).to_host(b);
}

}  // namespace

TEST_CASE("a plan made on the archetype is the reference's, and the shrunk nets give equal bits") {
  Opaque opaque;
  Reference reference;
  const auto policy = FilterL1{.amount = Fraction{0.5}};
  CHECK(plan(opaque, small_resnet(opaque), input, policy) == plan(reference, small_resnet(reference), input, policy));
  CHECK(logits_of_shrunk(opaque) == logits_of_shrunk(reference));
}

TEST_CASE("on the archetype a masked and a shrunk net agree, and the shrunk one trains on") {
  Opaque b;
  auto net = small_resnet(b);
  const auto decision = plan(b, net, input, FilterL1{.amount = Fraction{0.5}});
  auto small = shrink(b, net, decision);
  CHECK(parameter_count(small) < parameter_count(net));
  const auto x = images(b);
  const auto masked = predict(b, mask(b, net, decision), x).to_host(b), shrunk = predict(b, small, x).to_host(b);
  for (std::size_t i = 0; i < masked.size(); ++i) CHECK(shrunk[i] == doctest::Approx(masked[i]).epsilon(1e-5));

  auto optimiser = Sgd{}.over(b, small);
  Tape<Opaque> tape(b);
  const auto labels = Ids<Opaque>::from(b, {2}, std::vector<std::int32_t>{0, 2});
  float first = 0, last = 0;
  for (int step = 0; step < 4; ++step) {
    tape.clear();
    const auto loss = tape.apply(op::CrossEntropy<Opaque>{&labels}, forward(tape, small, tape.input(x)));
    tape.backward(loss);
    optimiser.step(b, small, 0.02);
    last = loss.value().item(b);
    if (step == 0) first = last;
  }
  CHECK(last < first);
}
