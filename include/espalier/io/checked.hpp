// SPDX-License-Identifier: Apache-2.0
// How a reader touches bytes it does not trust: sizes whose arithmetic cannot wrap unnoticed, and a
// cursor that cannot leave its span. Every reader of the library stands on these two; their errors
// name the file, the offset, the field and the limit.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <espalier/error.hpp>

namespace espalier {

/// Runs `f`, whose allocations serve to read `where`, and explains their failure.
/// **Throws** OutOfMemory naming `where` and `bytes`, about which were needed; what `f` throws.
template <class F>
decltype(auto) with_memory(std::string_view where, std::uint64_t bytes, F&& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    throw OutOfMemory(str(where, ": found no memory for about ", bytes,
                          " bytes, needed to read it; close other programs or use a larger machine"));
  }
}

/// An unsigned 64-bit size that remembers an overflow: no sum or product hides it, and the value
/// cannot be had afterwards.
class CheckedSize {
 public:
  constexpr CheckedSize() = default;
  template <std::integral N>
  constexpr CheckedSize(N value)  // NOLINT: sizes mix with plain numbers on purpose
      : value_(static_cast<std::uint64_t>(value)) {
    if constexpr (std::is_signed_v<N>) overflowed_ = value < 0;
  }

  friend constexpr CheckedSize operator+(CheckedSize a, CheckedSize b) {
    const bool over = a.overflowed_ || b.overflowed_ || a.value_ > max - b.value_;
    return {over ? 0 : a.value_ + b.value_, over};
  }
  friend constexpr CheckedSize operator*(CheckedSize a, CheckedSize b) {
    const bool over = a.overflowed_ || b.overflowed_ || (b.value_ != 0 && a.value_ > max / b.value_);
    return {over ? 0 : a.value_ * b.value_, over};
  }
  /// The next multiple of `alignment`, which must not be 0.
  constexpr CheckedSize aligned(std::uint64_t alignment) const {
    const std::uint64_t over = value_ % alignment;
    return over == 0 ? *this : *this + CheckedSize(alignment - over);
  }

  constexpr bool overflowed() const { return overflowed_; }
  /// **Throws** DataError if an operation on the way here overflowed.
  constexpr std::uint64_t value() const { return to<std::uint64_t>(); }
  /// The value as an N. **Throws** DataError if it does not fit.
  template <std::integral N>
  constexpr N to() const {
    if (overflowed_ || value_ > static_cast<std::uint64_t>(std::numeric_limits<N>::max())) {
      throw DataError(str("a size overflows: needed at most ", std::numeric_limits<N>::max(),
                          "; the file that declares it is damaged"));
    }
    return static_cast<N>(value_);
  }

 private:
  static constexpr std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
  constexpr CheckedSize(std::uint64_t value, bool overflowed) : value_(value), overflowed_(overflowed) {}

  std::uint64_t value_ = 0;
  bool overflowed_ = false;
};

/// Reads fields from the front of a span. Nothing outside the span is ever read.
class Cursor {
 public:
  /// `where` names the source in errors; the bytes must outlive the cursor.
  Cursor(std::span<const std::byte> bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

  std::size_t offset() const { return offset_; }
  std::size_t remaining() const { return bytes_.size() - offset_; }
  const std::string& where() const { return where_; }

  /// The next n bytes. **Throws** DataError if fewer are left.
  std::span<const std::byte> take(std::uint64_t n, std::string_view field) {
    if (n > remaining()) {
      fail(field, str("needs ", n, " bytes, ", remaining(), " are left of ", bytes_.size(),
                      "; the file is cut short: fetch or write it again"));
    }
    const auto taken = bytes_.subspan(offset_, static_cast<std::size_t>(n));
    offset_ += static_cast<std::size_t>(n);
    return taken;
  }
  std::uint8_t u8(std::string_view field) { return static_cast<std::uint8_t>(little(field, 1)); }
  std::uint16_t u16_le(std::string_view field) { return static_cast<std::uint16_t>(little(field, 2)); }
  std::uint32_t u32_le(std::string_view field) { return static_cast<std::uint32_t>(little(field, 4)); }
  std::uint64_t u64_le(std::string_view field) { return little(field, 8); }
  std::uint32_t u32_be(std::string_view field) {
    std::uint32_t value = 0;
    for (const std::byte b : take(4, field)) value = value << 8 | std::to_integer<std::uint32_t>(b);
    return value;
  }

  /// **Throws** DataError if bytes are left over.
  void expect_end() const {
    if (remaining() != 0) {
      throw DataError(str(where_, ": at offset ", offset_, ": found ", remaining(),
                          " bytes after the end, needed none; the file is damaged: fetch or write it again"));
    }
  }
  /// Throws DataError naming the source, the offset and the field.
  [[noreturn]] void fail(std::string_view field, std::string_view why) const {
    throw DataError(str(where_, ": at offset ", offset_, ", ", field, ": ", why));
  }

 private:
  std::uint64_t little(std::string_view field, std::uint64_t width) {
    std::uint64_t value = 0;
    int shift = 0;
    for (const std::byte b : take(width, field)) {
      value |= std::to_integer<std::uint64_t>(b) << shift;
      shift += 8;
    }
    return value;
  }

  std::span<const std::byte> bytes_;
  std::string where_;
  std::size_t offset_ = 0;
};

}  // namespace espalier
