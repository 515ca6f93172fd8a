// SPDX-License-Identifier: Apache-2.0
// One vector of floats, as wide as the target's registers, through the compilers' vector extensions:
// an Arm or older x86 build is a recompile. Products and sums written as a * b + c become fused
// multiply-adds where the target has them. Intrinsics only for partial loads and for bits from lanes,
// with a fall-back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include <espalier/backend/geometry.hpp>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace espalier::detail::simd {

#if defined(__AVX512F__)
inline constexpr int bytes = 64;
#elif defined(__AVX__)
inline constexpr int bytes = 32;
#else
inline constexpr int bytes = 16;
#endif

/// Floats per vector.
inline constexpr int lanes = bytes / 4;

using Vec __attribute__((vector_size(bytes))) = float;
using IntVec __attribute__((vector_size(bytes))) = std::int32_t;

/// How many floats a buffer of `n` takes when it is padded to whole vectors.
constexpr Index padded(Index n) { return (n + lanes - 1) / lanes * lanes; }

[[gnu::always_inline]] inline Vec load(const float* p) {
  Vec v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

[[gnu::always_inline]] inline void store(float* p, Vec v) { __builtin_memcpy(p, &v, sizeof v); }

template <std::size_t... I>
[[gnu::always_inline]] inline Vec splat(float x, std::index_sequence<I...>) {
  return Vec{((void)I, x)...};
}
[[gnu::always_inline]] inline Vec splat(float x) { return splat(x, std::make_index_sequence<lanes>{}); }

template <std::size_t... I>
[[gnu::always_inline]] inline IntVec splat_int(std::int32_t x, std::index_sequence<I...>) {
  return IntVec{((void)I, x)...};
}
[[gnu::always_inline]] inline IntVec splat_int(std::int32_t x) { return splat_int(x, std::make_index_sequence<lanes>{}); }

/// Bit i is set where a[i] < b[i].
[[gnu::always_inline]] inline std::uint32_t less(IntVec a, IntVec b) {
#if defined(__AVX512F__)
  return _mm512_cmplt_epi32_mask((__m512i)a, (__m512i)b);
#elif defined(__AVX__)
  return static_cast<std::uint32_t>(_mm256_movemask_ps((__m256)(a < b)));
#elif defined(__SSE2__)
  return static_cast<std::uint32_t>(_mm_movemask_ps((__m128)(a < b)));
#else
  const IntVec lower = a < b;
  std::uint32_t bits = 0;
  for (int i = 0; i < lanes; ++i) bits |= (static_cast<std::uint32_t>(lower[i]) & 1u) << i;
  return bits;
#endif
}

/// The first n of p, zeros behind; n in [0, lanes]. Reads nothing else.
[[gnu::always_inline]] inline Vec load_n(const float* p, Index n) {
#if defined(__AVX512F__)
  return (Vec)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p);
#elif defined(__AVX__)
  alignas(32) static constexpr int window[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return (Vec)_mm256_maskload_ps(p, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(window + 8 - n)));
#else
  Vec v{};
  for (Index i = 0; i < n; ++i) v[i] = p[i];
  return v;
#endif
}

/// Writes the first n of v to p; n in [0, lanes].
[[gnu::always_inline]] inline void store_n(float* p, Vec v, Index n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), (__m512)v);
#elif defined(__AVX__)
  if (n == lanes) return store(p, v);  // a masked store takes AMD's processors tens of cycles
  alignas(32) static constexpr int window[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  _mm256_maskstore_ps(p, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(window + 8 - n)), (__m256)v);
#else
  for (Index i = 0; i < n; ++i) p[i] = v[i];
#endif
}

/// max(v, 0), where a NaN stays a NaN.
[[gnu::always_inline]] inline Vec relu(Vec v) {
  const Vec zero{};
  return v < zero ? zero : v;
}

}  // namespace espalier::detail::simd
