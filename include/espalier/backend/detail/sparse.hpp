// SPDX-License-Identifier: Apache-2.0
// Products with weights that are mostly zeros: only the others are stored and multiplied. Activations
// are met in panels (panels.hpp), where one weight serves up to 64 rows at once.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <espalier/backend/detail/panels.hpp>
#include <espalier/backend/detail/sparse_weights.hpp>
#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/backend/detail/tile.hpp>
#include <espalier/backend/detail/workspace.hpp>

namespace espalier::detail {

/// `lanes` floats, one included, as the compilers' vector extensions have them.
template <int lanes>
struct Lanes {
  using Type __attribute__((vector_size(4 * lanes))) = float;
};
template <>
struct Lanes<1> {
  using Type = float;
};

/// One window of inputs for a group of outputs: y[o, j] (+)= sum of the window's weights of o times x[place, j].
struct SparseTile {
  const float* x = nullptr;
  float* y = nullptr;
  Index outputs = 0;
  bool add = false, last = false;  // last: bias and activation follow
  Epilogue epilogue{};             // bias: of the first output
};

/// The tile for panels with room for `vectors` vectors of `lanes` floats. Several weights are under way at once, each
/// with sums of its own, where registers are left for them.
template <int lanes, int vectors>
void sparse_tile(const SparseTile& t, SparseWeights::Cursor& cursor) {
  using Vec = typename Lanes<lanes>::Type;
  constexpr int flights = vectors == 1 ? 4 : vectors <= 4 ? 2 : 1;
  constexpr Index room = lanes * vectors;
  const auto load = [](const float* p) __attribute__((always_inline)) {
    Vec v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  };
  const std::uint16_t* place = cursor.places;
  const float* value = cursor.values;
  const float* x = t.x;
  float* y = t.y;
  for (Index o = 0; o < t.outputs; ++o, y += room) {
    Vec sum[flights][vectors];
#pragma GCC unroll 4
    for (int f = 0; f < flights; ++f) {
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) sum[f][v] = Vec{};
    }
    Index left = *cursor.counts++;
    for (; left >= flights; left -= flights, place += flights, value += flights) {
#pragma GCC unroll 4
      for (int f = 0; f < flights; ++f) {
#pragma GCC unroll 8
        for (int v = 0; v < vectors; ++v) sum[f][v] = sum[f][v] + value[f] * load(x + place[f] * room + v * lanes);
      }
    }
    for (; left > 0; --left, ++place, ++value) {
#pragma GCC unroll 8
      for (int v = 0; v < vectors; ++v) sum[0][v] = sum[0][v] + *value * load(x + *place * room + v * lanes);
    }
#pragma GCC unroll 8
    for (int v = 0; v < vectors; ++v) {
      Vec total = sum[0][v];
      if constexpr (flights == 2) total = total + sum[1][v];
      if constexpr (flights == 4) total = (total + sum[1][v]) + (sum[2][v] + sum[3][v]);
      if (t.add) total = load(y + v * lanes) + total;
      if (t.last) {
        if (t.epilogue.bias != nullptr) total = total + t.epilogue.bias[o];
        if (t.epilogue.activation == Activation::relu) total = total < Vec{} ? Vec{} : total;
      }
      __builtin_memcpy(y + v * lanes, &total, sizeof total);
    }
  }
  cursor.places = place;
  cursor.values = value;
}

using SparseKernel = void (*)(const SparseTile&, SparseWeights::Cursor&);

template <std::size_t... V>
constexpr std::array<SparseKernel, sizeof...(V)> sparse_kernels(std::index_sequence<V...>) {
  return {&sparse_tile<simd::lanes, static_cast<int>(V) + 1>...};
}

/// The kernel for panels with this room.
inline SparseKernel sparse_kernel(Index room) {
  static constexpr auto whole = sparse_kernels(std::make_index_sequence<static_cast<std::size_t>(panel_rows / simd::lanes)>{});
  if (room == 1) return &sparse_tile<1, 1>;
  if constexpr (simd::lanes > 4) {
    if (room == 4) return &sparse_tile<4, 1>;
  }
  if constexpr (simd::lanes > 8) {
    if (room == 8) return &sparse_tile<8, 1>;
  }
  return whole[static_cast<std::size_t>(room / simd::lanes - 1)];
}

