// SPDX-License-Identifier: Apache-2.0
// The conformance suite of the Backend concept: what a new backend must pass. It compares every primitive
// with BasicReference<double>; `same_bits` compares two backends, or one with itself, to the bit.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>

#include <espalier/backend/reference.hpp>

#include "conformance/primitives.hpp"

namespace espalier::test {

/// The largest permitted error of a result, relative to the largest value of the same result (or to 0.1).
struct Tolerances {
  double element_wise = 2e-7;
  double product = 2e-6;
  double convolution = 2e-6;
  double normalised = 5e-6;
  double cancelling = 1e-4;  // normalised values a hundred deviations from zero
};

inline double permitted(const Tolerances& t, Kind kind) {
  switch (kind) {
    case Kind::exact: return 0;
    case Kind::element_wise: return t.element_wise;
    case Kind::product: return t.product;
    case Kind::convolution: return t.convolution;
    case Kind::normalised: return t.normalised;
    case Kind::cancelling: return t.cancelling;
  }
  return 0;
}

/// The largest error of `found`, relative to the largest value expected or to 0.1; NaN and infinities must agree.
inline double relative_error(const std::vector<double>& expected, const std::vector<double>& found) {
  if (expected.size() != found.size()) return 1e300;
  double largest = 0.1, error = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isfinite(expected[i])) largest = std::max(largest, std::abs(expected[i]));
    if (std::isfinite(expected[i]) && std::isfinite(found[i])) error = std::max(error, std::abs(expected[i] - found[i]));
    else if (std::isnan(expected[i]) != std::isnan(found[i]) || (!std::isnan(expected[i]) && expected[i] != found[i])) return 1e300;
  }
  return error / largest;
}

/// One group of primitives, run on a backend.
#define ESPALIER_SCRIPT(group)                                        \
  struct group##_records {                                            \
    template <Backend B> std::vector<Record> operator()(B& b) const { \
      Script<B> script(b);                                            \
      group##_script(script);                                         \
      return script.take();                                           \
    }                                                                 \
  }
ESPALIER_SCRIPT(memory);
ESPALIER_SCRIPT(gemm);
ESPALIER_SCRIPT(conv);
ESPALIER_SCRIPT(norm);
ESPALIER_SCRIPT(row);
ESPALIER_SCRIPT(pool);
#undef ESPALIER_SCRIPT

/// Checks one group; the largest error of each kind is returned for reports.
template <class Records, Backend B>
std::array<double, 6> conforms(B& b, const Tolerances& tolerances = {}) {
  BasicReference<double> oracle;
  const auto expected = Records{}(oracle), found = Records{}(b);
  std::array<double, 6> worst{};
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double error = relative_error(expected[i].values, found[i].values);
    INFO(expected[i].name);
    CHECK(error <= permitted(tolerances, expected[i].kind));
    double& largest = worst[static_cast<std::size_t>(expected[i].kind)];
    largest = std::max(largest, error);
  }
  return worst;
}

/// The whole suite.
template <Backend B>
void backend_conformance(B& b, const Tolerances& tolerances = {}) {
  conforms<memory_records>(b, tolerances);
  conforms<gemm_records>(b, tolerances);
  conforms<conv_records>(b, tolerances);
  conforms<norm_records>(b, tolerances);
  conforms<row_records>(b, tolerances);
  conforms<pool_records>(b, tolerances);
}

/// Checks that two backends give equal bits.
template <class Records, Backend A, Backend B>
void same_bits(A& a, B& b) {
  const auto expected = Records{}(a), found = Records{}(b);
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto& x = expected[i].values;
    const auto& y = found[i].values;
    const bool equal = std::equal(x.begin(), x.end(), y.begin(), y.end(), [](double l, double r) { return std::bit_cast<std::uint64_t>(l) == std::bit_cast<std::uint64_t>(r); });
    INFO(expected[i].name);
    CHECK(equal);
  }
}

}  // namespace espalier::test
