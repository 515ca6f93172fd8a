// SPDX-License-Identifier: Apache-2.0
// What the reference backend computes of each row by itself: layer norm, softmax, cross entropy, and rows that are
// gathered and scattered by their ids.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <espalier/backend/geometry.hpp>

namespace espalier::detail {

/// A part of BasicReference<T>: obvious loops, sums in double.
template <class T>
class ReferenceRows {
 public:
  void layer_norm_forward(Index rows, Index c, double eps, const T* x, const T* gamma, const T* beta, T* y, T* mean, T* inv_std) {
    for (Index i = 0; i < rows; ++i) {
      double first = 0, second = 0;
      for (Index j = 0; j < c; ++j) first += static_cast<double>(x[i * c + j]);
      first /= static_cast<double>(c);
      for (Index j = 0; j < c; ++j) {
        const double away = static_cast<double>(x[i * c + j]) - first;
        second += away * away;
      }
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
};

}  // namespace espalier::detail
