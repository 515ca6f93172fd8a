// SPDX-License-Identifier: Apache-2.0
// Convolutions over channels-last maps: chooses the algorithm for a shape. The choice depends on the
// shape alone, never on the number of threads.
#pragma once

#include <espalier/backend/detail/depthwise.hpp>
#include <espalier/backend/detail/direct.hpp>
#include <espalier/backend/detail/gemm.hpp>
#include <espalier/backend/detail/im2col.hpp>
#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/backend/detail/tile.hpp>
#include <espalier/backend/detail/winograd.hpp>
#include <espalier/backend/detail/winograd_weights.hpp>
#include <espalier/backend/detail/workspace.hpp>
#include <espalier/backend/geometry.hpp>

namespace espalier::detail {

/// `direct` adds products as the definition does. `winograd2` and `winograd4` use fewer products for 3 x 3
/// kernels of stride 1 at the price of rounding errors (some 2 and 50 times larger); where they do
/// not apply, the direct way is taken. `automatic` takes what is fastest for the shape.
enum class ConvAlgorithm { automatic, direct, winograd2, winograd4 };

/// The algorithm that will run: never `automatic`, and `direct` wherever Winograd's does not apply. Counts
/// products, and for each weight that has to be fetched (and transformed, unless `packed`) as many products as take
/// that long: few images do not pay for the larger transformed weights.
constexpr ConvAlgorithm resolve(const ConvShape& s, ConvAlgorithm wanted, bool packed) {
  if (!winograd_applies(s)) return ConvAlgorithm::direct;
  if (wanted != ConvAlgorithm::automatic) return wanted;
  if (s.in < 16 || s.out < 16) return ConvAlgorithm::direct;
  const Index fetch = (s.in * s.out <= 128 * 128 ? 8 : 30) * (packed ? 1 : 3);
  const Index direct = 9 * (s.n * s.out_h() * s.out_w() + fetch);
  const Index two = 16 * (s.n * ceil_div(s.out_h(), 2) * ceil_div(s.out_w(), 2) + fetch);
  const Index four = 36 * (s.n * ceil_div(s.out_h(), 4) * ceil_div(s.out_w(), 4) + fetch);
  if (direct <= two && direct <= four) return ConvAlgorithm::direct;
  return two <= four ? ConvAlgorithm::winograd2 : ConvAlgorithm::winograd4;
}

/// Weights of one convolution, packed for the algorithm that is fastest at the n of their shape; right for any n. Move-only.
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

constexpr Index conv_panels_size(const ConvShape& s, ConvAlgorithm algorithm) {
  switch (algorithm) {
    case ConvAlgorithm::winograd2: return winograd_weights_size<2>(s.in, s.out);
    case ConvAlgorithm::winograd4: return winograd_weights_size<4>(s.in, s.out);
    default: return s.groups * packed_size(s.kernel_h * s.kernel_w * (s.in / s.groups), s.out / s.groups);
  }
}

inline void pack_conv_weights(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* w, ConvAlgorithm algorithm,
                              float* panels) {
  switch (algorithm) {
    case ConvAlgorithm::winograd2: return pack_winograd_weights<2>(pool, ws, s, w, true, panels);
    case ConvAlgorithm::winograd4: return pack_winograd_weights<4>(pool, ws, s, w, true, panels);
    default: return pack_conv_panels(pool, s, w, panels);
  }
}

/// Packs weights [kernel_h, kernel_w, in / groups, out] once, for inference.
inline PackedConv pack_conv(const ConvShape& s, const float* w, ConvAlgorithm wanted = ConvAlgorithm::automatic) {
  PackedConv packed;
  if (is_depthwise(s)) return packed;
  ThreadPool here(1);
  Workspace ws(1);
  packed.algorithm_ = resolve(s, wanted, true);
  packed.floats_ = AlignedFloats(conv_panels_size(s, packed.algorithm_));
  pack_conv_weights(here, ws, s, w, packed.algorithm_, packed.floats_.data());
  return packed;
}

/// y = epilogue(x * w). With `packed`, neither w nor `wanted` is looked at.
/// Shapes   x [n, h, w, in], w [kernel_h, kernel_w, in / groups, out], y [n, out_h, out_w, out].
inline void conv_forward(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* x, const float* w, float* y,
                         const Epilogue& epilogue = {}, const PackedConv* packed = nullptr,
                         ConvAlgorithm wanted = ConvAlgorithm::automatic) {
  if (s.n <= 0) return;
  if (is_depthwise(s)) return depthwise_forward(pool, s, x, w, y, epilogue);
  ConvAlgorithm algorithm = resolve(s, wanted, false);
  const float* panels = nullptr;
  if (packed != nullptr && !packed->empty()) {
    algorithm = packed->algorithm();
    panels = packed->data();
  } else {
    float* own = ws.shared<float>(0, conv_panels_size(s, algorithm));
    pack_conv_weights(pool, ws, s, w, algorithm, own);
    panels = own;
  }
  switch (algorithm) {
    case ConvAlgorithm::winograd2:
      return winograd_convolve<2>(pool, ws, WinogradMap::forward(s), x, panels, y, epilogue, Store::assign);
    case ConvAlgorithm::winograd4:
      return winograd_convolve<4>(pool, ws, WinogradMap::forward(s), x, panels, y, epilogue, Store::assign);
    default:
      if (direct_applies(s)) return direct_forward(pool, ws, s, x, panels, y, epilogue);
      return im2col_forward(pool, ws, s, x, panels, y, epilogue);
  }
}

template <int o>
void winograd_backward_input(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* dy, const float* w, float* dx,
                             Store store) {
  float* u = ws.shared<float>(0, winograd_weights_size<o>(s.out, s.in));
  pack_winograd_weights<o>(pool, ws, s, w, false, u);
  winograd_convolve<o>(pool, ws, WinogradMap::backward(s), dy, u, dx, {}, store);
}

/// dx (+)= the gradient of the input, from that of the output.
inline void conv_backward_input(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* dy, const float* w, float* dx,
                                Store store, ConvAlgorithm wanted = ConvAlgorithm::automatic) {
  if (s.n <= 0) return;
  if (is_depthwise(s)) return depthwise_backward_input(pool, s, dy, w, dx, store);
  switch (resolve(s, wanted, false)) {
    case ConvAlgorithm::winograd2: return winograd_backward_input<2>(pool, ws, s, dy, w, dx, store);
    case ConvAlgorithm::winograd4: return winograd_backward_input<4>(pool, ws, s, dy, w, dx, store);
    default: return im2col_backward_input(pool, ws, s, dy, w, dx, store);
  }
}

/// dw (+)= the gradient of the weights, summed over the batch.
inline void conv_backward_weights(ThreadPool& pool, Workspace& ws, const ConvShape& s, const float* x, const float* dy,
                                  float* dw, Store store, ConvAlgorithm wanted = ConvAlgorithm::automatic) {
  if (is_depthwise(s)) return depthwise_backward_weights(pool, ws, s, x, dy, dw, store);
  switch (resolve(s, wanted, false)) {
    case ConvAlgorithm::winograd2: return winograd_backward_weights<2>(pool, ws, s, x, dy, dw, store);
    case ConvAlgorithm::winograd4: return winograd_backward_weights<4>(pool, ws, s, x, dy, dw, store);
    default:
      if (direct_applies(s)) return direct_backward_weights(pool, ws, s, x, dy, dw, store);
      return im2col_backward_weights(pool, ws, s, x, dy, dw, store);
  }
}

}  // namespace espalier::detail
