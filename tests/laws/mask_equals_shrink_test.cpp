// SPDX-License-Identifier: Apache-2.0
// Law: a masked network and a shrunk one compute the same, whatever couples their channels.
#include <doctest/doctest.h>

#include <set>

#include <espalier/backend/reference.hpp>

#include "agreement.hpp"

using namespace espalier;
using namespace espalier::test;

namespace mask_equals_shrink_test {

using R = Reference;

namespace {

const Shape image{1, RandomNet<R>::side, RandomNet<R>::side, RandomNet<R>::in};

template <Criterion C>
Structured<C> policy_of(Rng& rng) {
  Structured<C> policy{.keep_at_least = 1};
  policy.linear = rng.bernoulli(0.5) ? LinearLayers::prune : LinearLayers::keep;
  policy.round_to = rng.bernoulli(0.3) ? 2 : 1;
  const double remove = 0.3 + 0.4 * rng.uniform_double();
  switch (rng.below(3)) {
    case 0: policy.amount = Fraction{remove}; break;
    case 1: policy.amount = PerLayer{{{"*", remove}}}; break;
    default: policy.amount = Global{.remove = 0.3, .scale = rng.bernoulli(0.5) ? Global::Scale::none : Global::Scale::group_mean};
  }
  if (!std::holds_alternative<Global>(policy.amount) && rng.bernoulli(0.3)) policy.selection = Selection::greedy;
  return policy;
}

// A plan for a random network, or none where no policy can find anything to prune in it.
std::optional<Plan> random_plan(R& r, const RandomNet<R>& net, Rng rng) {
  try {
    switch (rng.below(5)) {
      case 0: return plan(r, net, image, policy_of<L2Norm>(rng));
      case 1: return plan(r, net, image, policy_of<GeometricMedian>(rng));
      case 2: return plan(r, net, image, policy_of<Taylor>(rng));
      case 3: return plan(r, net, image, policy_of<Random>(rng));
      default: return plan(r, net, image, policy_of<L1Norm>(rng));
    }
  } catch (const PolicyError&) {
    return std::nullopt;
  }
}

}  // namespace

TEST_CASE("masked and shrunk random networks agree in outputs, gradients and running statistics") {
  R r;
  int planned = 0;
  std::set<std::string> met;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    RandomNet<R> net(r, seed);
    CAPTURE(seed);
    CAPTURE(net.kinds);
    season(r, net, image, seed);
    const auto p = random_plan(r, net, Rng(seed).split("policy"));
    if (!p) continue;
    CAPTURE(p->policy);
    ++planned;
    for (const auto& layer : net.layers) met.insert(kind_names[static_cast<std::size_t>(layer.kind)]);
    check_agreement(r, net, *p);
    check_plan(r, net, *p);
  }
  CHECK(planned > 200);
  CHECK(met.size() == kind_names.size());
}

}  // namespace mask_equals_shrink_test
