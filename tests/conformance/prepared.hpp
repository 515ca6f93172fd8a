// SPDX-License-Identifier: Apache-2.0
// Conformance of what a backend may offer beyond the contract (backend/prepared.hpp): a product with packed or
// sparse weights is the product of the contract, which a backend without them runs here instead.
#pragma once

#include <espalier/autograd/parameter.hpp>
#include <espalier/backend/prepared.hpp>

#include "conformance/backend.hpp"

namespace espalier::test {

/// y = activation(x w^T + bias) from weights [outputs, inputs] on the host, of which `zeros` of 16 are zero.
template <Backend B>
void prepared_case(Script<B>& s, Index rows, Index outputs, Index inputs, std::uint32_t zeros, bool bias, Activation activation) {
  Rng rng(31);
  HostTensor w{{outputs, inputs}, std::vector<float>(static_cast<std::size_t>(outputs * inputs))};
  for (float& v : w.values) {
    const float value = rng.uniform() - 0.25f;
    v = rng.below(16) < zeros ? 0.0f : value;
  }
  const Tensor<B> inside = from_host(s.b, w, Layout::linear);
  const auto x = s.in(rows * inputs, -0.25, 1);  // sums that do not cancel
  Epilogue<B> epilogue{.activation = activation};
  if (bias) epilogue.bias = s.in(outputs);
  const GemmShape dense{.m = rows, .n = outputs, .k = inputs, .lda = inputs, .ldb = outputs, .ldc = outputs};

  const auto packed = s.out(rows * outputs), sparse = s.out(rows * outputs);
  if constexpr (PackingBackend<B>) s.b.packed_product(rows, s.b.pack_weights(inputs, outputs, inside.data()), x, packed, epilogue);
  else s.b.gemm(dense, x, inside.data(), packed, Store::assign, epilogue);
  if constexpr (SparseBackend<B>) s.b.sparse_product(rows, s.b.sparse_weights(outputs, inputs, w.values), x, sparse, epilogue);
  else s.b.gemm(dense, x, inside.data(), sparse, Store::assign, epilogue);
  s.record(str("prepared ", rows, " x ", outputs, " x ", inputs, ", ", zeros, "/16 zeros", bias ? ", bias" : "", say(activation)), Kind::product);
}

template <Backend B>
void prepared_script(Script<B>& s) {
  for (const Index rows : {1, 2, 7, 33, 64, 65, 150})
    for (const Index outputs : {1, 10, 40})
      for (const Index inputs : {1, 30, 300})
        for (const std::uint32_t zeros : {0u, 9u, 15u, 16u}) prepared_case(s, rows, outputs, inputs, zeros, rows % 2 == 1, rows % 3 == 0 ? Activation::relu : Activation::none);
  prepared_case(s, 130, 100, 2500, 14, true, Activation::relu);
}

/// Packed and sparse products, as far as a backend offers them.
struct prepared_records {
  template <Backend B>
  std::vector<Record> operator()(B& b) const {
    Script<B> script(b);
    prepared_script(script);
    return script.take();
  }
};

}  // namespace espalier::test
