// SPDX-License-Identifier: Apache-2.0
// Adam with weight decay in the gradient, and AdamW with decay beside it, in the order of PyTorch.
#pragma once

#include <cstdint>
#include <cstring>
#include <ostream>

#include <espalier/train/optimizer.hpp>

namespace espalier {

namespace detail {

ESPALIER_HD inline double positive_sqrt(double v) { return std::sqrt(v); }

ESPALIER_HD inline std::uint32_t bits_of(float x) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
ESPALIER_HD inline float float_of(std::uint32_t bits) {
  float x = 0;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// The square root of v >= 0, within 2 units in the last place. Compilers keep std::sqrt out of vector
/// loops, because it may set errno. An estimate from the bits, two steps of Newton for 1 / sqrt(v) and
/// one for sqrt(v); small numbers are scaled up first. Written without loops and branches, which would stop
/// the vectoriser too.
ESPALIER_HD inline float positive_sqrt(float v) {
  const auto below = static_cast<std::uint32_t>(static_cast<std::int32_t>(bits_of(v) - bits_of(1e-20f)) >> 31);  // all ones if v < 1e-20
  const std::uint32_t by = below & (40u << 23);  // 2^40, as an exponent
  const float scale = float_of(0x3F800000u + by);
  const float x = v * scale * scale, half = 0.5f * x;
  float inverse = float_of(0x5F375A86u - (bits_of(x) >> 1));
  inverse *= 1.5f - half * inverse * inverse;
  inverse *= 1.5f - half * inverse * inverse;
  const float root = x * inverse;
  return (root + 0.5f * inverse * (x - root * root)) * float_of(0x3F800000u - by);
}

template <class T>
struct AdamRule {
  T beta1, beta2, eps, step_size, inv_sqrt_correction2, decay_in_gradient, keep;
  ESPALIER_HD void operator()(T& w, T gradient, T& m, T& v) const {
    const T g = gradient + decay_in_gradient * w;
    m += (T{1} - beta1) * (g - m);
    v = beta2 * v + (T{1} - beta2) * g * g;
    w = keep * w - step_size * m / (positive_sqrt(v) * inv_sqrt_correction2 + eps);
  }
};

// Bias corrections are made once per parameter and step, in double.
template <class T>
AdamRule<T> adam_rule(double lr, Index t, double beta1, double beta2, double eps, double decay_in_gradient, double keep) {
  const double correction1 = 1 - std::pow(beta1, static_cast<double>(t)), correction2 = 1 - std::pow(beta2, static_cast<double>(t));
  return {static_cast<T>(beta1), static_cast<T>(beta2), static_cast<T>(eps), static_cast<T>(lr / correction1),
          static_cast<T>(1 / std::sqrt(correction2)), static_cast<T>(decay_in_gradient), static_cast<T>(keep)};
}

inline void check_adam(std::string_view policy, double beta1, double beta2, double eps, double weight_decay) {
  require_field(beta1 >= 0 && beta1 < 1, policy, "beta1", beta1, "0 <= beta1 < 1");
  require_field(beta2 >= 0 && beta2 < 1, policy, "beta2", beta2, "0 <= beta2 < 1");
  require_field(eps > 0 && std::isfinite(eps), policy, "eps", eps, "more than 0");
  require_field(weight_decay >= 0 && std::isfinite(weight_decay), policy, "weight_decay", weight_decay, "at least 0");
}

inline std::string print_adam(std::string_view policy, double beta1, double beta2, double eps, double weight_decay) {
  return str(policy, "{.beta1 = ", beta1, ", .beta2 = ", beta2, ", .eps = ", eps, ", .weight_decay = ", weight_decay, "}");
}

}  // namespace detail

/// g = gradient + weight_decay w;  m, v = running means of g and g^2 with beta1, beta2;
/// w -= lr m' / (sqrt(v') + eps), with m' = m / (1 - beta1^t), v' = v / (1 - beta2^t).
/// Paper  Kingma & Ba, "Adam: a method for stochastic optimization", ICLR 2015, algorithm 1.
struct Adam {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
  bool operator==(const Adam&) const = default;

  static constexpr std::array<std::string_view, 2> moments{"mean", "mean_square"};

  template <class T>
  detail::AdamRule<T> rule(double lr, Index t) const {
    return detail::adam_rule<T>(lr, t, beta1, beta2, eps, weight_decay, 1);
  }
  void validate() const { detail::check_adam("Adam", beta1, beta2, eps, weight_decay); }
  template <Backend B, Module M>
  OptimizerRun<Adam, B> over(B& b, const M& net, OptimizerOptions options = {}) const { return {*this, b, net, options}; }
};

/// Adam on the plain gradient, with w -= lr weight_decay w before it.
/// Paper  Loshchilov & Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.
struct AdamW {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;
  bool operator==(const AdamW&) const = default;

  static constexpr std::array<std::string_view, 2> moments{"mean", "mean_square"};

  template <class T>
  detail::AdamRule<T> rule(double lr, Index t) const {
    return detail::adam_rule<T>(lr, t, beta1, beta2, eps, 0, 1 - lr * weight_decay);
  }
  void validate() const { detail::check_adam("AdamW", beta1, beta2, eps, weight_decay); }
  template <Backend B, Module M>
  OptimizerRun<AdamW, B> over(B& b, const M& net, OptimizerOptions options = {}) const { return {*this, b, net, options}; }
};

inline void append(std::string& out, const Adam& a) { out += detail::print_adam("Adam", a.beta1, a.beta2, a.eps, a.weight_decay); }
inline void append(std::string& out, const AdamW& a) { out += detail::print_adam("AdamW", a.beta1, a.beta2, a.eps, a.weight_decay); }
inline std::ostream& operator<<(std::ostream& out, const Adam& a) { return out << str(a); }
inline std::ostream& operator<<(std::ostream& out, const AdamW& a) { return out << str(a); }

static_assert(Optimizer<Adam> && Optimizer<AdamW>);

}  // namespace espalier
