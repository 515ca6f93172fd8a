// SPDX-License-Identifier: Apache-2.0
// Products against loops in double, over shapes that divide nothing, and bit for bit over thread counts.
#include "kernels_common.hpp"

#include <espalier/backend/detail/gemm.hpp>

#include <doctest/doctest.h>

using namespace espalier;
using namespace espalier::detail;
using namespace kernels_test;

namespace {

struct Case {
  GemmShape shape;
  Store store = Store::assign;
  bool bias = false;
  Activation activation = Activation::none;
};

GemmShape shape_of(Index m, Index n, Index k, Transpose a, Transpose b, Index slack) {
  GemmShape s;
  s.m = m, s.n = n, s.k = k, s.a = a, s.b = b;
  s.lda = (a == Transpose::no ? k : m) + slack;
  s.ldb = (b == Transpose::no ? n : k) + slack;
  s.ldc = n + slack;
  return s;
}

Index a_size(const GemmShape& s) { return (s.a == Transpose::no ? s.m : s.k) * s.lda; }
Index b_size(const GemmShape& s) { return (s.b == Transpose::no ? s.k : s.n) * s.ldb; }

/// Runs the case with guards around every row of C; returns the worst error, or 1e30 if a guard was overwritten.
double error_of(const Case& test, int threads, bool prepacked) {
  const GemmShape& s = test.shape;
  const auto a = random_floats(a_size(s), 1), b = random_floats(b_size(s), 2), bias = random_floats(s.n, 3);
  auto c = random_floats(s.m * s.ldc, 4);
  Expected expected(s.m * s.ldc);
  for (Index i = 0; i < s.m; ++i)
    for (Index j = 0; j < s.ldc; ++j) {
      const Index at = i * s.ldc + j;
      const auto cell = static_cast<std::size_t>(at);
      if (j >= s.n) {
        expected.add(at, static_cast<double>(c[cell]), 1.0);
        expected.scale[cell] = 0;
        continue;
      }
      if (test.store == Store::add) expected.add(at, static_cast<double>(c[cell]), 1.0);
      for (Index p = 0; p < s.k; ++p)
        expected.add(at, static_cast<double>(a[static_cast<std::size_t>(s.a == Transpose::no ? i * s.lda + p : p * s.lda + i)]),
                     static_cast<double>(b[static_cast<std::size_t>(s.b == Transpose::no ? p * s.ldb + j : j * s.ldb + p)]));
      if (test.bias) expected.add(at, static_cast<double>(bias[static_cast<std::size_t>(j)]), 1.0);
      if (test.activation == Activation::relu) expected.value[cell] = std::max(expected.value[cell], 0.0);
    }
  ThreadPool pool(threads);
  Workspace ws(threads);
  Epilogue epilogue;
  epilogue.bias = test.bias ? bias.data() : nullptr;
  epilogue.activation = test.activation;
  if (prepacked)
    gemm(pool, ws, s, a.data(), pack_b(s, b.data()), c.data(), test.store, epilogue);
  else
    gemm(pool, ws, s, a.data(), b.data(), c.data(), test.store, epilogue);
  return worst_error(expected, c);
}

}  // namespace

TEST_CASE("products of every small shape and transposition agree with sums in double") {
  for (const Index m : {1, 2, 3, 7, 13, 14, 15, 29, 60})
    for (const Index n : {1, 3, 10, 16, 17, 33, 65})
      for (const Index k : {0, 1, 3, 16, 47}) {
        for (int t = 0; t < 4; ++t) {
          Case test;
          test.shape = shape_of(m, n, k, t & 1 ? Transpose::yes : Transpose::no, t & 2 ? Transpose::yes : Transpose::no, t);
          CAPTURE(m);
          CAPTURE(n);
          CAPTURE(k);
          CAPTURE(t);
          CHECK(error_of(test, 2, false) < 2e-6);
          CHECK(error_of(test, 1, true) < 2e-6);
        }
      }
}

TEST_CASE("bias, activation and addition happen once, however the sum is cut") {
  const Index sizes[][3] = {{60, 300, 784}, {1, 300, 784}, {3, 5, 3000}, {130, 70, 1025}, {20, 19, 9000}, {257, 513, 400}, {33, 256, 1024}, {64, 576, 2000}};
  for (const auto& size : sizes)
    for (int t = 0; t < 4; ++t)
      for (const Store store : {Store::assign, Store::add}) {
        Case test;
        test.shape = shape_of(size[0], size[1], size[2], t & 1 ? Transpose::yes : Transpose::no,
                              t & 2 ? Transpose::yes : Transpose::no, 0);
        test.store = store;
        test.bias = true;
        test.activation = Activation::relu;
        CAPTURE(size[0]);
        CAPTURE(size[1]);
        CAPTURE(size[2]);
        CAPTURE(t);
        CHECK(error_of(test, 3, false) < 5e-6);
        CHECK(error_of(test, 2, true) < 5e-6);
      }
}

