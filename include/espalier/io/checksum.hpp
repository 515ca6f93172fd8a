// SPDX-License-Identifier: Apache-2.0
// A 64-bit checksum against damage by disks and bad luck, not against malice: whoever can change the
// data can change its checksum. Eight bytes at a time, so that checking a file costs less than reading it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace espalier {

/// A running checksum: feed bytes in any portions, then ask for the value. Little-endian machines agree.
///
/// Each 8-byte word is mixed in by xor, multiplication and shift (the 64-bit finaliser of SplitMix64:
/// Steele, Lea & Flood, OOPSLA 2014), so that every bit of it reaches every bit of the result.
class Checksum {
 public:
  void add(std::span<const std::byte> bytes) {
    length_ += bytes.size();
    while (!bytes.empty()) {
      if (pending_ == 0 && bytes.size() >= 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes.data(), 8);
        mix(word);
        bytes = bytes.subspan(8);
      } else {
        partial_ |= std::to_integer<std::uint64_t>(bytes[0]) << (8 * pending_);
        bytes = bytes.subspan(1);
        if (++pending_ == 8) {
          mix(partial_);
          partial_ = 0;
          pending_ = 0;
        }
      }
    }
  }
  void add(std::string_view text) { add(std::as_bytes(std::span(text.data(), text.size()))); }

  std::uint64_t value() const {
    Checksum last = *this;
    last.mix(partial_);
    last.mix(length_);
    return last.state_;
  }
  /// Sixteen lower-case hexadecimal digits.
  std::string text() const {
    std::string out(16, '0');
    std::uint64_t v = value();
    for (std::size_t i = 16; i-- > 0; v >>= 4) out[i] = "0123456789abcdef"[v & 15];
    return out;
  }

 private:
  void mix(std::uint64_t word) {
    std::uint64_t z = (state_ ^ word) + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    state_ = z ^ (z >> 31);
  }

  std::uint64_t state_ = 0, partial_ = 0, length_ = 0;
  unsigned pending_ = 0;  // bytes in partial_
};

inline std::string checksum(std::span<const std::byte> bytes) {
  Checksum sum;
  sum.add(bytes);
  return sum.text();
}

}  // namespace espalier
