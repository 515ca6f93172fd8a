// SPDX-License-Identifier: Apache-2.0
// Convolutions over channels-last maps: chooses the algorithm for a shape. The choice depends on the
// shape alone, never on the number of threads.
#pragma once

#include <espalier/backend/detail/depthwise.hpp>
#include <espalier/backend/detail/gemm.hpp>
#include <espalier/backend/detail/im2col.hpp>
#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/backend/detail/tile.hpp>
#include <espalier/backend/detail/workspace.hpp>
#include <espalier/backend/geometry.hpp>

namespace espalier::detail {

/// `direct` adds products as the definition does. `winograd2` and `winograd4` use fewer products for 3 x 3
/// kernels of stride 1 at the price of rounding errors (some 2 and 50 times larger); where they do
/// not apply, the direct way is taken. `automatic` takes what is fastest for the shape.
enum class ConvAlgorithm { automatic, direct, winograd2, winograd4 };

/// Weights of one convolution, packed for the algorithm that will run. Valid for any n. Move-only.
class PackedConv {
 public:
  PackedConv() = default;
  ConvAlgorithm algorithm() const { return algorithm_; }
  const float* data() const { return floats_.data(); }
  bool empty() const { return floats_.size() == 0; }

 private:
  friend PackedConv pack_conv(const ConvShape&, const float*, ConvAlgorithm);
  ConvAlgorithm algorithm_ = ConvAlgorithm::direct;
  AlignedFloats floats_;
};

/// Packs weights [kernel_h, kernel_w, in / groups, out] once, for inference.
inline PackedConv pack_conv(const ConvShape& s, const float* w, ConvAlgorithm = ConvAlgorithm::automatic) {
  PackedConv packed;
  if (is_depthwise(s)) return packed;
  const ConvSizes z(s);
  ThreadPool inline_pool(1);
  packed.floats_ = AlignedFloats(s.groups * packed_size(z.k, z.out));
  pack_conv_panels(inline_pool, s, w, packed.floats_.data());
  return packed;
}

/// y = epilogue(x * w).
/// Shapes   x [n, h, w, in], w [kernel_h, kernel_w, in / groups, out], y [n, out_h, out_w, out].
inline void conv_forward(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* x, const float* w, float* y,
                         const Epilogue& epilogue = {}, const PackedConv* packed = nullptr,
                         ConvAlgorithm = ConvAlgorithm::automatic) {
  if (s.n <= 0) return;
  if (is_depthwise(s)) return depthwise_forward(pool, s, x, w, y, epilogue);
  const float* panels = packed != nullptr && !packed->empty() ? packed->data() : nullptr;
  if (panels == nullptr) {
    const ConvSizes z(s);
    float* own = ws.shared<float>(0, s.groups * packed_size(z.k, z.out));
    pack_conv_panels(pool, s, w, own);
    panels = own;
  }
  im2col_forward(pool, ws, s, x, panels, y, epilogue);
}

/// dx (+)= the gradient of the input, from that of the output.
inline void conv_backward_input(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* dy, const float* w, float* dx,
                                Store store, ConvAlgorithm = ConvAlgorithm::automatic) {
  if (s.n <= 0) return;
  if (is_depthwise(s)) return depthwise_backward_input(pool, s, dy, w, dx, store);
  im2col_backward_input(pool, ws, s, dy, w, dx, store);
}

/// dw (+)= the gradient of the weights, summed over the batch.
inline void conv_backward_weights(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* x, const float* dy,
                                  float* dw, Store store, ConvAlgorithm = ConvAlgorithm::automatic) {
  if (is_depthwise(s)) return depthwise_backward_weights(pool, ws, s, x, dy, dw, store);
  im2col_backward_weights(pool, ws, s, x, dy, dw, store);
}

}  // namespace espalier::detail
