// SPDX-License-Identifier: Apache-2.0
// The criterion of single weights in docs/guide/write-a-criterion.md, compiled and run.
#include <doctest/doctest.h>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/prune/score_collector.hpp>
#include <espalier/prune/unstructured.hpp>
#include <espalier/train/loop.hpp>

#include "train/toys.hpp"

using namespace espalier;

namespace {

// example-begin weight-criterion
/// w^2 times the sum of its squared gradients: the rise of the loss without w, as optimal brain damage has it (LeCun et
/// al. 1990), with squared gradients for curvature.
struct Fisher {
  static constexpr std::string_view collects = "Fisher";
  struct Gather {  // what one step of training adds
    template <class T>
    ESPALIER_HD void operator()(Index, T& sum, const T&, const T& gradient) const { sum += gradient * gradient; }
  };
  bool operator==(const Fisher&) const = default;

  void score(const WeightTensor& tensor, std::span<float> out) const {
    if (tensor.collected.empty()) throw PolicyError(tensor.path + ": Fisher needs scores; pass those of a collector");
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = tensor.values[i] * tensor.values[i] * tensor.collected[i];
  }
  friend std::ostream& operator<<(std::ostream& to, const Fisher&) { return to << "Fisher{}"; }
};
static_assert(WeightCriterion<Fisher> && GatherRule<Fisher>);
// example-end weight-criterion

}  // namespace

TEST_CASE("a criterion of single weights, with a rule of what training gathers") {
  EigenCpu device({.threads = 2});
  const auto images = test::toy_images(64, 1);
  const TrainOptions<> options{.epochs = 2, .batch = 16, .schedule = {.value = 0.05}, .normalise = test::toy_channels(), .seed = 1};
  test::ToyNet<EigenCpu> net(device, Rng(1));

  // example-begin weight-criterion-use
  ScoreCollector<Fisher, EigenCpu> fisher;
  train(device, net, images, options, fisher);
  const Unstructured<Fisher, Scope::layer> policy{.remove = 0.5};
  const Mask mask = policy.first(device, net, fisher.scores(device));
  // example-end weight-criterion-use
  for (const MaskPart& part : mask.parts()) CHECK(part.survivors() == part.weights() - part.weights() / 2);
  CHECK(mask != LayerMagnitude{.remove = 0.5}.first(device, net));
  CHECK_THROWS_AS(policy.first(device, net), PolicyError);
}
