// SPDX-License-Identifier: Apache-2.0
// The backend that says what every primitive means, in obvious loops over host memory. It is the
// oracle of the tests (in double for gradient checks) and the probe of the concepts. It is allowed
// to be slow; it is not allowed to be clever.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include <espalier/backend/concept.hpp>
#include <espalier/backend/detail/host_pool.hpp>

namespace espalier {

/// Obvious loops in element type T; sums are accumulated in double.
template <std::floating_point T = float>
class BasicReference {
 public:
  using Scalar = T;
  using Compute = T;
  template <class E> using Pointer = E*;
  template <class E> using Buffer = detail::HostBuffer<E>;
  struct PreparedConv {};

  BasicReference() : pool_(std::make_shared<detail::HostPool>()) {}
  BasicReference(BasicReference&&) noexcept = default;
  BasicReference& operator=(BasicReference&&) noexcept = default;

  const detail::HostPool& pool() const { return *pool_; }

  template <class E> Buffer<E> allocate(Index n) { return Buffer<E>(pool_, n); }
  template <class E> void upload(std::span<const E> from, E* to) { std::copy(from.begin(), from.end(), to); }
  template <class E> void download(const E* from, std::span<E> to) { std::copy_n(from, to.size(), to.begin()); }
  template <class E> void copy(const E* from, E* to, Index n) { std::copy_n(from, n, to); }
  template <class E> void fill(E* p, Index n, E value) { std::fill_n(p, n, value); }

  template <class F, class... P> void each(Index n, F f, P... p) {
    for (Index i = 0; i < n; ++i) f(i, p[i]...);
  }
  template <class F, class... P> void sum(Index n, F f, T* out, P... p) {
    double total = 0;
    for (Index i = 0; i < n; ++i) total += static_cast<double>(f(i, p[i]...));
    *out = static_cast<T>(total);
  }

  void strided_copy(const StridedCopy& c, const T* from, T* to, Store store) {
    copy_axis(c, 0, from, to, store);
  }

  void column_sums(Index rows, Index cols, const T* x, T* out, Store store) {
    for (Index j = 0; j < cols; ++j) {
      double total = 0;
      for (Index i = 0; i < rows; ++i) total += static_cast<double>(x[i * cols + j]);
      put(out[j], total, store);
    }
  }

  void gemm(const GemmShape& s, const T* a, const T* b, T* c, Store store, const Epilogue<BasicReference>& epilogue = {}) {
    for (Index i = 0; i < s.m; ++i)
      for (Index j = 0; j < s.n; ++j) {
        double total = 0;
        for (Index k = 0; k < s.k; ++k)
          total += static_cast<double>(s.a == Transpose::no ? a[i * s.lda + k] : a[k * s.lda + i]) *
                   static_cast<double>(s.b == Transpose::no ? b[k * s.ldb + j] : b[j * s.ldb + k]);
        put(c[i * s.ldc + j], total, store, epilogue, j);
      }
  }

  void gemm_batched(const GemmShape& s, Index batch, const T* a, Index stride_a, const T* b, Index stride_b, T* c,
                    Index stride_c, Store store) {
    for (Index i = 0; i < batch; ++i) gemm(s, a + i * stride_a, b + i * stride_b, c + i * stride_c, store);
  }

  PreparedConv prepare_conv(const ConvShape&, const T*) { return {}; }

  void conv_forward(const ConvShape& s, const T* x, const T* w, T* y, const Epilogue<BasicReference>& epilogue = {},
                    const PreparedConv* = nullptr) {
    const Index in = s.in / s.groups, out = s.out / s.groups;
    for (Index n = 0; n < s.n; ++n)
      for (Index oy = 0; oy < s.out_h(); ++oy)
        for (Index ox = 0; ox < s.out_w(); ++ox)
          for (Index o = 0; o < s.out; ++o) {
            double total = 0;
            for_each_tap(s, oy, ox, [&](Index tap, Index iy, Index ix) {
              for (Index c = 0; c < in; ++c)
                total += static_cast<double>(x[((n * s.h + iy) * s.w + ix) * s.in + o / out * in + c]) *
                         static_cast<double>(w[(tap * in + c) * s.out + o]);
            });
            put(y[((n * s.out_h() + oy) * s.out_w() + ox) * s.out + o], total, Store::assign, epilogue, o);
          }
  }