TEST_CASE("taller blocks cut no sum otherwise, so they change no bit") {
  int taller = 0;
  for (const Index m : {20, 50, 64, 100, 128, 384, 512, 1024})
    for (const Index n : {40, 300, 400, 800, 1600, 3072})
      for (const Index k : {60, 400, 1024, 2048, 3072, 4096}) {
        const GemmShape s = shape_of(m, n, k, Transpose::no, Transpose::no, 0);
        const GemmBlocks flat(s), found = gemm_blocks(s);
        CHECK(found.splits == flat.splits);
        CHECK(found.k_step == flat.k_step);
        taller += found.block_rows > flat.block_rows;
      }
  CHECK(taller > 0);
}

TEST_CASE("every number of threads gives the same bits") {
  const Index sizes[][3] = {{60, 300, 784}, {1, 1000, 512}, {20, 19, 9000}, {300, 130, 70}, {2000, 33, 100}, {64, 576, 5000}};
  for (const auto& size : sizes)
    for (int t = 0; t < 4; ++t) {
      const GemmShape s = shape_of(size[0], size[1], size[2], t & 1 ? Transpose::yes : Transpose::no,
                                   t & 2 ? Transpose::yes : Transpose::no, 0);
      const auto a = random_floats(a_size(s), 5), b = random_floats(b_size(s), 6);
      std::vector<float> first;
      for (const int threads : {1, 2, 3, 4, 7}) {
        ThreadPool pool(threads);
        Workspace ws(threads);
        std::vector<float> c(static_cast<std::size_t>(s.m * s.ldc), 0.0f);
        gemm(pool, ws, s, a.data(), b.data(), c.data(), Store::assign);
        if (first.empty()) first = c;
        CAPTURE(threads);
        CAPTURE(size[0]);
        CAPTURE(t);
        CHECK(same_bits(first, c));
      }
    }
}

TEST_CASE("a batch of products equals its products one by one, strides of zero included") {
  const GemmShape s = shape_of(37, 45, 29, Transpose::no, Transpose::yes, 0);
  const Index batch = 5;
  const auto a = random_floats(batch * a_size(s), 7), b = random_floats(b_size(s), 8);
  std::vector<float> together(static_cast<std::size_t>(batch * s.m * s.n)), apart = together;
  ThreadPool pool(3);
  Workspace ws(3);
  gemm_batched(pool, ws, s, batch, a.data(), a_size(s), b.data(), 0, together.data(), s.m * s.n, Store::assign);
  for (Index i = 0; i < batch; ++i)
    gemm(pool, ws, s, a.data() + i * a_size(s), b.data(), apart.data() + i * s.m * s.n, Store::assign);
  double worst = 0;
  for (std::size_t i = 0; i < apart.size(); ++i) worst = std::max(worst, static_cast<double>(std::abs(apart[i] - together[i])));
  CHECK(worst < 1e-5);
}

TEST_CASE("a ReLU passes a NaN on") {
  const float a[1] = {std::nanf("")}, b[2] = {1.0f, 2.0f};
  float c[2] = {0.0f, 0.0f};
  ThreadPool pool(1);
  Workspace ws(1);
  Epilogue epilogue;
  epilogue.activation = Activation::relu;
  gemm(pool, ws, shape_of(1, 2, 1, Transpose::no, Transpose::no, 0), a, b, c, Store::assign, epilogue);
  CHECK(std::isnan(c[0]));
  CHECK(std::isnan(c[1]));
}

TEST_CASE("a second equal product asks for no memory") {
  const GemmShape s = shape_of(100, 90, 3000, Transpose::yes, Transpose::yes, 0);
  const auto a = random_floats(a_size(s), 9), b = random_floats(b_size(s), 10);
  std::vector<float> c(static_cast<std::size_t>(s.m * s.n));
  ThreadPool pool(1);
  Workspace ws(1);
  gemm(pool, ws, s, a.data(), b.data(), c.data(), Store::assign);
  const auto held = ws.bytes();
  gemm(pool, ws, s, a.data(), b.data(), c.data(), Store::assign);
  CHECK(ws.bytes() == held);
}
