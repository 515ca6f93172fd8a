// SPDX-License-Identifier: Apache-2.0
// Products with weights that are mostly zeros: only the others are stored and multiplied. Activations
// and results lie in panels (panels.hpp), where one weight serves up to 64 rows at once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <espalier/backend/detail/panels.hpp>
#include <espalier/backend/detail/tile.hpp>

namespace espalier::detail {

/// The nonzero weights of a matrix [out, in], in the order in which `sparse_product` meets them: chunks of inputs
/// whose part of a panel stays in the second-level cache; in a chunk groups of outputs whose results stay in the first;
/// in a group windows of inputs, which its outputs share there while zeros are not too many; then output by output.
/// The order depends on the matrix alone. A value: copying copies it.
class SparseWeights {
 public:
  static constexpr Index chunk = 1024;  // inputs: 256 KiB of a full panel, 64 pages of memory
  static constexpr Index group = 32;    // outputs: 8 KiB of results
  static constexpr Index least_window = 128;
  static constexpr Index weights_wanted = 20;  // of an output in a window, to pay for loading and storing its sums

  SparseWeights() = default;
  /// Weight (o, i) is w[o * out_stride + i * in_stride]. Exact zeros, of either sign, are left out.
  SparseWeights(Index outputs, Index inputs, const float* w, Index out_stride, Index in_stride) : outputs_(outputs), inputs_(inputs) {
    Index nonzeros = 0;
    for (Index o = 0; o < outputs; ++o)
      for (Index i = 0; i < inputs; ++i) nonzeros += w[o * out_stride + i * in_stride] != 0.0f;
    while (window_ < chunk && window_ * nonzeros < weights_wanted * outputs * inputs) window_ *= 2;
    values_.reserve(static_cast<std::size_t>(nonzeros));
    places_.reserve(static_cast<std::size_t>(nonzeros));
    for (Index c = 0; c < chunks(); ++c)
      for (Index g = 0; g < groups(); ++g) {
        starts_.push_back({values_.size(), counts_.size()});
        for (Index n = 0; n < windows(c); ++n) {
          const Index i0 = c * chunk + n * window_, i1 = std::min(inputs, i0 + window_);
          for (Index o = g * group; o < std::min(outputs, (g + 1) * group); ++o) {
            const std::size_t before = values_.size();
            for (Index i = i0; i < i1; ++i)
              if (const float value = w[o * out_stride + i * in_stride]; value != 0.0f) {
                values_.push_back(value);
                places_.push_back(static_cast<std::uint16_t>(i - i0));
              }
            counts_.push_back(static_cast<std::uint16_t>(values_.size() - before));
          }
        }
      }
  }

  Index outputs() const { return outputs_; }
  Index inputs() const { return inputs_; }
  Index nonzeros() const { return static_cast<Index>(values_.size()); }
  Index window() const { return window_; }
  Index chunks() const { return std::max<Index>(1, ceil_div(inputs_, chunk)); }
  Index groups() const { return ceil_div(outputs_, group); }
  Index windows(Index c) const { return std::max<Index>(1, ceil_div(std::min(chunk, inputs_ - c * chunk), window_)); }

  /// The next weights to be met.
  struct Cursor {
    const float* values;
    const std::uint16_t* places;  // their inputs, counted from the window's first
    const std::uint16_t* counts;  // how many there are for each output of each window
  };
  Cursor at(Index c, Index g) const {
    const Start& s = starts_[static_cast<std::size_t>(c * groups() + g)];
    return {values_.data() + s.weight, places_.data() + s.weight, counts_.data() + s.count};
  }

 private:
  struct Start {
    std::size_t weight, count;
  };
  Index outputs_ = 0, inputs_ = 0, window_ = least_window;
  std::vector<float> values_;
  std::vector<std::uint16_t> places_, counts_;
  std::vector<Start> starts_;
};

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

/// One panel's results for the groups [first, last) of outputs.
inline void sparse_panel(const SparseWeights& w, Index first, Index last, Index room, const float* x, float* y, const Epilogue& epilogue) {
  const SparseKernel kernel = sparse_kernel(room);
  SparseTile t;
  t.epilogue.activation = epilogue.activation;
  for (Index c = 0; c < w.chunks(); ++c)
    for (Index g = first; g < last; ++g) {
      const Index o = g * SparseWeights::group;
      SparseWeights::Cursor cursor = w.at(c, g);
      t.y = y + o * room;
      t.outputs = std::min(SparseWeights::group, w.outputs() - o);
      if (epilogue.bias != nullptr) t.epilogue.bias = epilogue.bias + o;
      for (Index n = 0; n < w.windows(c); ++n) {
        t.x = x + (c * SparseWeights::chunk + n * w.window()) * room;
        t.add = c + n > 0;
        t.last = c + 1 == w.chunks() && n + 1 == w.windows(c);
        kernel(t, cursor);
      }
    }
}

/// y = activation(x W^T + bias), both activations in panels; a weight that is zero meets nothing, not even an infinity.
/// Shapes  x [rows, w.inputs()], y [rows, w.outputs()], bias [w.outputs()] or null.
inline void sparse_product(ThreadPool& pool, const SparseWeights& w, Index rows, const float* x, float* y, const Epilogue& epilogue = {}) {
  const Panels in{rows, w.inputs()}, out{rows, w.outputs()};
  const Index groups = w.groups();
  if (rows == 0 || groups == 0) return;
  const double work = static_cast<double>((w.nonzeros() / groups + SparseWeights::group) * in.room(0));
  const Runs runs(pool, in.count() * groups, work);
  pool.run(runs.blocks(), [&](Index block, int) {
    for (Index item = runs.begin(block); item < runs.end(block);) {
      const Index q = item / groups, next = std::min(runs.end(block), (q + 1) * groups);
      sparse_panel(w, item - q * groups, next - q * groups, in.room(q), x + in.begin(q), y + out.begin(q), epilogue);
      item = next;
    }
  });
}

}  // namespace espalier::detail
