// expect: the policy must say how much goes: FilterL1\{.amount = Fraction\{0.5\}\}
// SPDX-License-Identifier: Apache-2.0
// A criterion ranks channels; it does not say how many of them go.
#include <espalier/backend/reference.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/prune/planning.hpp>

espalier::Plan half(espalier::Reference& device, const espalier::models::Mlp<espalier::Reference>& net) {
#ifdef ESPALIER_FIXED
  return plan(device, net, {1, 784}, espalier::Structured<espalier::L1Norm>{.amount = espalier::Fraction{0.5}});
#else
  return plan(device, net, {1, 784}, espalier::L1Norm{});
#endif
}