  void conv_backward_input(const ConvShape& s, const T* dy, const T* w, T* dx, Store store) {
    const Index in = s.in / s.groups, out = s.out / s.groups;
    if (store == Store::assign) std::fill_n(dx, s.n * s.h * s.w * s.in, T{0});
    for (Index n = 0; n < s.n; ++n)
      for (Index oy = 0; oy < s.out_h(); ++oy)
        for (Index ox = 0; ox < s.out_w(); ++ox)
          for_each_tap(s, oy, ox, [&](Index tap, Index iy, Index ix) {
            for (Index o = 0; o < s.out; ++o)
              for (Index c = 0; c < in; ++c)
                dx[((n * s.h + iy) * s.w + ix) * s.in + o / out * in + c] +=
                    dy[((n * s.out_h() + oy) * s.out_w() + ox) * s.out + o] * w[(tap * in + c) * s.out + o];
          });
  }

  void conv_backward_weights(const ConvShape& s, const T* x, const T* dy, T* dw, Store store) {
    const Index in = s.in / s.groups, out = s.out / s.groups;
    if (store == Store::assign) std::fill_n(dw, s.weight_count(), T{0});
    for (Index n = 0; n < s.n; ++n)
      for (Index oy = 0; oy < s.out_h(); ++oy)
        for (Index ox = 0; ox < s.out_w(); ++ox)
          for_each_tap(s, oy, ox, [&](Index tap, Index iy, Index ix) {
            for (Index o = 0; o < s.out; ++o)
              for (Index c = 0; c < in; ++c)
                dw[(tap * in + c) * s.out + o] += x[((n * s.h + iy) * s.w + ix) * s.in + o / out * in + c] *
                                                  dy[((n * s.out_h() + oy) * s.out_w() + ox) * s.out + o];
          });
  }

  void batch_norm_train(Index rows, Index c, double eps, const T* x, const T* gamma, const T* beta, T* y, T* mean, T* var,
                        const AfterNorm<BasicReference>& after = {}) {
    for (Index j = 0; j < c; ++j) {
      double first = 0, second = 0;
      for (Index i = 0; i < rows; ++i) first += static_cast<double>(x[i * c + j]);
      first /= static_cast<double>(rows);
      for (Index i = 0; i < rows; ++i) second += square(static_cast<double>(x[i * c + j]) - first);
      mean[j] = static_cast<T>(first);
      var[j] = static_cast<T>(second / static_cast<double>(rows));
    }
    batch_norm_apply(rows, c, eps, x, gamma, beta, mean, var, y, after);
  }

  void batch_norm_apply(Index rows, Index c, double eps, const T* x, const T* gamma, const T* beta, const T* mean, const T* var,
                        T* y, const AfterNorm<BasicReference>& after = {}) {
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < c; ++j) {
        const double inv_std = 1 / std::sqrt(static_cast<double>(var[j]) + eps);
        double value = (static_cast<double>(x[i * c + j]) - static_cast<double>(mean[j])) * inv_std * static_cast<double>(gamma[j]) +
                       static_cast<double>(beta[j]);
        if (after.residual) value += static_cast<double>((*after.residual)[i * c + j]);
        if (after.activation == Activation::relu) value = std::max(value, 0.0);
        y[i * c + j] = static_cast<T>(value);
      }
  }

