// SPDX-License-Identifier: Apache-2.0
// How a compiled model computes a linear layer, from what measurements that was chosen, and the sentence
// that says so. See compiled.hpp.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <ostream>
#include <string>

#include <espalier/error.hpp>
#include <espalier/backend/geometry.hpp>

namespace espalier {

/// The ways to compute a linear layer.
enum class LinearKernel {
  dense,   // the product of the contract
  packed,  // dense, the weights packed once
  sparse,  // the nonzero weights only
};

inline const char* name_of(LinearKernel kernel) {
  return kernel == LinearKernel::dense ? "dense" : kernel == LinearKernel::packed ? "packed" : "sparse";
}

/// How kernels are measured and chosen.
struct CompileOptions {
  double margin = 0.05;         // a kernel is chosen if it takes less than (1 - margin) of the time of those before it
  double least_sparsity = 0.2;  // fraction of a layer's weights that must be zero for the sparse kernel to be tried
  int runs = 11;                // timed calls of each kernel, turn and turn about; the least counts
  bool operator==(const CompileOptions&) const = default;

  /// Throws PolicyError naming the field, its value and its range.
  void validate() const {
    if (!(margin >= 0 && margin < 1)) throw PolicyError(str("CompileOptions.margin is ", margin, "; it must be at least 0 and below 1. Set it to 0.05."));
    if (!(least_sparsity >= 0 && least_sparsity <= 1))
      throw PolicyError(str("CompileOptions.least_sparsity is ", least_sparsity, "; a fraction is from 0 to 1. Set it to 0.2."));
    if (runs < 1) throw PolicyError(str("CompileOptions.runs is ", runs, "; it must be 1 or more. Set it to 11."));
  }
};

/// As it is written in code.
inline std::ostream& operator<<(std::ostream& to, const CompileOptions& o) {
  return to << str("CompileOptions{.margin = ", o.margin, ", .least_sparsity = ", o.least_sparsity, ", .runs = ", o.runs, '}');
}

/// What was measured for one linear layer, and what was chosen. Seconds are those of the fastest call.
struct LinearChoice {
  std::string layer;    // its path: "classifier.0"
  Index rows = 0, inputs = 0, outputs = 0;
  double sparsity = 0;  // fraction of its weights that are zero
  double dense = 0;     // seconds
  std::optional<double> packed{}, sparse{};  // seconds; none where the device has no such kernel or it was not tried
  std::optional<double> sparse_needs{};  // the fraction of zeros that sparse was not tried for want of
  LinearKernel kernel = LinearKernel::dense;
  bool operator==(const LinearChoice&) const = default;

  /// The kernel that these times speak for.
  LinearKernel fastest(double margin) const {
    LinearKernel chosen = LinearKernel::dense;
    double bar = dense;
    if (packed && *packed < (1 - margin) * bar) chosen = LinearKernel::packed, bar = *packed;
    if (sparse && *sparse < (1 - margin) * std::min(bar, packed.value_or(bar))) chosen = LinearKernel::sparse;
    return chosen;
  }

  /// "classifier.0: 91.2 % zeros, dense 812 us, sparse 301 us: sparse", or
  /// "classifier.3: 12.5 % zeros, dense 812 us, sparse not tried below 20 % zeros: dense".
  std::string reason() const {
    const auto tenths = static_cast<Index>(std::floor(sparsity * 1000));  // 100 % is said of all zeros only
    std::string text = str(layer, ": ", tenths / 10, '.', tenths % 10, " % zeros, dense ", time(dense));
    if (packed) text += str(", packed ", time(*packed));
    if (sparse) text += str(", sparse ", time(*sparse));
    if (sparse_needs) text += str(", sparse not tried below ", std::round(*sparse_needs * 1000) / 10, " % zeros");
    text += str(": ", name_of(kernel));
    const double least = std::min(packed.value_or(dense), sparse.value_or(dense));
    const double kept = kernel == LinearKernel::dense ? dense : kernel == LinearKernel::packed ? *packed : *sparse;
    if (least < kept) text += ", the others within the margin";
    return text;
  }

 private:
  static std::string time(double seconds) {
    const double us = seconds * 1e6;
    if (us < 10) return str(std::round(us * 10) / 10, " us");
    return us < 10000 ? str(static_cast<Index>(std::round(us)), " us") : str(std::round(us / 100) / 10, " ms");
  }
};

inline std::ostream& operator<<(std::ostream& to, const LinearChoice& choice) { return to << choice.reason(); }

/// A clock that returns seconds; tests bring their own.
using SecondsClock = double (*)();

inline double steady_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace espalier
