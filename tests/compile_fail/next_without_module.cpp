// expect: next\(device, net, mask\): the network must be a Module: a struct whose static members\(self, visit\) lists its parameters by name
// SPDX-License-Identifier: Apache-2.0
// A network is a struct that lists its parameters.
#include <espalier/backend/reference.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/prune/unstructured.hpp>

using namespace espalier;

#ifdef ESPALIER_FIXED
using Net = models::Mlp<Reference>;
#else
using Net = std::vector<float>;
#endif

Mask decide(Reference& b, const Net& net, const Mask& mask) { return GlobalMagnitude{.remove = 0.2}.next(b, net, mask); }