  // With g = dy where the activation let y through: dbeta = sum g, dgamma = sum g xhat, dresidual = g,
  // dx = gamma inv_std (g - dbeta / rows - xhat dgamma / rows); with running statistics, which do not
  // depend on x, dx = gamma inv_std g.
  void batch_norm_backward(Index rows, Index c, double eps, Statistics statistics, const T* x, const T* gamma, const T* mean, const T* var,
                           const T* y, const AfterNorm<BasicReference>& after, const T* dy, T* dx, T* dgamma, T* dbeta,
                           Maybe<T*> dresidual) {
    for (Index j = 0; j < c; ++j) {
      const double inv_std = 1 / std::sqrt(static_cast<double>(var[j]) + eps);
      double sum_g = 0, sum_gx = 0;
      const auto passed = [&](Index i) {
        return after.activation == Activation::relu && !(y[i * c + j] > T{0}) ? 0.0 : static_cast<double>(dy[i * c + j]);
      };
      const auto x_hat = [&](Index i) { return (static_cast<double>(x[i * c + j]) - static_cast<double>(mean[j])) * inv_std; };
      for (Index i = 0; i < rows; ++i) {
        sum_g += passed(i);
        sum_gx += passed(i) * x_hat(i);
      }
      for (Index i = 0; i < rows; ++i) {
        const double g = passed(i), n = static_cast<double>(rows);
        const double shared = statistics == Statistics::batch ? sum_g / n + x_hat(i) * sum_gx / n : 0.0;
        dx[i * c + j] = static_cast<T>(static_cast<double>(gamma[j]) * inv_std * (g - shared));
        if (dresidual) (*dresidual)[i * c + j] = static_cast<T>(g);
      }
      dgamma[j] = static_cast<T>(sum_gx);
      dbeta[j] = static_cast<T>(sum_g);
    }
  }

  void layer_norm_forward(Index rows, Index c, double eps, const T* x, const T* gamma, const T* beta, T* y, T* mean, T* inv_std) {
    for (Index i = 0; i < rows; ++i) {
      double first = 0, second = 0;
      for (Index j = 0; j < c; ++j) first += static_cast<double>(x[i * c + j]);
      first /= static_cast<double>(c);
      for (Index j = 0; j < c; ++j) second += square(static_cast<double>(x[i * c + j]) - first);
      const double inverse = 1 / std::sqrt(second / static_cast<double>(c) + eps);
      for (Index j = 0; j < c; ++j)
        y[i * c + j] = static_cast<T>((static_cast<double>(x[i * c + j]) - first) * inverse * static_cast<double>(gamma[j]) +
                                      static_cast<double>(beta[j]));
      mean[i] = static_cast<T>(first);
      inv_std[i] = static_cast<T>(inverse);
    }
  }

  void layer_norm_backward(Index rows, Index c, const T* x, const T* gamma, const T* mean, const T* inv_std, const T* dy, T* dx,
                           T* dgamma, T* dbeta) {
    const auto x_hat = [&](Index i, Index j) {
      return (static_cast<double>(x[i * c + j]) - static_cast<double>(mean[i])) * static_cast<double>(inv_std[i]);
    };
    for (Index i = 0; i < rows; ++i) {
      double sum_g = 0, sum_gx = 0;
      for (Index j = 0; j < c; ++j) {
        const double g = static_cast<double>(dy[i * c + j]) * static_cast<double>(gamma[j]);
        sum_g += g;
        sum_gx += g * x_hat(i, j);
      }
      for (Index j = 0; j < c; ++j) {
        const double g = static_cast<double>(dy[i * c + j]) * static_cast<double>(gamma[j]), n = static_cast<double>(c);
        dx[i * c + j] = static_cast<T>(static_cast<double>(inv_std[i]) * (g - sum_g / n - x_hat(i, j) * sum_gx / n));
      }
    }
    for (Index j = 0; j < c; ++j) {
      double gradient_gamma = 0, gradient_beta = 0;
      for (Index i = 0; i < rows; ++i) {
        gradient_gamma += static_cast<double>(dy[i * c + j]) * x_hat(i, j);
        gradient_beta += static_cast<double>(dy[i * c + j]);
      }
      dgamma[j] = static_cast<T>(gradient_gamma);
      dbeta[j] = static_cast<T>(gradient_beta);
    }
  }

