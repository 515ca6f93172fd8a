// SPDX-License-Identifier: Apache-2.0
// Poolings against loops over the definition.
#include "kernels_common.hpp"

#include <espalier/backend/detail/pool.hpp>

#include <doctest/doctest.h>

using namespace espalier;
using namespace espalier::detail;
using namespace kernels_test;

namespace {

std::vector<PoolShape> shapes() {
  const Index sizes[][7] = {{2, 8, 8, 64, 2, 2, 0}, {1, 7, 5, 3, 2, 2, 0}, {2, 9, 9, 17, 3, 2, 1}, {3, 6, 6, 33, 3, 1, 1}, {2, 4, 4, 10, 4, 4, 0}, {1, 1, 1, 5, 1, 1, 0}};
  std::vector<PoolShape> all;
  for (const auto& z : sizes) {
    PoolShape s;
    s.n = z[0], s.h = z[1], s.w = z[2], s.c = z[3];
    s.kernel_h = s.kernel_w = z[4];
    s.stride_h = s.stride_w = z[5];
    s.pad_h = s.pad_w = z[6];
    all.push_back(s);
  }
  all.back().n = 0;
  return all;
}

/// f(index into y, index into x, row * w + column, first of its window) for everything that a window sees.
template <class F>
void for_each_pair(const PoolShape& s, F f) {
  for (Index n = 0; n < s.n; ++n)
    for (Index oy = 0; oy < s.out_h(); ++oy)
      for (Index ox = 0; ox < s.out_w(); ++ox)
        for (Index c = 0; c < s.c; ++c) {
          bool first = true;
          for (Index i = 0; i < s.kernel_h; ++i)
            for (Index j = 0; j < s.kernel_w; ++j) {
              const Index y = oy * s.stride_h - s.pad_h + i, x = ox * s.stride_w - s.pad_w + j;
              if (y < 0 || y >= s.h || x < 0 || x >= s.w) continue;
              f(static_cast<std::size_t>(((n * s.out_h() + oy) * s.out_w() + ox) * s.c + c),
                static_cast<std::size_t>(((n * s.h + y) * s.w + x) * s.c + c), y * s.w + x, first);
              first = false;
            }
        }
}

}  // namespace

TEST_CASE("maximum pooling takes the first maximum and carries the gradient back to it") {
  for (const PoolShape& s : shapes()) {
    auto x = random_floats(s.n * s.h * s.w * s.c, 1);
    for (float& v : x) v = std::round(v * 3.0f);  // many ties
    const auto outputs = static_cast<std::size_t>(s.n * s.out_h() * s.out_w() * s.c);
    const auto dy = random_floats(static_cast<Index>(outputs), 2);
    std::vector<float> expected(outputs), y(outputs), y_alone(outputs), expected_dx(x.size()), dx(x.size(), 5.0f);
    std::vector<std::int32_t> expected_at(outputs), found_at(outputs);
    std::vector<std::size_t> source(outputs);
    for_each_pair(s, [&](std::size_t o, std::size_t i, Index here, bool first) {
      if (!first && !(x[i] > expected[o])) return;
      expected[o] = x[i];
      expected_at[o] = static_cast<std::int32_t>(here);
      source[o] = i;
    });
    for (std::size_t o = 0; o < outputs; ++o) expected_dx[source[o]] += dy[o];
    ThreadPool pool(2);
    max_pool_forward(pool, s, x.data(), y.data(), found_at.data());
    max_pool_forward(pool, s, x.data(), y_alone.data(), nullptr);
    max_pool_backward(pool, s, dy.data(), found_at.data(), dx.data());
    CHECK(y == expected);
    CHECK(y_alone == expected);
    CHECK(found_at == expected_at);
    CHECK(dx == expected_dx);
  }
}

TEST_CASE("a NaN in a window is its maximum") {
  PoolShape s;
  s.n = 1, s.h = 2, s.w = 2, s.c = 1;
  const float x[4] = {9.0f, std::nanf(""), 10.0f, 1.0f};
  float y = 0.0f;
  ThreadPool pool(1);
  max_pool_forward(pool, s, x, &y, nullptr);
  CHECK(std::isnan(y));
}

TEST_CASE("average pooling counts its padding, forward and back") {
  for (const PoolShape& s : shapes()) {
    const auto x = random_floats(s.n * s.h * s.w * s.c, 3);
    const Index outputs = s.n * s.out_h() * s.out_w() * s.c;
    const auto dy = random_floats(outputs, 4);
    const double share = 1.0 / static_cast<double>(s.kernel_h * s.kernel_w);
    Expected y(outputs), dx(static_cast<Index>(x.size()));
    for_each_pair(s, [&](std::size_t o, std::size_t i, Index, bool) {
      y.add(static_cast<Index>(o), static_cast<double>(x[i]), share);
      dx.add(static_cast<Index>(i), static_cast<double>(dy[o]), share);
    });
    std::vector<float> found_y(dy.size()), found_dx(x.size(), 5.0f);
    ThreadPool pool(2);
    avg_pool_forward(pool, s, x.data(), found_y.data());
    avg_pool_backward(pool, s, dy.data(), found_dx.data());
    CHECK(worst_error(y, found_y) < 1e-6);
    CHECK(worst_error(dx, found_dx) < 1e-6);
  }
}
