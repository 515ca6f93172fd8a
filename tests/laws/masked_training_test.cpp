// SPDX-License-Identifier: Apache-2.0
// Law: what a plan removes stays dead through momentum and weight decay, so training the masked network
// is training the shrunk one.
#include <doctest/doctest.h>

#include <espalier/backend/reference.hpp>
#include <espalier/prune/filter_l1.hpp>
#include <espalier/train/adam.hpp>
#include <espalier/train/sgd.hpp>

#include "agreement.hpp"

using namespace espalier;
using namespace espalier::test;

namespace masked_training_test {

using R = Reference;

namespace {

const Shape image{1, RandomNet<R>::side, RandomNet<R>::side, RandomNet<R>::in};

template <class Run>
void train(R& r, RandomNet<R>& net, Run& run) {
  for (std::uint64_t i = 0; i < 6; ++i) {
    Tape<R> tape(r);
    const auto y = forward(tape, net, tape.input(random_images(r, image.with(0, 4), Rng(100 + i))));
    tape.backward(tape.apply(op::MeanSquaredError{}, y, tape.input(random_images(r, y.shape(), Rng(200 + i)))));
    run.step(r, net, 0.01);
  }
}

}  // namespace

TEST_CASE_TEMPLATE("masked training is shrunk training, and the dead stay dead", Optimiser, Sgd, AdamW) {
  R r;
  int trained = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    RandomNet<R> net(r, seed);
    CAPTURE(seed);
    CAPTURE(net.kinds);
    season(r, net, image, seed);
    clear_gradients(net);
    std::optional<Plan> p;
    try {
      p = plan(r, net, image, FilterL1{.amount = Fraction{0.4}, .linear = LinearLayers::prune, .keep_at_least = 1});
    } catch (const PolicyError&) {
      continue;
    }
    ++trained;
    auto masked = mask(r, net, *p), slim = shrink(r, net, *p);
    const Mask zeros_and_ones = mask_of<R>(net, *p);
    Optimiser policy;
    policy.weight_decay = 0.05;
    auto masked_run = policy.over(r, masked), slim_run = policy.over(r, slim);
    masked_run.set_mask(r, masked, zeros_and_ones);
    const auto x = random_images(r, image.with(0, 4), Rng(2));
    const auto before = predict(r, slim, x).to_host(r);
    train(r, masked, masked_run);
    train(r, slim, slim_run);

    const auto after = predict(r, slim, x).to_host(r);
    CHECK(difference(before, after) > 1e-3);  // something was learnt
    CHECK(difference(predict(r, masked, x).to_host(r), after) <= 1e-4);
    for_each_parameter(masked, [&](const std::string& path, const auto& parameter) {
      const MaskPart* part = zeros_and_ones.find(path);
      if (part == nullptr) return;
      const HostTensor host = to_host(r, parameter);
      for (std::size_t i = 0; i < host.values.size(); ++i)
        if (!part->alive(static_cast<Index>(i))) CHECK(host.values[i] == 0);
    });
  }
  CHECK(trained > 30);
}

}  // namespace masked_training_test
