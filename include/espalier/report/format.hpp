// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them: 14,987,722; 313.5 M; 1.30 MiB; 12.3 ms; 0:14; 86.2%; -0.8.
// ASCII only and independent of the locale, so that a table is the same text on every machine.
// Nothing here is meant to be parsed: files carry the plain number.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace espalier {

namespace detail {

/// "nan", "inf" or "-inf"; empty for a finite number.
inline std::string_view non_finite(double x) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x < 0 ? "-inf" : "inf";
  return {};
}

/// Correctly rounded decimals; a result that is all zeros loses its minus sign.
inline std::string fixed_text(double x, int decimals) {
  char buffer[400];  // the largest double has 309 digits before the point
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, x, std::chars_format::fixed, decimals).ptr;
  std::string text(buffer, static_cast<std::size_t>(end - buffer));
  if (text.front() == '-' && text.find_first_not_of("-0.") == std::string::npos) text.erase(0, 1);
  return text;
}

/// Three significant digits of 0 <= x < 1024: 1.30, 13.0, 130, 1023.
inline std::string three_digits(double x) {
  std::string text = fixed_text(x, 2);
  if (text.size() > 4) text = fixed_text(x, 1);
  if (text.size() > 4) text = fixed_text(x, 0);
  return text;
}

inline void group_thousands(std::string& digits) {
  for (std::size_t left = digits.size(); left > 3;) {
    left -= 3;
    digits.insert(left, 1, ',');
  }
}

}  // namespace detail

/// 14987722 -> "14,987,722".
inline std::string format_count(std::int64_t n) {
  const bool negative = n < 0;
  const auto magnitude = negative ? std::uint64_t{0} - static_cast<std::uint64_t>(n) : static_cast<std::uint64_t>(n);
  char buffer[24];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, magnitude).ptr;
  std::string text(buffer, static_cast<std::size_t>(end - buffer));
  detail::group_thousands(text);
  return negative ? "-" + text : text;
}

/// 0.41249, 3 -> "0.412". Never "-0.000".
inline std::string format_fixed(double x, int decimals) {
  if (const auto text = detail::non_finite(x); !text.empty()) return std::string(text);
  return detail::fixed_text(x, decimals);
}

/// 313463808 -> "313.5 M"; 999 -> "999"; 999999 -> "1.0 M"; 0.25 -> "0.2". Suffixes k, M, G, T, P of the SI.
inline std::string format_si(double x, int decimals = 1) {
  if (const auto text = detail::non_finite(x); !text.empty()) return std::string(text);
  const std::string sign = x < 0 ? "-" : "";
  double magnitude = std::fabs(x);
  if (magnitude < 1000 && magnitude == std::floor(magnitude)) {
    return (magnitude == 0 ? "" : sign) + detail::fixed_text(magnitude, 0);
  }
  constexpr std::string_view suffixes = " kMGTP";
  std::size_t unit = 0;
  std::string text = detail::fixed_text(magnitude, decimals);
  while (unit + 1 < suffixes.size() && (magnitude >= 1000 || text.substr(0, 4) == "1000")) {
    magnitude /= 1000;
    ++unit;
    text = detail::fixed_text(magnitude, decimals);
  }
  if (text.find_first_not_of("0.") == std::string::npos) return text;
  text.insert(0, sign);
  return unit == 0 ? text : text + " " + suffixes[unit];
}

/// 1363149 -> "1.30 MiB"; 1023 -> "1023 B". Units of 1024, three significant digits.
inline std::string format_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return detail::fixed_text(static_cast<double>(bytes), 0) + " B";
  constexpr std::string_view prefixes = "KMGTPE";
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1023.5 && unit + 1 < prefixes.size()) {
    value /= 1024;
    ++unit;
  }
  return detail::three_digits(value) + " " + prefixes[unit] + "iB";
}

/// 0.0123 -> "12.3 ms". Units s, ms, us, ns; three significant digits; from 1000 s on, whole seconds.
inline std::string format_seconds(double seconds) {
  if (const auto text = detail::non_finite(seconds); !text.empty()) return std::string(text) + " s";
  if (seconds == 0) return "0 s";
  const std::string sign = seconds < 0 ? "-" : "";
  double value = std::fabs(seconds);
  constexpr std::string_view units[] = {"s", "ms", "us", "ns"};
  std::size_t unit = 0;
  while (unit + 1 < 4 && value < 0.9995) {
    value *= 1000;
    ++unit;
  }
  return sign + detail::three_digits(value) + " " + std::string(units[unit]);
}

/// A duration as a clock shows it, to the nearest second: 14 -> "0:14"; 3723 -> "1:02:03". Unknown: "-:--".
inline std::string format_clock(double seconds) {
  if (!detail::non_finite(seconds).empty()) return "-:--";
  if (std::fabs(seconds) > 1e15) return "-:--";
  const auto total = static_cast<std::int64_t>(std::llround(std::fabs(seconds)));
  const auto two = [](std::int64_t n) { return (n < 10 ? "0" : "") + std::to_string(n); };
  const std::int64_t hours = total / 3600, minutes = total / 60 % 60;
  std::string text = hours > 0 ? std::to_string(hours) + ":" + two(minutes) : std::to_string(minutes);
  text += ":" + two(total % 60);
  return seconds < 0 && total > 0 ? "-" + text : text;
}

/// A fraction as a percentage: 0.862 -> "86.2%".
inline std::string format_percent(double fraction, int decimals = 1) {
  return format_fixed(fraction * 100, decimals) + "%";
}

/// The difference of two fractions in percentage points, always signed unless it rounds to zero:
/// -0.008 -> "-0.8"; 0.004 -> "+0.4"; 0.0001 -> "0.0".
inline std::string format_points(double difference, int decimals = 1) {
  const std::string text = format_fixed(difference * 100, decimals);
  const bool zero = text.find_first_not_of("0.") == std::string::npos;
  return difference > 0 && !zero ? "+" + text : text;
}

}  // namespace espalier
