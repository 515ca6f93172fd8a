// expect: evaluate must take the network and give a number
// SPDX-License-Identifier: Apache-2.0
// A scan needs one number a network, not all that is known about it.
#include <espalier/backend/reference.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/prune/filter_l1.hpp>
#include <espalier/prune/sensitivity.hpp>

struct Evaluation {
  double accuracy = 0, loss = 0;
};

espalier::SensitivityScan curves(espalier::Reference& device, const espalier::models::Mlp<espalier::Reference>& net) {
  const auto evaluate = [](const auto&) { return Evaluation{}; };
#ifdef ESPALIER_FIXED
  const auto score = [&](const auto& slim) { return evaluate(slim).accuracy; };
#else
  const auto score = evaluate;
#endif
  return sensitivity(device, net, {1, 784}, espalier::FilterL1{}, {0.5}, score);
}