  void softmax_forward(Index rows, Index c, const T* x, T* y) {
    for (Index i = 0; i < rows; ++i) {
      const T* row = x + i * c;
      const double largest = static_cast<double>(*std::max_element(row, row + c));
      double total = 0;
      for (Index j = 0; j < c; ++j) total += std::exp(static_cast<double>(row[j]) - largest);
      for (Index j = 0; j < c; ++j) y[i * c + j] = static_cast<T>(std::exp(static_cast<double>(row[j]) - largest) / total);
    }
  }

  void softmax_backward(Index rows, Index c, const T* y, const T* dy, T* dx) {
    for (Index i = 0; i < rows; ++i) {
      double dot = 0;
      for (Index j = 0; j < c; ++j) dot += static_cast<double>(y[i * c + j]) * static_cast<double>(dy[i * c + j]);
      for (Index j = 0; j < c; ++j)
        dx[i * c + j] = static_cast<T>(static_cast<double>(y[i * c + j]) * (static_cast<double>(dy[i * c + j]) - dot));
    }
  }

  void cross_entropy_forward(Index rows, Index c, const T* logits, const std::int32_t* labels, T* probabilities, T* losses) {
    softmax_forward(rows, c, logits, probabilities);
    for (Index i = 0; i < rows; ++i) {
      const T* row = logits + i * c;
      const double largest = static_cast<double>(*std::max_element(row, row + c));
      double total = 0;
      for (Index j = 0; j < c; ++j) total += std::exp(static_cast<double>(row[j]) - largest);
      losses[i] = static_cast<T>(std::log(total) + largest - static_cast<double>(row[labels[i]]));
    }
  }

  // dlogits = (p - onehot(label)) * *scale
  void cross_entropy_backward(Index rows, Index c, const T* probabilities, const std::int32_t* labels, const T* scale, T* dlogits) {
    for (Index i = 0; i < rows; ++i)
      for (Index j = 0; j < c; ++j) dlogits[i * c + j] = (probabilities[i * c + j] - (j == labels[i] ? T{1} : T{0})) * *scale;
  }

