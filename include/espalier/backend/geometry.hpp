// SPDX-License-Identifier: Apache-2.0
// The sizes that convolutions, poolings and matrix products are called with: plain aggregates,
// shared by every backend. Activations are channels-last (N H W C), convolution weights are
// [kernel_h, kernel_w, in / groups, out], linear weights are [in, out].
#pragma once

#include <cstdint>

namespace espalier {

/// Sizes and offsets inside the library. Signed, so that differences are safe.
using Index = std::int64_t;

/// What a fused epilogue applies to the result before it is stored.
enum class Activation { none, relu };

/// Whether a result replaces the destination or is added to it.
enum class Store { assign, add };

/// Which mean and variance a normalisation uses.
enum class Statistics { batch, running };

/// Whether an operand of a product is read as stored or transposed.
enum class Transpose { no, yes };

/// C[m, n] (+)= op(A)[m, k] * op(B)[k, n], op as `a` and `b` say; each row-major with its own leading dimension
/// (the distance between rows as stored, in elements).
struct GemmShape {
  Index m = 0, n = 0, k = 0;
  Transpose a = Transpose::no, b = Transpose::no;
  Index lda = 0, ldb = 0, ldc = 0;
  bool operator==(const GemmShape&) const = default;
};

/// A two-dimensional convolution: x [n, h, w, in] -> y [n, out_h, out_w, out],
/// weights [kernel_h, kernel_w, in / groups, out]; group g reads input channels
/// g * in / groups ... and writes output channels g * out / groups ...
struct ConvShape {
  Index n = 0, h = 0, w = 0, in = 0, out = 0;
  Index kernel_h = 1, kernel_w = 1;
  Index stride_h = 1, stride_w = 1;
  Index pad_h = 0, pad_w = 0;  // zeros on both sides
  Index groups = 1;
  bool operator==(const ConvShape&) const = default;

  constexpr Index out_h() const { return (h + 2 * pad_h - kernel_h) / stride_h + 1; }
  constexpr Index out_w() const { return (w + 2 * pad_w - kernel_w) / stride_w + 1; }
  constexpr Index weight_count() const { return kernel_h * kernel_w * (in / groups) * out; }
  constexpr Index multiply_adds() const {
    return n * out_h() * out_w() * out * kernel_h * kernel_w * (in / groups);
  }
};

/// A two-dimensional pooling window over x [n, h, w, c] -> y [n, out_h, out_w, c].
struct PoolShape {
  Index n = 0, h = 0, w = 0, c = 0;
  Index kernel_h = 2, kernel_w = 2;
  Index stride_h = 2, stride_w = 2;
  Index pad_h = 0, pad_w = 0;
  bool operator==(const PoolShape&) const = default;

  constexpr Index out_h() const { return (h + 2 * pad_h - kernel_h) / stride_h + 1; }
  constexpr Index out_w() const { return (w + 2 * pad_w - kernel_w) / stride_w + 1; }
};

}  // namespace espalier
