// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "conformance/backend.hpp"

using namespace espalier;
using namespace espalier::test;

TEST_CASE("the reference backend conforms in float") {
  Reference b;
  // Sums are accumulated in double and rounded once; backward convolutions accumulate in float.
  backend_conformance(b, {.element_wise = 2e-7, .product = 2e-7, .convolution = 2e-6, .normalised = 5e-6});
}

TEST_CASE("the reference backend gives equal bits for equal inputs") {
  Reference a, b;
  same_bits<gemm_records>(a, b);
  same_bits<norm_records>(a, b);
}

namespace {

// The reference with a mistake: the suite must notice.
struct Careless : BasicReference<float> {
  enum class Mistake { none, forgets_bias, ignores_add, writes_too_far, last_maximum_wins };
  Mistake mistake = Mistake::none;

  void gemm(const GemmShape& s, const float* a, const float* b, float* c, Store store, const Epilogue<Careless>& epilogue = {}) {
    Epilogue<BasicReference<float>> copy{.bias = epilogue.bias, .activation = epilogue.activation};
    if (mistake == Mistake::forgets_bias) copy.bias = {};
    BasicReference<float>::gemm(s, a, b, c, mistake == Mistake::ignores_add ? Store::assign : store, copy);
    if (mistake == Mistake::writes_too_far) c[s.m * s.ldc] = 0;
  }
  void conv_forward(const ConvShape& s, const float* x, const float* w, float* y, const Epilogue<Careless>& epilogue = {}, const PreparedConv* = nullptr) {
    BasicReference<float>::conv_forward(s, x, w, y, {.bias = epilogue.bias, .activation = epilogue.activation});
  }
  void batch_norm_train(Index rows, Index c, double eps, const float* x, const float* gamma, const float* beta, float* y, float* mean, float* var,
                        const AfterNorm<Careless>& after = {}) {
    BasicReference<float>::batch_norm_train(rows, c, eps, x, gamma, beta, y, mean, var, {after.residual, after.activation});
  }
  void batch_norm_apply(Index rows, Index c, double eps, const float* x, const float* gamma, const float* beta, const float* mean, const float* var, float* y,
                        const AfterNorm<Careless>& after = {}) {
    BasicReference<float>::batch_norm_apply(rows, c, eps, x, gamma, beta, mean, var, y, {after.residual, after.activation});
  }
  void batch_norm_backward(Index rows, Index c, double eps, Statistics statistics, const float* x, const float* gamma, const float* mean, const float* var,
                           const float* y, const AfterNorm<Careless>& after, const float* dy, float* dx, float* dgamma, float* dbeta, espalier::Maybe<float*> dresidual) {
    BasicReference<float>::batch_norm_backward(rows, c, eps, statistics, x, gamma, mean, var, y, {after.residual, after.activation}, dy, dx, dgamma, dbeta, dresidual);
  }
  void max_pool_forward(const PoolShape& s, const float* x, float* y, std::int32_t* argmax) {
    BasicReference<float>::max_pool_forward(s, x, y, argmax);
    if (mistake != Mistake::last_maximum_wins) return;
    for (Index i = 0; i < s.n * s.out_h() * s.out_w() * s.c; ++i)
      for (Index at = argmax[i] + 1; at < std::min(argmax[i] + 2, static_cast<std::int32_t>(s.h * s.w)); ++at)
        if (x[(i / (s.out_h() * s.out_w() * s.c) * s.h * s.w + at) * s.c + i % s.c] == y[i]) argmax[i] = static_cast<std::int32_t>(at);
  }
};
static_assert(Backend<Careless>);

// The number of results of a group beyond the tolerances, or -1 if a guard was overwritten.
template <class Records>
int complaints(Careless::Mistake mistake) {
  BasicReference<double> oracle;
  Careless b;
  b.mistake = mistake;
  try {
    const auto expected = Records{}(oracle), found = Records{}(b);
    int count = 0;
    for (std::size_t i = 0; i < found.size(); ++i)
      count += relative_error(expected[i].values, found[i].values) > permitted(Tolerances{}, expected[i].kind) ? 1 : 0;
    return count;
  } catch (const BackendError&) {
    return -1;
  }
}

}  // namespace

TEST_CASE("the suite notices a forgotten bias, an ignored sum, a write past the end and a wrong tie") {
  using Mistake = Careless::Mistake;
  CHECK(complaints<gemm_records>(Mistake::none) == 0);
  CHECK(complaints<gemm_records>(Mistake::forgets_bias) > 0);
  CHECK(complaints<gemm_records>(Mistake::ignores_add) > 0);
  CHECK(complaints<gemm_records>(Mistake::writes_too_far) == -1);
  CHECK(complaints<pool_records>(Mistake::none) == 0);
  CHECK(complaints<pool_records>(Mistake::last_maximum_wins) > 0);
}
