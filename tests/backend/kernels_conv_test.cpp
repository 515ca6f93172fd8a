// SPDX-License-Identifier: Apache-2.0
// Convolutions by every algorithm against the definition in double, the three of them against each
// other through their inner products, and bit for bit over thread counts.
#include "kernels_common.hpp"

#include <espalier/backend/detail/conv.hpp>

#include <doctest/doctest.h>

using namespace espalier;
using namespace espalier::detail;
using namespace kernels_test;

namespace {

struct Sizes {
  Index n, h, w, in, out, kernel, stride, pad, groups;
};

ConvShape shape_of(const Sizes& z) {
  ConvShape s;
  s.n = z.n, s.h = z.h, s.w = z.w, s.in = z.in, s.out = z.out;
  s.kernel_h = s.kernel_w = z.kernel;
  s.stride_h = s.stride_w = z.stride;
  s.pad_h = s.pad_w = z.pad;
  s.groups = z.groups;
  return s;
}

std::vector<ConvShape> shapes() {
  const Sizes sizes[] = {
      {2, 8, 8, 3, 16, 3, 1, 1, 1},    {1, 9, 7, 1, 3, 3, 1, 1, 1},     {2, 5, 6, 19, 57, 3, 1, 1, 1},   {3, 4, 4, 64, 32, 3, 1, 1, 1},
      {2, 2, 2, 40, 24, 3, 1, 1, 1},   {2, 1, 1, 8, 8, 3, 1, 1, 1},     {1, 13, 17, 16, 16, 3, 1, 1, 1}, {2, 9, 9, 16, 32, 3, 2, 1, 1},
      {2, 8, 8, 16, 32, 1, 1, 0, 1},   {2, 8, 7, 16, 32, 1, 2, 0, 1},   {1, 12, 11, 6, 10, 5, 1, 2, 1},  {2, 12, 12, 6, 16, 5, 1, 0, 1},
      {2, 10, 10, 4, 6, 4, 3, 2, 1},   {1, 16, 16, 3, 8, 7, 2, 3, 1},   {2, 6, 6, 12, 18, 3, 1, 1, 3},   {2, 7, 6, 12, 24, 3, 2, 1, 12},
      {2, 7, 6, 21, 21, 3, 1, 1, 21},  {2, 9, 8, 33, 33, 3, 2, 1, 33},  {1, 5, 5, 17, 17, 5, 1, 2, 17},  {2, 8, 8, 3, 3, 3, 1, 2, 1},
      {2, 10, 33, 17, 19, 3, 1, 1, 1}, {1, 6, 31, 20, 48, 3, 1, 0, 1},  {5, 32, 32, 3, 20, 3, 1, 1, 1},  {2, 14, 15, 32, 40, 3, 1, 1, 2},
      {9, 8, 8, 20, 36, 3, 1, 1, 1},   {17, 4, 4, 20, 36, 3, 1, 1, 1},  {33, 2, 2, 20, 36, 3, 1, 1, 1},
  };
  std::vector<ConvShape> all;
  for (const Sizes& z : sizes) all.push_back(shape_of(z));
  ConvShape uneven = shape_of({2, 9, 12, 5, 7, 3, 1, 1, 1});  // everything different in the two directions
  uneven.kernel_w = 5, uneven.stride_h = 2, uneven.pad_w = 0;
  all.push_back(uneven);
  return all;
}

Index x_size(const ConvShape& s) { return s.n * s.h * s.w * s.in; }
Index y_size(const ConvShape& s) { return s.n * s.out_h() * s.out_w() * s.out; }

/// f(index into x, into w, into y) for every product of the definition.
template <class F>
void for_each_product(const ConvShape& s, F f) {
  const Index in = s.in / s.groups, out = s.out / s.groups;
  for (Index n = 0; n < s.n; ++n)
    for (Index oy = 0; oy < s.out_h(); ++oy)
      for (Index ox = 0; ox < s.out_w(); ++ox)
        for (Index kh = 0; kh < s.kernel_h; ++kh)
          for (Index kw = 0; kw < s.kernel_w; ++kw) {
            const Index iy = oy * s.stride_h - s.pad_h + kh, ix = ox * s.stride_w - s.pad_w + kw;
            if (iy < 0 || iy >= s.h || ix < 0 || ix >= s.w) continue;
            for (Index g = 0; g < s.groups; ++g)
              for (Index c = 0; c < in; ++c)
                for (Index o = 0; o < out; ++o)
                  f(((n * s.h + iy) * s.w + ix) * s.in + g * in + c, ((kh * s.kernel_w + kw) * in + c) * s.out + g * out + o,
                    ((n * s.out_h() + oy) * s.out_w() + ox) * s.out + g * out + o);
          }
}

double tolerance(ConvAlgorithm algorithm) {
  switch (algorithm) {
    case ConvAlgorithm::direct: return 4e-6;
    case ConvAlgorithm::winograd2: return 1e-5;
    default: return 2e-4;
  }
}

constexpr ConvAlgorithm algorithms[] = {ConvAlgorithm::direct, ConvAlgorithm::winograd2, ConvAlgorithm::winograd4, ConvAlgorithm::automatic};

double at(const std::vector<float>& v, Index i) { return static_cast<double>(v[static_cast<std::size_t>(i)]); }

}  // namespace

