// SPDX-License-Identifier: Apache-2.0
// The layout in which sparse products read and write activations: panels of up to 64 rows, channel by
// channel, so that one weight meets the same channel of all rows of a panel in a few whole vectors.
#pragma once

#include <algorithm>

#include <espalier/backend/detail/pack.hpp>
#include <espalier/backend/detail/simd.hpp>
#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/backend/detail/tile.hpp>
#include <espalier/backend/geometry.hpp>

namespace espalier::detail {

/// Rows of a full panel: as many as eight vectors hold, and at most 64.
inline constexpr Index panel_rows = std::min(64, 8 * simd::lanes);

/// What a panel of that many rows has room for: 1, 4, 8 or whole vectors.
constexpr Index panel_room(Index rows) {
  if (rows == 1) return 1;
  for (Index narrow = 4; narrow < simd::lanes; narrow *= 2)
    if (rows <= narrow) return narrow;
  return simd::padded(rows);
}

/// An activation [rows, channels] in panels. Panel q holds the rows from q * panel_rows on; channel c of its row j is
/// at begin(q) + c * room(q) + j. Room beyond its rows holds zeros after to_panels, and anything in results.
struct Panels {
  Index rows = 0, channels = 0;

  constexpr Index count() const { return ceil_div(rows, panel_rows); }
  constexpr Index rows_of(Index q) const { return std::min(panel_rows, rows - q * panel_rows); }
  constexpr Index room(Index q) const { return panel_room(rows_of(q)); }
  constexpr Index begin(Index q) const { return q * panel_rows * channels; }
  /// Floats of all panels.
  constexpr Index size() const { return rows == 0 ? 0 : begin(count() - 1) + room(count() - 1) * channels; }
};

/// out[p * out_stride + i] = in[i * in_stride + p] for i < rows and p < steps, both at most `lanes`; zeros for
/// i in [rows, room). Nothing else is read or written.
inline void turn_square(const float* in, Index in_stride, Index rows, Index steps, float* out, Index out_stride, Index room) {
  constexpr int lanes = simd::lanes;
  simd::Vec square[lanes];
  if (rows == lanes && steps == lanes) {
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) square[i] = simd::load(in + i * in_stride);
  } else {
    for (int i = 0; i < lanes; ++i) square[i] = i < rows ? simd::load_n(in + i * in_stride, steps) : simd::Vec{};
  }
  transpose_square(square);
  if (room == lanes && steps == lanes) {
#pragma GCC unroll 16
    for (int p = 0; p < lanes; ++p) simd::store(out + p * out_stride, square[p]);
  } else {
    for (int p = 0; p < steps; ++p) simd::store_n(out + p * out_stride, square[p], room);
  }
}

/// Channels [first, last) of up to panel_rows rows into a panel, whose channel `first` is at `panel`.
inline void pack_panel(const float* x, Index channels, Index rows, Index room, Index first, Index last, float* panel) {
  constexpr Index lanes = simd::lanes;
  if (room == 1) {
    std::copy(x + first, x + last, panel);
    return;
  }
  for (Index j = 0; j < room; j += lanes)
    for (Index c = first; c < last; c += lanes)
      turn_square(x + j * channels + c, channels, std::min(lanes, rows - j), std::min(lanes, last - c), panel + (c - first) * room + j, room,
                  std::min(lanes, room - j));
}

/// The reverse: a panel, whose channel `first` is at `panel`, into channels [first, last) of rows.
inline void unpack_panel(const float* panel, Index channels, Index rows, Index room, Index first, Index last, float* y) {
  constexpr Index lanes = simd::lanes;
  if (room == 1) {
    std::copy(panel, panel + (last - first), y + first);
    return;
  }
  for (Index j = 0; j < rows; j += lanes)
    for (Index c = first; c < last; c += lanes) {
      const Index width = std::min(lanes, last - c);
      turn_square(panel + (c - first) * room + j, room, width, std::min(lanes, rows - j), y + j * channels + c, channels, width);
    }
}

/// f(q, first, last) for ranges of channels of every panel, in parallel.
template <class F>
void over_panels(ThreadPool& pool, const Panels& s, F f) {
  constexpr Index step = 256;
  const Index steps = ceil_div(s.channels, step);
  pool.run(s.count() * steps, [&](Index block, int) {
    const Index first = block % steps * step;
    f(block / steps, first, std::min(s.channels, first + step));
  });
}

/// Row-major x [rows, channels] into panels.
inline void to_panels(ThreadPool& pool, const Panels& s, const float* x, float* panels) {
  over_panels(pool, s, [=](Index q, Index first, Index last) {
    pack_panel(x + s.begin(q), s.channels, s.rows_of(q), s.room(q), first, last, panels + s.begin(q) + first * s.room(q));
  });
}

/// Panels into row-major y [rows, channels].
inline void from_panels(ThreadPool& pool, const Panels& s, const float* panels, float* y) {
  over_panels(pool, s, [=](Index q, Index first, Index last) {
    unpack_panel(panels + s.begin(q) + first * s.room(q), s.channels, s.rows_of(q), s.room(q), first, last, y + s.begin(q));
  });
}

}  // namespace espalier::detail
