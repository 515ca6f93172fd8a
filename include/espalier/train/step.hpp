// SPDX-License-Identifier: Apache-2.0
// Where a training run is. Papers count in epochs, loops in iterations, and the two convert only if
// the length of an epoch is known: so a Step carries it, and a Duration says which of the two it is.
#pragma once

#include <array>
#include <cmath>
#include <compare>
#include <cstddef>
#include <initializer_list>
#include <ostream>
#include <string>

#include <espalier/backend/geometry.hpp>
#include <espalier/error.hpp>

namespace espalier {

/// A point of a training run: `iteration` optimiser steps have been done, `epoch_length` make an epoch.
/// Throws PolicyError when steps of different epoch lengths are compared.
struct Step {
  Index iteration = 0;
  Index epoch_length = 0;  // iterations; 0: unknown, and the run has no epochs

  /// Whole epochs done. Throws PolicyError if the length of an epoch is unknown.
  Index epoch() const { return iteration / known_length(); }
  /// Iterations done in the running epoch.
  Index in_epoch() const { return iteration % known_length(); }
  /// Epochs done, with their fraction.
  double epochs() const { return static_cast<double>(iteration) / static_cast<double>(known_length()); }

  friend bool operator==(const Step& a, const Step& b) {
    refuse_mixed(a, b);
    return a.iteration == b.iteration;
  }
  friend std::strong_ordering operator<=>(const Step& a, const Step& b) {
    refuse_mixed(a, b);
    return a.iteration <=> b.iteration;
  }

 private:
  Index known_length() const {
    if (epoch_length < 1)
      throw PolicyError(str("step ", iteration, ": found epoch_length = ", epoch_length, ", needed at least 1 to convert to epochs; give the Step its epoch length"));
    return epoch_length;
  }
  static void refuse_mixed(const Step& a, const Step& b) {
    if (a.epoch_length != b.epoch_length)
      throw PolicyError(str("steps: found epoch lengths ", a.epoch_length, " and ", b.epoch_length, ", needed equal ones to compare; convert one of the two"));
  }
};

inline void append(std::string& out, const Step& s) {
  out += str("Step{.iteration = ", s.iteration, ", .epoch_length = ", s.epoch_length, "}");
}
inline std::ostream& operator<<(std::ostream& out, const Step& s) { return out << str(s); }

/// A length of training, in iterations or in epochs: `iterations(20000)`, `epochs(80)`.
struct Duration {
  enum class Unit { iterations, epochs };
  double amount = 0;
  Unit unit = Unit::iterations;
  bool operator==(const Duration&) const = default;

  /// In iterations; not rounded. Throws PolicyError for epochs of unknown length.
  double in_iterations(Index epoch_length) const {
    if (unit == Unit::iterations) return amount;
    if (epoch_length < 1)
      throw PolicyError(str("a duration of ", amount, " epochs: found epoch_length = ", epoch_length, ", needed at least 1; give the Step its epoch length or count in iterations"));
    return amount * static_cast<double>(epoch_length);
  }
  /// The first whole iteration that is not before this duration's end.
  Index whole_iterations(Index epoch_length) const { return static_cast<Index>(std::ceil(in_iterations(epoch_length))); }
};

inline Duration iterations(double amount) { return {amount, Duration::Unit::iterations}; }
inline Duration epochs(double amount) { return {amount, Duration::Unit::epochs}; }

/// A short list of durations, stored inline: {epochs(80), epochs(120)}. Throws PolicyError for more than `capacity`.
class Durations {
 public:
  static constexpr std::size_t capacity = 16;

  Durations() = default;
  Durations(std::initializer_list<Duration> list) {
    for (const Duration& d : list) push_back(d);
  }
  void push_back(const Duration& d) {
    if (size_ == capacity) throw PolicyError(str("a list of durations: found more than ", capacity, ", needed at most as many; use a schedule of your own"));
    items_[size_++] = d;
  }
  std::size_t size() const { return size_; }
  const Duration& operator[](std::size_t i) const { return items_[i]; }
  const Duration* begin() const { return items_.data(); }
  const Duration* end() const { return items_.data() + size_; }
  bool operator==(const Durations&) const = default;  // what lies behind the end is never written

 private:
  std::array<Duration, capacity> items_{};
  std::size_t size_ = 0;
};

inline void append(std::string& out, const Duration& d) {
  out += str(d.unit == Duration::Unit::epochs ? "epochs(" : "iterations(", d.amount, ")");
}
inline std::ostream& operator<<(std::ostream& out, const Duration& d) { return out << str(d); }

}  // namespace espalier
