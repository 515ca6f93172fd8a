// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/backend/eigen_cpu.hpp>

#include "conformance/backend.hpp"
#include "conformance/prepared.hpp"

using namespace espalier;
using namespace espalier::test;

namespace eigen_cpu_test {

namespace {

// Winograd's transforms add and subtract before they multiply, and round more.
constexpr Tolerances fast{.convolution = 2e-5};

template <class Records>
void conforms_with_any_threads() {
  EigenCpu one({.threads = 1});
  const auto worst = conforms<Records>(one, fast);
  MESSAGE("worst errors: element-wise ", worst[1], ", product ", worst[2], ", convolution ", worst[3], ", normalised ", worst[4]);
  for (int threads : {2, 3, 4, 7}) {
    CAPTURE(threads);
    EigenCpu many({.threads = threads});
    same_bits<Records>(one, many);
    same_bits<Records>(one, many);  // warm: scratch memory holds old values now
  }
}

}  // namespace

TEST_CASE("EigenCpu conforms on memory and sums, with equal bits on 1, 2, 3, 4 and 7 threads") { conforms_with_any_threads<memory_records>(); }
TEST_CASE("EigenCpu conforms on products, with equal bits on 1, 2, 3, 4 and 7 threads") { conforms_with_any_threads<gemm_records>(); }
TEST_CASE("EigenCpu conforms on convolutions, with equal bits on 1, 2, 3, 4 and 7 threads") { conforms_with_any_threads<conv_records>(); }
TEST_CASE("EigenCpu conforms on normalisations, with equal bits on 1, 2, 3, 4 and 7 threads") { conforms_with_any_threads<norm_records>(); }
TEST_CASE("EigenCpu conforms on rows, with equal bits on 1, 2, 3, 4 and 7 threads") { conforms_with_any_threads<row_records>(); }
TEST_CASE("EigenCpu conforms on poolings, with equal bits on 1, 2, 3, 4 and 7 threads") { conforms_with_any_threads<pool_records>(); }
TEST_CASE("EigenCpu's packed and sparse products conform, with equal bits on 1, 2, 3, 4 and 7 threads") { conforms_with_any_threads<prepared_records>(); }

TEST_CASE("EigenCpu's exact convolutions round no more than products do") {
  EigenCpu exact({.threads = 1, .convolution = ConvolutionMode::exact});
  const auto worst = conforms<conv_records>(exact, Tolerances{});
  MESSAGE("worst error: ", worst[3]);
  for (int threads : {2, 3, 7}) {
    EigenCpu many({.threads = threads, .convolution = ConvolutionMode::exact});
    same_bits<conv_records>(exact, many);
  }
}

TEST_CASE("memory is 64-byte aligned, new and taken again") {
  EigenCpu b;
  for (int round = 0; round < 2; ++round)
    for (Index n : {1, 5, 64, 1000, 100000}) CHECK(reinterpret_cast<std::uintptr_t>(b.allocate<float>(n).data()) % 64 == 0);
}

TEST_CASE("results below the smallest normal float are zero on every thread, and kept on request; the caller's mode is its own") {
  const auto product = [](EigenCpu& b, float x, float y) {
    constexpr Index n = 200000;  // several blocks
    const auto in = Tensor<EigenCpu>::from(b, {n}, std::vector<float>(n, x));
    auto out = Tensor<EigenCpu>::zeros(b, {n});
    b.each(n, [y](Index, float& to, const float& from) { to = from * y; }, out.data(), in.data());
    return to_host(b, out, Layout::plain).values;
  };
  const volatile float tiny = 1e-20f;
  const float expected = detail::can_flush_subnormals ? 0.0f : tiny * tiny;
  for (const int threads : {1, 3}) {
    EigenCpu flushes({.threads = threads}), keeps({.threads = threads, .subnormals = Subnormals::keep});
    CHECK(product(flushes, 1e-20f, 1e-20f) == std::vector<float>(200000, expected));
    CHECK(product(keeps, 1e-20f, 1e-20f) == std::vector<float>(200000, 1e-40f));
    CHECK(product(flushes, 1e-40f, 1e20f) == std::vector<float>(200000, 1e-40f * 1e20f));  // a subnormal input is read as it is
    CHECK(product(flushes, 2e-19f, 1e-19f) == std::vector<float>(200000, 2e-19f * 1e-19f));  // 2e-38: normal
    CHECK(tiny * tiny > 0.0f);
  }
#if defined(__SSE__)
  // Whatever mode the caller is in: blocks that it computes itself are no others.
  const unsigned mode = _mm_getcsr();
  for (const unsigned callers : {mode | 0x8040u, mode | 0x0040u}) {  // flushed results and inputs, inputs alone
    EigenCpu flushes({.threads = 3}), keeps({.threads = 3, .subnormals = Subnormals::keep});
    _mm_setcsr(callers);
    const auto kept = product(keeps, 1e-20f, 1e-20f), flushed = product(flushes, 1e-20f, 1e-20f), read = product(flushes, 1e-40f, 1e20f);
    const unsigned after = _mm_getcsr();
    _mm_setcsr(mode);
    CHECK((after & ~0x3fu) == (callers & ~0x3fu));
    CHECK(kept == std::vector<float>(200000, 1e-40f));
    CHECK(flushed == std::vector<float>(200000, 0.0f));
    CHECK(read == std::vector<float>(200000, 1e-40f * 1e20f));
  }
#endif
}

}  // namespace eigen_cpu_test