TEST_CASE("forward agrees with the definition, with and without packed weights, bias and ReLU") {
  for (const ConvShape& s : shapes()) {
    const auto x = random_floats(x_size(s), 1), w = random_floats(s.weight_count(), 2), bias = random_floats(s.out, 3);
    Expected plain(y_size(s));
    for_each_product(s, [&](Index i, Index j, Index o) { plain.add(o, at(x, i), at(w, j)); });
    Expected finished = plain;
    for (Index i = 0; i < y_size(s); ++i) {
      finished.add(i, at(bias, i % s.out), 1.0);
      double& value = finished.value[static_cast<std::size_t>(i)];
      value = std::max(value, 0.0);
    }
    ThreadPool pool(2);
    Workspace ws(2);
    Epilogue epilogue;
    epilogue.bias = bias.data();
    epilogue.activation = Activation::relu;
    for (const ConvAlgorithm algorithm : algorithms) {
      CAPTURE(s.h);
      CAPTURE(s.in);
      CAPTURE(s.out);
      CAPTURE(s.groups);
      CAPTURE(static_cast<int>(algorithm));
      std::vector<float> y(static_cast<std::size_t>(y_size(s)), 7.0f);
      conv_forward(pool, ws, s, x.data(), w.data(), y.data(), {}, nullptr, algorithm);
      CHECK(worst_error(plain, y) < tolerance(algorithm));
      const auto packed = pack_conv(s, w.data(), algorithm);
      std::vector<float> z(y.size(), 7.0f);
      conv_forward(pool, ws, s, x.data(), w.data(), z.data(), epilogue, &packed, algorithm);
      CHECK(worst_error(finished, z) < tolerance(algorithm));
    }
  }
}

TEST_CASE("the gradients agree with the definition, stored or added") {
  for (const ConvShape& s : shapes()) {
    const auto x = random_floats(x_size(s), 4), w = random_floats(s.weight_count(), 5), dy = random_floats(y_size(s), 6);
    Expected dx(x_size(s)), dw(s.weight_count());
    for_each_product(s, [&](Index i, Index j, Index o) {
      dx.add(i, at(dy, o), at(w, j));
      dw.add(j, at(dy, o), at(x, i));
    });
    ThreadPool pool(2);
    Workspace ws(2);
    for (const Store store : {Store::assign, Store::add})
      for (const ConvAlgorithm algorithm : algorithms) {
        CAPTURE(s.h);
        CAPTURE(s.in);
        CAPTURE(s.out);
        CAPTURE(s.kernel_h);
        CAPTURE(s.stride_h);
        CAPTURE(s.groups);
        CAPTURE(static_cast<int>(algorithm));
        auto found_x = random_floats(x_size(s), 7), found_w = random_floats(s.weight_count(), 8);
        Expected ex = dx, ew = dw;
        if (store == Store::add) {
          for (Index i = 0; i < x_size(s); ++i) ex.add(i, at(found_x, i), 1.0);
          for (Index i = 0; i < s.weight_count(); ++i) ew.add(i, at(found_w, i), 1.0);
        }
        conv_backward_input(pool, ws, s, dy.data(), w.data(), found_x.data(), store, algorithm);
        CHECK(worst_error(ex, found_x) < tolerance(algorithm));
        conv_backward_weights(pool, ws, s, x.data(), dy.data(), found_w.data(), store, algorithm);
        CHECK(worst_error(ew, found_w) < tolerance(algorithm));
      }
  }
}

