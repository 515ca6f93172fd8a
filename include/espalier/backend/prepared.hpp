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
///   pack_weights(inputs, outputs, w)                  w [inputs, outputs] as linear layers keep it
///   packed_product(rows, packed, x, y, epilogue)      y = activation(x w + bias); x [rows, inputs], y [rows, outputs]
/// Laws      agrees with gemm within the tolerances of tests/conformance/backend.hpp; equal inputs give equal bits.
/// Models    EigenCpu.
template <class B>
concept PackingBackend = Backend<B> &&
    requires(B& b, Index n, typename B::template Pointer<const typename B::Scalar> in, typename B::template Pointer<typename B::Scalar> out,
             const typename B::PackedWeights& packed, const Epilogue<B>& epilogue) {
      { b.pack_weights(n, n, in) } -> std::same_as<typename B::PackedWeights>;
      b.packed_product(n, packed, in, out, epilogue);
    };

/// A SparseBackend multiplies by the nonzero weights only, between activations in a layout of its own.
///
/// Write
///   B::SparseWeights                                  a value: the weights that are not exactly zero
///   sparse_weights(outputs, inputs, w)                from the host; w [outputs, inputs], as files and masks see it
///   sparse_elements(rows, channels)                   how many elements an activation takes in the sparse layout
///   to_sparse_layout(rows, channels, x, out)          from rows; what is more than rows * channels may hold anything finite
///   from_sparse_layout(rows, channels, in, y)         back into rows
///   sparse_product(weights, rows, x, y, epilogue)     y = activation(x w^T + bias), x and y in the sparse layout
/// Laws      agrees with gemm within the tolerances of tests/conformance/backend.hpp where x is finite; equal inputs give
///           equal bits, for any number of threads; rows and channels fix the layout, so element-wise ops may be
///           applied to all sparse_elements of it.
/// Models    EigenCpu.
template <class B>
concept SparseBackend = Backend<B> &&
    requires(B& b, Index n, std::span<const float> host, typename B::template Pointer<const typename B::Scalar> in,
             typename B::template Pointer<typename B::Scalar> out, const typename B::SparseWeights& weights, const Epilogue<B>& epilogue) {
      { b.sparse_weights(n, n, host) } -> std::same_as<typename B::SparseWeights>;
      { b.sparse_elements(n, n) } -> std::same_as<Index>;
      b.to_sparse_layout(n, n, in, out);
      b.from_sparse_layout(n, n, in, out);
      b.sparse_product(weights, n, in, out, epilogue);
    };

}  // namespace espalier
