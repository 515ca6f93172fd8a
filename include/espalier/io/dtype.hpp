// SPDX-License-Identifier: Apache-2.0
// The element types that files may hold, and the 16-bit floating-point numbers that C++20 has no type
// for. Only what the readers and writers need; the tensors of the library have C++ types.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace espalier {

static_assert(std::endian::native == std::endian::little, "safetensors stores little-endian numbers; this "
              "reader copies them as they are, so it needs a little-endian machine");

/// Element types, in the order in which the format's reference writer ranks them.
enum class Dtype : std::uint8_t { boolean, u8, f16, bf16, i32, f32, f64, i64 };

namespace detail {

struct DtypeName {
  std::string_view name;
  std::size_t bytes;
};
inline constexpr std::array<DtypeName, 8> dtype_names = {
    {{"BOOL", 1}, {"U8", 1}, {"F16", 2}, {"BF16", 2}, {"I32", 4}, {"F32", 4}, {"F64", 8}, {"I64", 8}}};

/// IEEE 754 binary16 to binary32: exact, subnormals, infinities and NaNs included.
inline float from_half(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t{half & 0x8000u} << 16, exponent = half >> 10 & 31u, fraction = half & 0x3FFu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}

}  // namespace detail

inline std::string_view dtype_name(Dtype dtype) { return detail::dtype_names[static_cast<std::size_t>(dtype)].name; }
inline std::size_t dtype_bytes(Dtype dtype) { return detail::dtype_names[static_cast<std::size_t>(dtype)].bytes; }

}  // namespace espalier
