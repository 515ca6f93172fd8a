// SPDX-License-Identifier: Apache-2.0
// Where an axis has its ticks and what they say: steps of 1, 2, 2.5 or 5 times a power of ten, decades on
// a logarithmic axis, no more decimals than the step needs.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "espalier/error.hpp"
#include "espalier/report/format.hpp"

namespace espalier::detail {

struct AxisTick {
  double at = 0;
  std::string label;
  bool operator==(const AxisTick&) const = default;
};

/// An axis' range and its ticks, which all lie inside.
struct AxisScale {
  double from = 0, to = 1;
  bool logarithmic = false;
  std::vector<AxisTick> ticks;

  /// 0 at `from`, 1 at `to`.
  double part(double value) const {
    if (!logarithmic) return (value - from) / (to - from);
    return std::log10(value / from) / std::log10(to / from);
  }
};

/// 2e-06 as "2e-6": an exponent of one digit has no leading zero.
inline std::string scientific(double value, int decimals) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific, decimals).ptr;
  std::string text(buffer, static_cast<std::size_t>(end - buffer));
  if (text[text.size() - 2] == '0') text.erase(text.size() - 2, 1);
  return text;
}

/// The least step of the form {1, 2, 2.5, 5} 10^k that cuts `range` into at most `pieces`.
inline double nice_step(double range, std::size_t pieces, bool whole) {
  const double raw = range / static_cast<double>(std::max<std::size_t>(pieces, 1));
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (const double m : {1.0, 2.0, 2.5, 5.0}) {
    const bool fraction = whole && std::floor(m * power) != m * power;
    if (!fraction && m * power >= raw * (1 - 1e-9)) {
      step = m * power;
      break;
    }
  }
  return whole ? std::max(step, 1.0) : step;
}

/// Decimals that tell multiples of `step` apart.
inline int decimals_of(double step) {
  for (int decimals = 0; decimals < 12; ++decimals) {
    const double scaled = step * std::pow(10.0, decimals);
    if (std::fabs(scaled - std::round(scaled)) < 1e-6 * scaled) return decimals;
  }
  return 12;
}

inline std::string tick_label(double value, double step, double largest, bool percent) {
  if (percent) return format_fixed(value * 100, decimals_of(step * 100)) + "%";
  struct Suffix { double factor; std::string_view text; };
  for (const Suffix& suffix : {Suffix{1e12, " T"}, Suffix{1e9, " G"}, Suffix{1e6, " M"}, Suffix{1e3, " k"}}) {
    if (largest < suffix.factor || largest < 1e4) continue;
    return value == 0 ? "0"
                      : format_fixed(value / suffix.factor, decimals_of(step / suffix.factor)).append(suffix.text);
  }
  if (largest < 1e-4) return value == 0 ? "0" : scientific(value, 1);
  return format_fixed(value, decimals_of(step));
}

/// Ticks of a linear axis. `extend` moves the ends out to a tick. An empty range is widened around its value.
inline AxisScale linear_scale(double from, double to, std::size_t pieces, bool extend, bool whole, bool percent) {
  if (!(to > from)) {
    const double around = std::max(std::fabs(from) * 0.1, whole ? 1 : percent ? 0.01 : 1e-3);
    from -= around;
    to += around;
  }
  const double step = nice_step(to - from, pieces, whole);
  if (extend) {
    from = std::floor(from / step + 1e-9) * step;
    to = std::ceil(to / step - 1e-9) * step;
  }
  AxisScale scale{from, to, false, {}};
  const double largest = std::max(std::fabs(from), std::fabs(to));
  for (double i = std::ceil(from / step - 1e-9); i <= std::floor(to / step + 1e-9); ++i) {
    scale.ticks.push_back({i * step, tick_label(i * step, step, largest, percent)});
  }
  return scale;
}

inline std::string log_label(double value, bool percent) {
  if (percent) return format_fixed(value * 100, decimals_of(value * 100)) + "%";
  if (value < 0.999e-3) return scientific(value, 0);
  if (value < 999) return format_fixed(value, decimals_of(value));
  return tick_label(value, value, std::max(value, 1e4), percent);
}

/// Ticks of a logarithmic axis, 0 < from: those of a linear axis within one decade, else 1 2 5, 1 3 or 1 in each
/// decade, or in every second, third, ... decade.
inline AxisScale log_scale(double from, double to, std::size_t pieces, bool percent) {
  if (!(to > from)) {
    from /= 2;
    to *= 2;
  }
  AxisScale scale{from, to, true, {}};
  if (to <= 10 * from) {
    scale.ticks = linear_scale(from, to, pieces, false, false, percent).ticks;
    return scale;
  }
  const double first = std::floor(std::log10(from) - 1e-9), last = std::ceil(std::log10(to) + 1e-9);
  const auto collect = [&](std::initializer_list<double> mantissas, double stride) {
    scale.ticks.clear();
    for (double decade = first; decade <= last; decade += stride) {
      for (const double m : mantissas) {
        const double value = m * std::pow(10.0, decade);
        if (value < from * (1 - 1e-9) || value > to * (1 + 1e-9)) continue;
        scale.ticks.push_back({value, log_label(value, percent)});
      }
    }
    return scale.ticks.size() <= pieces + 1;
  };
  if (collect({1, 2, 5}, 1) || collect({1, 3}, 1)) return scale;
  for (double stride = 1; !collect({1}, stride);) ++stride;
  return scale;
}

}  // namespace espalier::detail
