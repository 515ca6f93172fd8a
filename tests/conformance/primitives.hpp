// SPDX-License-Identifier: Apache-2.0
// Calls every primitive of the Backend contract over a grid of odd shapes, in groups that can be compiled
// and run apart: memory and products, convolutions, normalisations and rows, pooling.
#pragma once

#include <array>

#include "conformance/script.hpp"

namespace espalier::test {

struct Twist {
  template <class T> ESPALIER_HD void operator()(Index i, T& y, const T& a, const T& b) const { y = a * T{2} - b + static_cast<T>(i % 5); }
};
struct Increase {
  template <class T> ESPALIER_HD void operator()(Index, T& y) const { y += T{1}; }
};
struct Term {
  template <class T> ESPALIER_HD T operator()(Index i, const T& a, const T& b) const { return i % 2 == 0 ? a * b : a; }
};

template <Backend B>
void memory_script(Script<B>& s) {
  using T = typename B::Scalar;
  for (Index n : {Index{0}, Index{1}, Index{7}, Index{64}, Index{1001}}) {
    const auto from = s.in(n);
    s.b.copy(from, s.out(n), n);
    s.b.fill(s.out(n), n, T{2.5});
    s.record(str("copy and fill ", n), Kind::exact);
  }
  for (Index n : {Index{0}, Index{1}, Index{33}, Index{4099}, Index{70001}}) {
    const auto a = s.in(n), c = s.in(n);
    s.b.each(n, Twist{}, s.out(n), a, c);
    s.b.each(n, Increase{}, s.out(n, Store::add));
    s.b.sum(n, Term{}, s.out(1), a, c);
    s.record(str("each and sum ", n), Kind::product);
  }
  for (Store store : {Store::assign, Store::add}) {
    struct Case {
      StridedCopy copy;
      Index from, to;
    };
    for (const Case& c : {
             Case{{.extents = {7}, .from_strides = {3}, .to_strides = {1}}, 19, 7},
             Case{{.extents = {5, 3}, .from_strides = {1, 5}, .to_strides = {3, 1}}, 15, 15},                        // transposed
             Case{{.extents = {4, 6}, .from_strides = {0, 1}, .to_strides = {6, 1}}, 6, 24},                         // one row for all
             Case{{.extents = {3, 5}, .from_strides = {5, 1}, .to_strides = {9, 1}}, 15, 23},                        // into wider rows
             Case{{.extents = {2, 3, 4, 5}, .from_strides = {60, 20, 5, 1}, .to_strides = {60, 4, 1, 12}}, 120, 120},  // flattened
             Case{{.extents = {2, 3, 2, 2, 3}, .from_strides = {36, 1, 18, 9, 3}, .to_strides = {36, 12, 6, 3, 1}}, 72, 72},
             Case{{.extents = {3, 28, 28, 1}, .from_strides = {784, 28, 1, 1}, .to_strides = {784, 28, 1, 784}}, 2352, 2352},  // one channel, flattened
             Case{{.extents = {1, 4, 1, 5}, .from_strides = {9, 5, 7, 1}, .to_strides = {9, 6, 7, 1}}, 20, 24},            // axes of one
             Case{{.extents = {1, 1}, .from_strides = {3, 3}, .to_strides = {2, 2}}, 1, 1},
             Case{{.extents = {2, 0, 3}, .from_strides = {1, 1, 1}, .to_strides = {1, 1, 1}}, 4, 4},
         }) {
      const auto from = s.in(c.from);
      const auto to = s.out(c.to, Store::add);  // gaps keep their values
      s.b.strided_copy(c.copy, from, to, store);
      s.record(str("strided_copy ", c.copy.extents, " ", say(store)), Kind::element_wise);
    }
    for (Index rows : {1, 3, 130, 1000})
      for (Index cols : {1, 2, 7, 33, 260}) {
        const auto x = s.in(rows * cols, -0.5, 1);
        s.b.column_sums(rows, cols, x, s.out(cols, store), store);
        s.record(str("column_sums ", rows, " x ", cols, " ", say(store)), Kind::product);
      }
  }
}

template <Backend B>
void gemm_case(Script<B>& s, Index m, Index n, Index k, Transpose ta, Transpose tb, Index spare, Store store, bool bias, Activation activation) {
  const GemmShape g{.m = m, .n = n, .k = k, .a = ta, .b = tb, .lda = (ta == Transpose::no ? k : m) + spare,
                    .ldb = (tb == Transpose::no ? n : k) + spare, .ldc = n + spare};
  const auto a = s.in((ta == Transpose::no ? m : k) * g.lda), b = s.in((tb == Transpose::no ? k : n) * g.ldb);
  Epilogue<B> epilogue{.activation = activation};
  if (bias) epilogue.bias = s.in(n);
  s.b.gemm(g, a, b, s.out(m * g.ldc, spare > 0 ? Store::add : store), store, epilogue);
  s.record(str("gemm ", m, " x ", n, " x ", k, ta == Transpose::yes ? " a^T" : "", tb == Transpose::yes ? " b^T" : "", spare > 0 ? " spaced" : "", " ",
               say(store), bias ? " bias" : "", say(activation)),
           Kind::product);
}

template <Backend B>
void gemm_script(Script<B>& s) {
  constexpr std::array both{Transpose::no, Transpose::yes};
  for (Transpose ta : both)
    for (Transpose tb : both) {
      for (Index m : {1, 2, 5, 17, 67})
        for (Index n : {1, 3, 16, 33, 70})
          for (Index k : {1, 4, 31, 129}) gemm_case(s, m, n, k, ta, tb, 0, (m + n + k) % 2 == 0 ? Store::assign : Store::add, false, Activation::none);
      gemm_case(s, 130, 150, 70, ta, tb, 0, Store::assign, true, Activation::relu);
      gemm_case(s, 9, 40, 300, ta, tb, 0, Store::add, true, Activation::none);
      for (Store store : {Store::assign, Store::add})
        for (Activation activation : {Activation::none, Activation::relu}) {
          gemm_case(s, 13, 19, 23, ta, tb, 5, store, true, activation);
          gemm_case(s, 40, 10, 60, ta, tb, 3, store, false, activation);
        }
      const GemmShape batched{.m = 5, .n = 7, .k = 6, .a = ta, .b = tb, .lda = 12, .ldb = 14, .ldc = 16};
      for (Index batch : {0, 1, 3, 8}) {
        // Heads side by side: the batches interleave.
        const auto a = s.in(8 * 12 + 8 * 6), b = s.in(8 * 14 + 8 * 7);
        s.b.gemm_batched(batched, batch, a, 6, b, 7, s.out(5 * 16 * 8, Store::add), 5 * 16, Store::assign);
        s.b.gemm_batched(batched, batch, a, 6, b, 7, s.out(5 * 16 * 8, Store::add), 5 * 16, Store::add);
        s.record(str("gemm_batched ", batch), Kind::product);
      }
    }
  gemm_case(s, 0, 3, 4, Transpose::no, Transpose::no, 0, Store::assign, false, Activation::none);
  gemm_case(s, 60, 300, 784, Transpose::no, Transpose::no, 0, Store::assign, true, Activation::relu);
  gemm_case(s, 784, 300, 60, Transpose::yes, Transpose::no, 0, Store::add, false, Activation::none);
  gemm_case(s, 60, 784, 300, Transpose::no, Transpose::yes, 0, Store::assign, false, Activation::none);
  // Rows whole pages apart, a sum of several steps, several blocks of columns: operands that are packed for many readers.
  gemm_case(s, 70, 190, 1024, Transpose::no, Transpose::no, 0, Store::add, true, Activation::relu);
  gemm_case(s, 70, 190, 900, Transpose::yes, Transpose::yes, 0, Store::assign, false, Activation::none);
  gemm_case(s, 20, 40, 2048, Transpose::no, Transpose::yes, 0, Store::assign, true, Activation::none);
  gemm_case(s, 130, 400, 390, Transpose::no, Transpose::no, 0, Store::assign, true, Activation::relu);
  gemm_case(s, 1, 300, 784, Transpose::no, Transpose::no, 0, Store::assign, true, Activation::none);
}

inline std::vector<ConvShape> conv_shapes() {
  return {
      {.n = 1, .h = 1, .w = 1, .in = 1, .out = 1},
      {.n = 2, .h = 5, .w = 7, .in = 3, .out = 5, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1},
      {.n = 1, .h = 6, .w = 6, .in = 16, .out = 32, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1},
      {.n = 3, .h = 9, .w = 11, .in = 20, .out = 33, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1},
      {.n = 5, .h = 4, .w = 4, .in = 33, .out = 48, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1},
      {.n = 2, .h = 2, .w = 2, .in = 40, .out = 24, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1},
      {.n = 2, .h = 8, .w = 8, .in = 16, .out = 24, .kernel_h = 3, .kernel_w = 3, .stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1},
      {.n = 2, .h = 9, .w = 7, .in = 6, .out = 10, .kernel_h = 3, .kernel_w = 3, .stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1},
      {.n = 2, .h = 9, .w = 9, .in = 3, .out = 8, .kernel_h = 5, .kernel_w = 5, .pad_h = 2, .pad_w = 2},
      {.n = 2, .h = 12, .w = 13, .in = 1, .out = 6, .kernel_h = 5, .kernel_w = 5},
      {.n = 2, .h = 7, .w = 9, .in = 4, .out = 3, .kernel_h = 3, .kernel_w = 1, .stride_h = 1, .stride_w = 2, .pad_h = 0, .pad_w = 1},
      {.n = 1, .h = 8, .w = 7, .in = 5, .out = 6, .kernel_h = 2, .kernel_w = 4, .stride_h = 3, .stride_w = 1, .pad_h = 1, .pad_w = 2},
      {.n = 3, .h = 5, .w = 5, .in = 17, .out = 40},
      {.n = 2, .h = 7, .w = 7, .in = 16, .out = 16, .stride_h = 2, .stride_w = 2},
      {.n = 2, .h = 6, .w = 5, .in = 8, .out = 12, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1, .groups = 4},
      {.n = 2, .h = 6, .w = 6, .in = 6, .out = 4, .kernel_h = 3, .kernel_w = 3, .stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1, .groups = 2},
      {.n = 2, .h = 6, .w = 7, .in = 19, .out = 19, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1, .groups = 19},
      {.n = 1, .h = 7, .w = 6, .in = 32, .out = 32, .kernel_h = 3, .kernel_w = 3, .stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1, .groups = 32},
      {.n = 2, .h = 5, .w = 5, .in = 5, .out = 15, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1, .groups = 5},
      {.n = 1, .h = 3, .w = 3, .in = 4, .out = 5, .kernel_h = 3, .kernel_w = 3},
      {.n = 1, .h = 1, .w = 1, .in = 9, .out = 7, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1},
      {.n = 2, .h = 20, .w = 17, .in = 16, .out = 16, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1},
      {.n = 1, .h = 32, .w = 32, .in = 3, .out = 16, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1},
      // Large enough for transforms of whole tiles, with maps that do not divide into them.
      {.n = 2, .h = 18, .w = 15, .in = 33, .out = 70, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1},
      {.n = 3, .h = 14, .w = 14, .in = 24, .out = 17, .kernel_h = 3, .kernel_w = 3},
      {.n = 2, .h = 13, .w = 16, .in = 20, .out = 20, .kernel_h = 3, .kernel_w = 3, .pad_h = 2, .pad_w = 2},
      {.n = 2, .h = 16, .w = 12, .in = 17, .out = 33, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 0},
      {.n = 1, .h = 6, .w = 6, .in = 70, .out = 130, .kernel_h = 3, .kernel_w = 3, .pad_h = 1, .pad_w = 1},
  };
}

template <Backend B>
void conv_script(Script<B>& s) {
  for (const ConvShape& c : conv_shapes()) {
    const Index in = c.n * c.h * c.w * c.in, out = c.n * c.out_h() * c.out_w() * c.out;
    const std::string name = str("conv ", c.n, "x", c.h, "x", c.w, "x", c.in, " -> ", c.out, ", kernel ", c.kernel_h, "x", c.kernel_w, ", stride ", c.stride_h,
                                 ",", c.stride_w, ", pad ", c.pad_h, ",", c.pad_w, ", groups ", c.groups, ": ");
    {
      const auto x = s.in(in), w = s.in(c.weight_count()), bias = s.in(c.out);
      const auto prepared = s.b.prepare_conv(c, w);
      for (bool with_bias : {false, true})
        for (Activation activation : {Activation::none, Activation::relu}) {
          Epilogue<B> epilogue{.activation = activation};
          if (with_bias) epilogue.bias = bias;
          s.b.conv_forward(c, x, w, s.out(out), epilogue, nullptr);
          s.b.conv_forward(c, x, w, s.out(out), epilogue, &prepared);
        }
      s.record(name + "forward", Kind::convolution);
    }
    for (Store store : {Store::assign, Store::add}) {
      const auto x = s.in(in), w = s.in(c.weight_count()), dy = s.in(out);
      s.b.conv_backward_input(c, dy, w, s.out(in, store), store);
      s.b.conv_backward_weights(c, x, dy, s.out(c.weight_count(), store), store);
      s.record(name + "backward " + say(store), Kind::convolution);
    }
  }
}

template <Backend B>
void norm_script(Script<B>& s) {
  for (Index rows : {2, 3, 50, 515})
    for (Index c : {1, 3, 16, 37}) {
      const std::string name = str("batch_norm ", rows, " x ", c);
      for (bool residual : {false, true})
        for (Activation activation : {Activation::none, Activation::relu}) {
          const auto x = s.in(rows * c, -1, 3), gamma = s.in(c), beta = s.in(c), mean = s.in(c), var = s.in(c, 0.1, 2);
          espalier::Maybe<typename Script<B>::ConstPointer> added;
          if (residual) added = s.in(rows * c);
          const AfterNorm<B> after{added, activation};
          const auto trained = s.out(rows * c), batch_mean = s.out(c), batch_var = s.out(c);
          s.b.batch_norm_train(rows, c, 1e-5, x, gamma, beta, trained, batch_mean, batch_var, after);
          s.b.batch_norm_apply(rows, c, 1e-5, x, gamma, beta, mean, var, s.out(rows * c), after);
          const auto dy = s.in(rows * c), y = s.in(rows * c);
          for (Statistics statistics : {Statistics::batch, Statistics::running}) {
            espalier::Maybe<typename Script<B>::Pointer> dresidual;
            if (residual) dresidual = s.out(rows * c);
            const auto dx = s.out(rows * c), dgamma = s.out(c), dbeta = s.out(c);
            s.b.batch_norm_backward(rows, c, 1e-3, statistics, x, gamma, mean, var, y, after, dy, dx, dgamma, dbeta, dresidual);
          }
          s.record(str(name, residual ? " residual" : "", say(activation)), Kind::normalised);
        }
    }
  // A channel whose mean is far from zero keeps its variance: one pass over x^2 would lose it.
  {
    const auto x = s.in(600 * 3, 30, 31), gamma = s.in(3, 0.5, 1), beta = s.in(3);
    const auto y = s.out(600 * 3), mean = s.out(3), var = s.out(3);
    s.b.batch_norm_train(600, 3, 1e-5, x, gamma, beta, y, mean, var, {});
    s.record("batch_norm far from zero", Kind::cancelling);
  }
  for (Index rows : {1, 3, 65, 200})
    for (Index c : {3, 5, 32, 131}) {
      const auto x = s.in(rows * c, -1, 2), gamma = s.in(c), beta = s.in(c), mean = s.in(rows), inv_std = s.in(rows, 0.5, 2), dy = s.in(rows * c);
      const auto y = s.out(rows * c), row_mean = s.out(rows), row_inv_std = s.out(rows), dx = s.out(rows * c), dgamma = s.out(c), dbeta = s.out(c);
      s.b.layer_norm_forward(rows, c, 1e-12, x, gamma, beta, y, row_mean, row_inv_std);
      s.b.layer_norm_backward(rows, c, x, gamma, mean, inv_std, dy, dx, dgamma, dbeta);
      s.record(str("layer_norm ", rows, " x ", c), Kind::normalised);
    }
}

template <Backend B>
void row_script(Script<B>& s) {
  for (Index rows : {1, 3, 129})
    for (Index c : {1, 2, 10, 77}) {
      const std::string name = str(rows, " x ", c);
      const auto x = s.in(rows * c, -6, 6), y = s.in(rows * c, 0, 1), dy = s.in(rows * c), scale = s.in(1);
      const auto labels = s.ids(rows, static_cast<std::uint32_t>(c));
      const auto probabilities = s.out(rows * c), losses = s.out(rows);
      s.b.softmax_forward(rows, c, x, s.out(rows * c));
      s.b.softmax_backward(rows, c, y, dy, s.out(rows * c));
      s.b.cross_entropy_forward(rows, c, x, labels, probabilities, losses);
      s.b.cross_entropy_backward(rows, c, y, labels, scale, s.out(rows * c));
      s.record("softmax and cross_entropy " + name, Kind::normalised);
    }
  {
    const auto x = s.given({1e4, 0, -1e4, 3, -1e30, 3, -88, -89, -90});
    const auto labels = s.ids(3, 3);
    const auto probabilities = s.out(9), losses = s.out(3);
    s.b.softmax_forward(3, 3, x, s.out(9));
    s.b.cross_entropy_forward(3, 3, x, labels, probabilities, losses);
    s.record("softmax of extreme rows", Kind::normalised);
  }
  for (Index n : {1, 5, 200})
    for (Index c : {1, 3, 64}) {
      const auto table = s.in(11 * c), dout = s.in(n * c);
      const auto ids = s.ids(n, 11);
      s.b.gather_rows(n, c, table, ids, s.out(n * c));
      s.b.scatter_add_rows(n, c, dout, ids, s.out(11 * c, Store::add));
      s.record(str("gather and scatter_add ", n, " x ", c), Kind::product);
    }
}

template <Backend B>
void pool_script(Script<B>& s) {
  for (const PoolShape& p : {
           PoolShape{.n = 2, .h = 4, .w = 6, .c = 3},
           PoolShape{.n = 1, .h = 5, .w = 7, .c = 16},
           PoolShape{.n = 3, .h = 8, .w = 8, .c = 33},
           PoolShape{.n = 2, .h = 7, .w = 6, .c = 5, .kernel_h = 3, .kernel_w = 3, .stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1},
           PoolShape{.n = 2, .h = 4, .w = 5, .c = 2, .kernel_h = 3, .kernel_w = 2, .stride_h = 1, .stride_w = 3, .pad_h = 1, .pad_w = 0},
           PoolShape{.n = 4, .h = 8, .w = 8, .c = 20, .kernel_h = 8, .kernel_w = 8, .stride_h = 8, .stride_w = 8},
           PoolShape{.n = 1, .h = 1, .w = 1, .c = 1, .kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1},
       }) {
    const Index in = p.n * p.h * p.w * p.c, out = p.n * p.out_h() * p.out_w() * p.c;
    const std::string name = str("pool ", p.n, "x", p.h, "x", p.w, "x", p.c, ", window ", p.kernel_h, "x", p.kernel_w);
    for (bool ties : {false, true}) {
      const auto x = ties ? s.tied(in) : s.in(in);
      const auto dy = s.in(out);
      const auto argmax = s.id_out(out);
      s.b.max_pool_forward(p, x, s.out(out), argmax);
      s.b.max_pool_backward(p, dy, argmax, s.out(in));
      s.b.avg_pool_forward(p, x, s.out(out));
      s.b.avg_pool_backward(p, dy, s.out(in));
      s.record(str(name, ties ? ", ties" : ""), Kind::element_wise);
    }
  }
}

}  // namespace espalier::test