/// An activation of a sparse product, in panels or row-major.
template <class T>
struct Laid {
  T* data = nullptr;
  bool in_panels = false;
};

/// The groups [first, last) of outputs for panel q. What lies in rows passes through scratch of the worker, a chunk of
/// inputs at a time, and so never leaves its second-level cache.
inline void sparse_panel(Workspace& ws, int worker, const SparseWeights& w, Index first, Index last, Index q, const Panels& in, const Panels& out,
                         Laid<const float> x, Laid<float> y, const Epilogue& epilogue) {
  const Index rows = in.rows_of(q), room = in.room(q), outputs = std::min(out.channels, last * SparseWeights::group);
  const Index first_output = first * SparseWeights::group;
  const SparseKernel kernel = sparse_kernel(room);
  if (room == 1) x.in_panels = y.in_panels = true;  // there a row is a panel
  const float* x_panel = x.data + in.begin(q);
  float* y_panel = y.data + out.begin(q) + first_output * room;
  float* turned = nullptr;
  if (!x.in_panels) turned = ws.get<float>(worker, 2, std::min(SparseWeights::chunk, in.channels) * room);
  if (!y.in_panels) y_panel = ws.get<float>(worker, 3, (outputs - first_output) * room);
  SparseTile t;
  t.epilogue.activation = epilogue.activation;
  for (Index c = 0; c < w.chunks(); ++c) {
    const Index i0 = c * SparseWeights::chunk;
    if (!x.in_panels) pack_panel(x.data + in.begin(q), in.channels, rows, room, i0, std::min(in.channels, i0 + SparseWeights::chunk), turned);
    for (Index g = first; g < last; ++g) {
      SparseWeights::Cursor cursor = w.at(c, g);
      const Index o = g * SparseWeights::group;
      t.outputs = std::min(SparseWeights::group, outputs - o);
      t.y = y_panel + (o - first_output) * room;
      if (epilogue.bias != nullptr) t.epilogue.bias = epilogue.bias + o;
      for (Index n = 0; n < w.windows(c); ++n) {
        t.x = (x.in_panels ? x_panel + i0 * room : turned) + n * w.window() * room;
        t.add = c + n > 0;
        t.last = c + 1 == w.chunks() && n + 1 == w.windows(c);
        kernel(t, cursor);
      }
    }
  }
  if (!y.in_panels) unpack_panel(y_panel, out.channels, rows, room, first_output, outputs, y.data + out.begin(q));
}

/// y = activation(x W^T + bias); a weight that is zero meets nothing, not even an infinity.
/// Shapes  x [rows, w.inputs()], y [rows, w.outputs()], each in panels or row-major; bias [w.outputs()] or null.
/// Every value is computed by one thread, in an order that the weights alone decide; so here the number of threads may
/// decide into how many blocks the work is cut: as few as keep all busy, because every block of a panel turns it.
inline void sparse_product(ThreadPool& pool, Workspace& ws, const SparseWeights& w, Index rows, Laid<const float> x, Laid<float> y,
                           const Epilogue& epilogue = {}) {
  const Panels in{rows, w.inputs()}, out{rows, w.outputs()};
  const Index panels = in.count(), groups = w.groups(), threads = pool.threads();
  if (panels == 0 || groups == 0) return;
  Index parts = 1;  // of a panel's groups
  if (panels < threads) {
    parts = ceil_div(threads, panels);
    if (w.nonzeros() > 8 * parts * w.inputs()) parts *= 2;  // turning is little beside it: a thread that comes late still gets a share
  } else {
    while (panels * parts < 4 * threads && panels * parts % threads != 0) ++parts;
  }
  parts = std::min(parts, groups);
  const Index affordable = 1 + (w.nonzeros() + w.inputs() + w.outputs()) * rows / 65536;  // a block should outlast its start
  const Pieces runs{panels * parts, std::min(panels * parts, affordable)};
  const Pieces shares{groups, parts};
  pool.run(runs.pieces, [&](Index block, int worker) {
    for (Index item = runs.begin(block), end = item + runs.size(block); item < end; ++item) {
      const Index part = item / panels, first = shares.begin(part);
      sparse_panel(ws, worker, w, first, first + shares.size(part), item % panels, in, out, x, y, epilogue);
    }
  });
}

}  // namespace espalier::detail