  void gather_rows(Index n, Index c, const T* table, const std::int32_t* ids, T* out) {
    for (Index i = 0; i < n; ++i) std::copy_n(table + ids[i] * c, c, out + i * c);
  }
  void scatter_add_rows(Index n, Index c, const T* dout, const std::int32_t* ids, T* dtable) {
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < c; ++j) dtable[ids[i] * c + j] += dout[i * c + j];
  }

  // argmax[i] is the position h * w_extent + w inside the image; the first maximum wins.
  void max_pool_forward(const PoolShape& s, const T* x, T* y, std::int32_t* argmax) {
    for_each_window(s, [&](Index out, Index n, Index c, Index y0, Index y1, Index x0, Index x1) {
      Index best = -1;
      for (Index iy = y0; iy < y1; ++iy)
        for (Index ix = x0; ix < x1; ++ix)
          if (const Index here = iy * s.w + ix; best < 0 || x[(n * s.h * s.w + here) * s.c + c] > x[(n * s.h * s.w + best) * s.c + c]) best = here;
      y[out] = x[(n * s.h * s.w + best) * s.c + c];
      argmax[out] = static_cast<std::int32_t>(best);
    });
  }
  void max_pool_backward(const PoolShape& s, const T* dy, const std::int32_t* argmax, T* dx) {
    std::fill_n(dx, s.n * s.h * s.w * s.c, T{0});
    for_each_window(s, [&](Index out, Index n, Index c, Index, Index, Index, Index) {
      dx[(n * s.h * s.w + argmax[out]) * s.c + c] += dy[out];
    });
  }
  // Padding counts in the divisor, as in PyTorch's default.
  void avg_pool_forward(const PoolShape& s, const T* x, T* y) {
    for_each_window(s, [&](Index out, Index n, Index c, Index y0, Index y1, Index x0, Index x1) {
      double total = 0;
      for (Index iy = y0; iy < y1; ++iy)
        for (Index ix = x0; ix < x1; ++ix) total += static_cast<double>(x[((n * s.h + iy) * s.w + ix) * s.c + c]);
      y[out] = static_cast<T>(total / static_cast<double>(s.kernel_h * s.kernel_w));
    });
  }
  void avg_pool_backward(const PoolShape& s, const T* dy, T* dx) {
    std::fill_n(dx, s.n * s.h * s.w * s.c, T{0});
    for_each_window(s, [&](Index out, Index n, Index c, Index y0, Index y1, Index x0, Index x1) {
      for (Index iy = y0; iy < y1; ++iy)
        for (Index ix = x0; ix < x1; ++ix)
          dx[((n * s.h + iy) * s.w + ix) * s.c + c] += dy[out] / static_cast<T>(s.kernel_h * s.kernel_w);
    });
  }

 private:
  static double square(double v) { return v * v; }
  static void put(T& to, double value, Store store) {
    to = store == Store::assign ? static_cast<T>(value) : static_cast<T>(static_cast<double>(to) + value);
  }
  static void put(T& to, double value, Store store, const Epilogue<BasicReference>& epilogue, Index channel) {
    if (store == Store::add) value += static_cast<double>(to);
    if (epilogue.bias) value += static_cast<double>((*epilogue.bias)[channel]);
    if (epilogue.activation == Activation::relu) value = std::max(value, 0.0);
    to = static_cast<T>(value);
  }
  // f(tap, input y, input x) for the taps of one output position that fall inside the image.
  template <class F> static void for_each_tap(const ConvShape& s, Index oy, Index ox, F f) {
    for (Index ky = 0; ky < s.kernel_h; ++ky)
      for (Index kx = 0; kx < s.kernel_w; ++kx) {
        const Index iy = oy * s.stride_h + ky - s.pad_h, ix = ox * s.stride_w + kx - s.pad_w;
        if (iy >= 0 && iy < s.h && ix >= 0 && ix < s.w) f(ky * s.kernel_w + kx, iy, ix);
      }
  }
  // f(output offset, image, channel, y range, x range), the ranges cut to the image.
  template <class F> static void for_each_window(const PoolShape& s, F f) {
    for (Index n = 0; n < s.n; ++n)
      for (Index oy = 0; oy < s.out_h(); ++oy)
        for (Index ox = 0; ox < s.out_w(); ++ox)
          for (Index c = 0; c < s.c; ++c) {
            const Index y0 = oy * s.stride_h - s.pad_h, x0 = ox * s.stride_w - s.pad_w;
            f(((n * s.out_h() + oy) * s.out_w() + ox) * s.c + c, n, c, std::max<Index>(y0, 0), std::min(y0 + s.kernel_h, s.h),
              std::max<Index>(x0, 0), std::min(x0 + s.kernel_w, s.w));
          }
  }
  static void copy_axis(const StridedCopy& c, int axis, const T* from, T* to, Store store) {
    if (axis == c.extents.rank() || axis == Shape::max_rank) {  // the second for the compiler's bounds checker
      *to = store == Store::assign ? *from : *to + *from;
      return;
    }
    const auto a = static_cast<std::size_t>(axis);
    for (Index i = 0; i < c.extents[axis]; ++i)
      copy_axis(c, axis + 1, from + i * c.from_strides[a], to + i * c.to_strides[a], store);
  }

  std::shared_ptr<detail::HostPool> pool_;
};

/// The backend that always exists: float, obvious loops.
using Reference = BasicReference<float>;

static_assert(Backend<Reference>);
static_assert(Backend<BasicReference<double>>);

}  // namespace espalier
