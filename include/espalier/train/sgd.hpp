// SPDX-License-Identifier: Apache-2.0
// Stochastic gradient descent with momentum, Nesterov's form and weight decay, in the order of PyTorch.
#pragma once

#include <ostream>

#include <espalier/train/optimizer.hpp>

namespace espalier {

/// g = gradient + weight_decay w;  v = momentum v + g;  w -= lr v, or with Nesterov w -= lr (g + momentum v).
/// The first v is the first g, without damping.
/// Paper    Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
/// Differs  the learning rate is outside of v, as in PyTorch: a change of it acts at once.
struct Sgd {
  double momentum = 0.9;
  bool nesterov = false;
  double weight_decay = 1e-4;
  bool operator==(const Sgd&) const = default;

  static constexpr std::array<std::string_view, 1> moments{"momentum"};

  template <class T>
  struct Rule {
    T lr, momentum, weight_decay;
    bool nesterov;
    ESPALIER_HD void operator()(T& w, T gradient, T& v) const {
      const T g = gradient + weight_decay * w;
      v = momentum * v + g;
      w -= lr * (nesterov ? g + momentum * v : v);
    }
  };
  template <class T>
  Rule<T> rule(double lr, Index) const {
    return {static_cast<T>(lr), static_cast<T>(momentum), static_cast<T>(weight_decay), nesterov};
  }

  void validate() const {
    detail::require_field(momentum >= 0 && momentum < 1, "Sgd", "momentum", momentum, "0 <= momentum < 1");
    detail::require_field(weight_decay >= 0 && std::isfinite(weight_decay), "Sgd", "weight_decay", weight_decay, "at least 0");
    detail::require_field(!nesterov || momentum > 0, "Sgd", "momentum", momentum, "more than 0 with nesterov");
  }
  template <Backend B, Module M>
  OptimizerRun<Sgd, B> over(B& b, const M& net, OptimizerOptions options = {}) const { return {*this, b, net, options}; }
};

inline void append(std::string& out, const Sgd& s) {
  out += str("Sgd{.momentum = ", s.momentum, ", .nesterov = ", s.nesterov, ", .weight_decay = ", s.weight_decay, "}");
}
inline std::ostream& operator<<(std::ostream& out, const Sgd& s) { return out << str(s); }

static_assert(Optimizer<Sgd>);

}  // namespace espalier
