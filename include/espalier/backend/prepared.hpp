// SPDX-License-Identifier: Apache-2.0
// What a backend may offer beyond the contract: linear weights prepared once, for inference. Whatever is
// built on it keeps the contract's products on a backend that offers none.
#pragma once

#include <concepts>
#include <span>

#include <espalier/backend/concept.hpp>

namespace espalier {

/// A PackingBackend multiplies by weights whose order it has changed beforehand.
///
/// Write
///   B::PackedWeights                                  owns the packed weights
///   pack_weights(inputs, outputs, w)                  w [inputs, outputs], as linear layers keep it
///   packed_product(rows, packed, x, y, epilogue)      y = activation(x w + bias); x [rows, inputs], y [rows, outputs]
/// Laws      agrees with gemm (tests/conformance/prepared.hpp); equal inputs give equal bits, for any number of threads.
/// Models    EigenCpu.
template <class B>
concept PackingBackend = Backend<B> &&
    requires(B& b, Index n, typename B::template Pointer<const typename B::Scalar> in, typename B::template Pointer<typename B::Scalar> out,
             const typename B::PackedWeights& packed, const Epilogue<B>& epilogue) {
      { b.pack_weights(n, n, in) } -> std::same_as<typename B::PackedWeights>;
      b.packed_product(n, packed, in, out, epilogue);
    };

/// A SparseBackend multiplies by the weights that are not zero only.
///
/// Write
///   B::SparseWeights                                  owns the weights that are not exactly zero
///   sparse_weights(outputs, inputs, w)                from the host; w [outputs, inputs], as files and masks see it
///   sparse_product(rows, sparse, x, y, epilogue)      y = activation(x w^T + bias); x [rows, inputs], y [rows, outputs]
/// Laws      agrees with gemm where x is finite (a zero meets no infinity); equal inputs give equal bits, for any
///           number of threads.
/// Models    EigenCpu.
template <class B>
concept SparseBackend = Backend<B> &&
    requires(B& b, Index n, std::span<const float> host, typename B::template Pointer<const typename B::Scalar> in,
             typename B::template Pointer<typename B::Scalar> out, const typename B::SparseWeights& sparse, const Epilogue<B>& epilogue) {
      { b.sparse_weights(n, n, host) } -> std::same_as<typename B::SparseWeights>;
      b.sparse_product(n, sparse, in, out, epilogue);
    };

}  // namespace espalier
