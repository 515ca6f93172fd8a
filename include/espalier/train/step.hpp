// SPDX-License-Identifier: Apache-2.0
// Where a training run is. Papers count in epochs, loops in iterations, and the two convert only if
// the length of an epoch is known: so a Step carries it, and a Duration says which of the two it is.
#pragma once

#include <cmath>
#include <compare>
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

inline void append(std::string& out, const Duration& d) {
  out += str(d.unit == Duration::Unit::epochs ? "epochs(" : "iterations(", d.amount, ")");
}
inline std::ostream& operator<<(std::ostream& out, const Duration& d) { return out << str(d); }

}  // namespace espalier
