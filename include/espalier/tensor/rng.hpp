// SPDX-License-Identifier: Apache-2.0
// Random numbers that are the same everywhere: a counter-based generator with our own
// distributions, because those of the standard libraries differ. Word i of a stream is a pure
// function of (key, i), so a mask can be drawn on any thread, or again, without stored state.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#include <espalier/config.hpp>
#include <espalier/error.hpp>

namespace espalier {

/// Four words: the counter that goes into Philox, and the random block that comes out.
struct PhiloxBlock {
  std::uint32_t word[4] = {};
  bool operator==(const PhiloxBlock&) const = default;
};

/// Philox4x32-10: a bijection of the 128-bit counter for each 64-bit key (low word first).
///
/// **Paper** Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
/// SC 2011, section 4.3, with the constants of their table 2 and ten rounds.
ESPALIER_HD constexpr PhiloxBlock philox4x32(PhiloxBlock counter, std::uint64_t key) {
  auto low_key = static_cast<std::uint32_t>(key);
  auto high_key = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p = std::uint64_t{0xD2511F53u} * counter.word[0];
    const std::uint64_t q = std::uint64_t{0xCD9E8D57u} * counter.word[2];
    const std::uint32_t w0 = static_cast<std::uint32_t>(q >> 32) ^ counter.word[1] ^ low_key;
    const std::uint32_t w2 = static_cast<std::uint32_t>(p >> 32) ^ counter.word[3] ^ high_key;
    counter.word[1] = static_cast<std::uint32_t>(q);
    counter.word[3] = static_cast<std::uint32_t>(p);
    counter.word[0] = w0;
    counter.word[2] = w2;
    low_key += 0x9E3779B9u;   // the golden ratio
    high_key += 0xBB67AE85u;  // sqrt(3) - 1
  }
  return counter;
}

/// Everything an Rng is: save these two numbers and the stream continues where it was.
struct RngState {
  std::uint64_t key = 0;
  std::uint64_t position = 0;  // 32-bit words drawn so far
  bool operator==(const RngState&) const = default;
};

/// A stream of random numbers. Copying it copies the future; equal states, equal futures.
///
/// Sub-streams are named, not drawn: `rng.split("dropout")` depends on the key of `rng` alone, not
/// on how much was drawn, so a new consumer does not disturb the others. Splitting twice by one
/// name gives one stream twice.
class Rng {
 public:
  Rng() : Rng(0) {}
  explicit Rng(std::uint64_t seed) : state_{seed, 0} {}
  static Rng from_state(RngState state) {
    Rng rng(state.key);
    rng.state_.position = state.position;
    if (state.position % 4 != 0) rng.block_ = block(state.key, state.position / 4);
    return rng;
  }

  RngState state() const { return state_; }
  std::uint64_t key() const { return state_.key; }
  friend bool operator==(const Rng& a, const Rng& b) { return a.state_ == b.state_; }

  Rng split(std::string_view name) const {
    std::uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    return child(hash, 1);
  }
  Rng split(std::uint64_t index) const { return child(index, 2); }

  /// The four words at 4 * index ... 4 * index + 3 of the stream of `key`.
  ESPALIER_HD static constexpr PhiloxBlock block(std::uint64_t key, std::uint64_t index) {
    return philox4x32(
        {{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), 0, 0}}, key);
  }
  /// Word `counter` of the stream of `key`: what the (counter + 1)-th call of u32() returns.
  ESPALIER_HD static constexpr std::uint32_t word(std::uint64_t key, std::uint64_t counter) {
    return block(key, counter / 4).word[counter % 4];
  }
  /// The number in [0, 1) that uniform() makes of a word: a multiple of 2^-24.
  ESPALIER_HD static constexpr float unit(std::uint32_t word) {
    return static_cast<float>(word >> 8) * 0x1p-24f;
  }

  std::uint32_t u32() {
    if (state_.position % 4 == 0) block_ = block(state_.key, state_.position / 4);
    return block_.word[state_.position++ % 4];
  }
  std::uint64_t u64() {
    const std::uint64_t low = u32();
    return low | std::uint64_t{u32()} << 32;
  }
  /// Uniform in [0, 1), a multiple of 2^-24. Takes one word.
  float uniform() { return unit(u32()); }
  /// Uniform in [0, 1), a multiple of 2^-53. Takes two words.
  double uniform_double() { return static_cast<double>(u64() >> 11) * 0x1p-53; }
  /// True with probability p: never at 0, always at 1. Takes two words.
  bool bernoulli(double p) { return uniform_double() < p; }

  /// Standard normal, by Box and Muller (1958), in double; within 6.7 of 0. Takes two words. All else
  /// here is exact; this leans on the C library's log and cos, and is the same wherever they are.
  float normal() {
    const double radius = std::sqrt(-2.0 * std::log((u32() + 1.0) * 0x1p-32));  // of (0, 1]
    return static_cast<float>(radius * std::cos(6.283185307179586 * (u32() * 0x1p-32)));
  }

  /// Uniform over 0 ... n - 1, without bias. Takes one word, seldom more.
  /// **Throws** PolicyError if n is 0.
  /// **Paper** Lemire, "Fast random integer generation in an interval", TOMACS 2019, algorithm 5.
  std::uint32_t below(std::uint32_t n) {
    if (n == 0) throw PolicyError("Rng::below: found n = 0, needed at least one outcome; pass n >= 1");
    std::uint64_t product = std::uint64_t{u32()} * n;
    if (static_cast<std::uint32_t>(product) < n) {
      const std::uint32_t reject = (0u - n) % n;  // 2^32 mod n
      while (static_cast<std::uint32_t>(product) < reject) product = std::uint64_t{u32()} * n;
    }
    return static_cast<std::uint32_t>(product >> 32);
  }

 private:
  // The upper half of the counter keeps keys of children apart from every word of a stream.
  Rng child(std::uint64_t id, std::uint32_t kind) const {
    const PhiloxBlock b = philox4x32({{static_cast<std::uint32_t>(id),
                                       static_cast<std::uint32_t>(id >> 32), kind, 0x73706C74u}},
                                     state_.key);
    return Rng(b.word[0] | std::uint64_t{b.word[1]} << 32);
  }

  RngState state_;
  PhiloxBlock block_;  // the block `position` lies in; stale when position % 4 == 0
};

}  // namespace espalier
