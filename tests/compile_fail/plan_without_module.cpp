// expect: the network must be a Module: a struct whose static members\(self, visit\) lists its parameters by name
// SPDX-License-Identifier: Apache-2.0
// A network that does not list its parameters cannot be pruned.
#include <espalier/backend/reference.hpp>
#include <espalier/nn/layers.hpp>
#include <espalier/prune/planning.hpp>

struct Net {
  espalier::Linear<espalier::Reference> layer;
#ifdef ESPALIER_FIXED
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("layer", self.layer);
  }
#endif
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    return espalier::forward(ctx, self.layer, x);
  }
};

espalier::Plan half(espalier::Reference& device, const Net& net) {
  return plan(device, net, {1, 784}, espalier::Structured<espalier::L1Norm>{});
}
