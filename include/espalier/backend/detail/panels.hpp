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

/// How items in a row are cut into the blocks of a parallel region: into runs, taken in an order in which the threads
/// start far from each other, so that each stays with its own panels and finds them in its cache. Only for work
/// whose every value is computed within one item: then the cut may follow the number of threads.
class Runs {
 public:
  /// `work`: of one item, in multiply-adds or what takes as long.
  Runs(const ThreadPool& pool, Index items, double work) {
    const double affordable = static_cast<double>(items) * work / 65536;  // a block should outlast its start
    const Index most = pool.threads() == 1 ? 1 : std::min<Index>(items, 4 * pool.threads());
    const Index wanted = affordable < static_cast<double>(most) ? std::max<Index>(1, static_cast<Index>(affordable)) : std::max<Index>(1, most);
    starts_ = std::min<Index>(wanted, pool.threads());
    each_ = wanted / starts_;
    pieces_ = {items, starts_ * each_};
  }
  Index blocks() const { return pieces_.pieces; }
  Index begin(Index block) const { return pieces_.begin(piece(block)); }
  Index end(Index block) const { return begin(block) + pieces_.size(piece(block)); }

 private:
  Index piece(Index block) const { return block % starts_ * each_ + block / starts_; }

  Index starts_ = 1, each_ = 1;
  Pieces pieces_;
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

/// f(q, first, last) for ranges of channels of every panel, in parallel.
template <class F>
void over_panels(ThreadPool& pool, const Panels& s, F f) {
  constexpr Index step = 256;
  const Index steps = ceil_div(s.channels, step);
  const Runs runs(pool, s.count() * steps, static_cast<double>(step * panel_rows));
  pool.run(runs.blocks(), [&](Index block, int) {
    for (Index item = runs.begin(block); item < runs.end(block); ++item) {
      const Index first = item % steps * step;
      f(item / steps, first, std::min(s.channels, first + step));
    }
  });
}

/// Row-major x [rows, channels] into panels.
inline void to_panels(ThreadPool& pool, const Panels& s, const float* x, float* panels) {
  constexpr Index lanes = simd::lanes;
  over_panels(pool, s, [=](Index q, Index first, Index last) {
    const Index rows = s.rows_of(q), room = s.room(q);
    const float* from = x + s.begin(q);
    float* to = panels + s.begin(q);
    if (room == 1) {
      std::copy(from + first, from + last, to + first);
      return;
    }
    for (Index j = 0; j < room; j += lanes)
      for (Index c = first; c < last; c += lanes)
        turn_square(from + j * s.channels + c, s.channels, std::min(lanes, rows - j), std::min(lanes, last - c), to + c * room + j, room,
                    std::min(lanes, room - j));
  });
}

/// Panels into row-major y [rows, channels].
inline void from_panels(ThreadPool& pool, const Panels& s, const float* panels, float* y) {
  constexpr Index lanes = simd::lanes;
  over_panels(pool, s, [=](Index q, Index first, Index last) {
    const Index rows = s.rows_of(q), room = s.room(q);
    const float* from = panels + s.begin(q);
    float* to = y + s.begin(q);
    if (room == 1) {
      std::copy(from + first, from + last, to + first);
      return;
    }
    for (Index j = 0; j < rows; j += lanes)
      for (Index c = first; c < last; c += lanes) {
        const Index channels = std::min(lanes, last - c);
        turn_square(from + c * room + j, room, channels, std::min(lanes, rows - j), to + j * s.channels + c, s.channels, channels);
      }
  });
}

}  // namespace espalier::detail
