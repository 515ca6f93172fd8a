// SPDX-License-Identifier: Apache-2.0
// How many columns a UTF-8 text takes on a terminal, how to cut it to fewer, and how to make it harmless.
// Names come from files that others wrote: a control character in one must not drive the terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace espalier::detail {

struct CodePoint {
  char32_t value = 0;
  std::size_t bytes = 1;
  bool valid = false;
};

/// The code point at the start of a non-empty text. Overlong forms, surrogates and broken sequences are
/// invalid and one byte long.
inline CodePoint decode_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1, true};
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC2 ? 2 : 0;
  if (length == 0 || first > 0xF4 || text.size() < length) return {};
  char32_t value = static_cast<char32_t>(first & (0xFF >> (length + 1)));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    value = (value << 6) | static_cast<char32_t>(byte(i) & 0x3F);
  }
  constexpr char32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < least[length] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF)) return {};
  return {value, length, true};
}

/// Columns of one code point: 0 for combining marks, 2 for the wide blocks of East Asian scripts and emoji.
inline std::size_t code_point_columns(char32_t c) {
  struct Range { char32_t from, to; };
  constexpr Range zero[] = {{0x300, 0x36F},   {0x483, 0x489},   {0x591, 0x5BD},   {0x610, 0x61A},   {0x64B, 0x65F},
                            {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x200B, 0x200F}, {0x202A, 0x202E}, {0x2060, 0x2064},
                            {0x2066, 0x2069}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0xFEFF, 0xFEFF}};
  constexpr Range two[] = {{0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0x33FF},  {0x3400, 0x4DBF},
                           {0x4E00, 0x9FFF},   {0xA000, 0xA4CF},   {0xAC00, 0xD7A3},  {0xF900, 0xFAFF},
                           {0xFE30, 0xFE4F},   {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},  {0x1F300, 0x1F64F},
                           {0x1F680, 0x1F6FF}, {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD}};
  for (const Range& range : zero) if (c >= range.from && c <= range.to) return 0;
  for (const Range& range : two) if (c >= range.from && c <= range.to) return 2;
  return 1;
}

/// Columns that the text takes; an invalid byte counts as one.
inline std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const CodePoint point = decode_utf8(text);
    width += point.valid ? code_point_columns(point.value) : 1;
    text.remove_prefix(point.bytes);
  }
  return width;
}

/// The text with everything that is not a visible character or a space replaced by '?': control characters,
/// bidirectional overrides, invalid bytes.
inline std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = decode_utf8(text);
    const char32_t c = point.value;
    const bool control = c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x200E && c <= 0x200F) ||
                         (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
    if (point.valid && !control) out += text.substr(0, point.bytes);
    else out += '?';
    text.remove_prefix(point.bytes);
  }
  return out;
}

/// The text with every invalid byte replaced by '?'; control characters stay.
inline std::string valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = decode_utf8(text);
    if (point.valid) out += text.substr(0, point.bytes);
    else out += '?';
    text.remove_prefix(point.bytes);
  }
  return out;
}

/// The text with every non-ASCII character replaced by '?', for terminals that do not speak UTF-8.
inline std::string ascii(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const CodePoint point = decode_utf8(text);
    if (point.bytes == 1) out += point.valid ? text.front() : '?';
    else if (code_point_columns(point.value) > 0) out += '?';
    text.remove_prefix(point.bytes);
  }
  return out;
}

/// The text cut to at most `width` columns, ending in "..." where something was cut (in dots alone where
/// fewer than four columns are left).
inline std::string shorten(std::string_view text, std::size_t width) {
  if (display_width(text) <= width) return std::string(text);
  if (width <= 3) return std::string(width, '.');
  std::string out;
  std::size_t used = 0;
  while (!text.empty()) {
    const CodePoint point = decode_utf8(text);
    const std::size_t step = point.valid ? code_point_columns(point.value) : 1;
    if (used + step > width - 3) break;
    out += text.substr(0, point.bytes);
    used += step;
    text.remove_prefix(point.bytes);
  }
  return out + "...";
}

}  // namespace espalier::detail
