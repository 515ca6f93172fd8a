// expect: apply\(\) needs an op: a struct with name, Saved, shape, forward, backward, channels and cost
// SPDX-License-Identifier: Apache-2.0
// A layer is run by forward(); only ops are applied.
#include <espalier/backend/reference.hpp>
#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>

auto run(espalier::Tape<espalier::Reference>& tape, espalier::Linear<espalier::Reference>& layer, espalier::Tensor<espalier::Reference> x) {
#ifdef ESPALIER_FIXED
  return forward(tape, layer, tape.input(std::move(x)));
#else
  return tape.apply(layer, tape.input(std::move(x)));
#endif
}
