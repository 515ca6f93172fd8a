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
#include <espalier/backend/detail/reference_pooling.hpp>
#include <espalier/backend/detail/reference_rows.hpp>

namespace espalier {

/// Obvious loops in element type T; sums are accumulated in double. Pooling and what stays within a row are the bases'.
template <std::floating_point T = float>
class BasicReference : public detail::ReferencePooling<T>, public detail::ReferenceRows<T> {
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