TEST_CASE("forward and both gradients are adjoint: <dy, conv(x, w)> = <dx, x> = <dw, w>") {
  for (const ConvShape& s : shapes())
    for (const ConvAlgorithm algorithm : algorithms) {
      const auto x = random_floats(x_size(s), 9), w = random_floats(s.weight_count(), 10), dy = random_floats(y_size(s), 11);
      std::vector<float> y(dy.size()), dx(x.size()), dw(w.size());
      ThreadPool pool(1);
      Workspace ws(1);
      conv_forward(pool, ws, s, x.data(), w.data(), y.data(), {}, nullptr, algorithm);
      conv_backward_input(pool, ws, s, dy.data(), w.data(), dx.data(), Store::assign, algorithm);
      conv_backward_weights(pool, ws, s, x.data(), dy.data(), dw.data(), Store::assign, algorithm);
      const double scale = std::sqrt(dot(dy, dy) * dot(y, y)) + 1e-9;
      CAPTURE(s.h);
      CAPTURE(s.in);
      CAPTURE(static_cast<int>(algorithm));
      CHECK(std::abs(dot(dy, y) - dot(dx, x)) / scale < tolerance(algorithm));
      CHECK(std::abs(dot(dy, y) - dot(dw, w)) / scale < tolerance(algorithm));
    }
}

TEST_CASE("every number of threads gives the same bits") {
  auto all = shapes();
  all.push_back(shape_of({40, 8, 8, 32, 32, 3, 1, 1, 1}));
  all.push_back(shape_of({12, 16, 16, 16, 16, 3, 1, 1, 1}));
  all.push_back(shape_of({70, 4, 4, 160, 144, 3, 1, 1, 1}));
  for (const ConvShape& s : all)
    for (const ConvAlgorithm algorithm : algorithms) {
      const auto x = random_floats(x_size(s), 12), w = random_floats(s.weight_count(), 13), dy = random_floats(y_size(s), 14);
      std::vector<float> first;
      for (const int threads : {1, 2, 3, 4, 7}) {
        ThreadPool pool(threads);
        Workspace ws(threads);
        const std::size_t ny = dy.size(), nx = x.size(), nw = w.size();
        std::vector<float> all_results(ny + nx + nw);
        conv_forward(pool, ws, s, x.data(), w.data(), all_results.data(), {}, nullptr, algorithm);
        conv_backward_input(pool, ws, s, dy.data(), w.data(), all_results.data() + ny, Store::assign, algorithm);
        conv_backward_weights(pool, ws, s, x.data(), dy.data(), all_results.data() + ny + nx, Store::assign, algorithm);
        if (first.empty()) first = all_results;
        CAPTURE(threads);
        CAPTURE(s.h);
        CAPTURE(s.in);
        CAPTURE(static_cast<int>(algorithm));
        CHECK(same_bits(first, all_results));
      }
    }
}

TEST_CASE("an empty batch computes nothing and clears the weights' gradient") {
  ConvShape s = shape_of({0, 8, 8, 16, 16, 3, 1, 1, 1});
  const auto w = random_floats(s.weight_count(), 15);
  std::vector<float> dw(w.size(), 3.0f);
  ThreadPool pool(2);
  Workspace ws(2);
  for (const ConvAlgorithm algorithm : algorithms) {
    conv_forward(pool, ws, s, nullptr, w.data(), nullptr, {}, nullptr, algorithm);
    conv_backward_input(pool, ws, s, nullptr, w.data(), nullptr, Store::assign, algorithm);
    dw.assign(dw.size(), 3.0f);
    conv_backward_weights(pool, ws, s, nullptr, nullptr, dw.data(), Store::assign, algorithm);
    CHECK(dw == std::vector<float>(dw.size(), 0.0f));
  }
}

TEST_CASE("a second equal convolution asks for no memory") {
  const ConvShape s = shape_of({3, 8, 8, 20, 24, 3, 1, 1, 1});
  const auto x = random_floats(x_size(s), 16), w = random_floats(s.weight_count(), 17);
  std::vector<float> y(static_cast<std::size_t>(y_size(s))), dx(x.size()), dw(w.size());
  for (const ConvAlgorithm algorithm : algorithms) {
    ThreadPool pool(1);
    Workspace ws(1);
    std::size_t held = 0;
    for (int round = 0; round < 2; ++round) {
      conv_forward(pool, ws, s, x.data(), w.data(), y.data(), {}, nullptr, algorithm);
      conv_backward_input(pool, ws, s, y.data(), w.data(), dx.data(), Store::assign, algorithm);
      conv_backward_weights(pool, ws, s, x.data(), y.data(), dw.data(), Store::assign, algorithm);
      if (round == 0) held = ws.bytes();
    }
    CHECK(ws.bytes() == held);
  }
}
