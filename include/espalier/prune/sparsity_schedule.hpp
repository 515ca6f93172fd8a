// SPDX-License-Identifier: Apache-2.0
// Gradual pruning: how sparse a network is at each step of its training, and when weights go. Schedules, so
// values without state.
#pragma once

#include <cmath>
#include <concepts>
#include <ostream>
#include <string>
#include <string_view>

#include <espalier/train/schedule.hpp>

namespace espalier {

/// A SparsitySchedule is a Schedule of the share of weights that are dead, and says when to prune.
///
/// Write      double operator()(const Step&) const, bool due(const Step&) const
/// Meaning    where due(step), weights go until the value is reached: before the update that follows `step` done ones,
///            or after the last one. It is the policy's `.sparsity`; shares of single layers, `.layers`, stay as they are.
/// Laws       a Schedule's, but 0 before it begins; never falls; changes only where it is due.
/// Models     CubicSparsity, LinearSparsity, ExponentialSparsity
template <class S>
concept SparsitySchedule = Schedule<S> && requires(const S& s, const Step& step) {
  { s.due(step) } -> std::same_as<bool>;
};

namespace detail {

/// Whether it is time to prune: at the begin, every `frequency` from there, and at the end.
template <class S>
bool due_at(const S& s, const Step& step) {
  const Index begin = s.begin.whole_iterations(step.epoch_length), end = s.end.whole_iterations(step.epoch_length);
  if (step.iteration == end) return true;
  return step.iteration >= begin && step.iteration < end && (step.iteration - begin) % s.frequency.whole_iterations(step.epoch_length) == 0;
}

/// The value at the last time it was due: 0 before the begin, `to` from the end on, and between them `curve` of the
/// share of the way that is done.
template <class S, class Curve>
double sparsity_at(const S& s, const Step& step, Curve curve) {
  const Index begin = s.begin.whole_iterations(step.epoch_length), end = s.end.whole_iterations(step.epoch_length);
  if (step.iteration >= end) return s.to;
  if (step.iteration < begin) return 0;
  const Index since = (step.iteration - begin) / s.frequency.whole_iterations(step.epoch_length) * s.frequency.whole_iterations(step.epoch_length);
  return curve(static_cast<double>(since) / static_cast<double>(end - begin));
}

template <class S>
void check_sparsity(const S& s, std::string_view policy) {
  require_field(s.from >= 0 && s.from <= 1, policy, "from", s.from, "a share from 0 to 1");
  require_field(s.to >= s.from && s.to <= 1, policy, "to", s.to, "a share from .from to 1");
  require_field(s.begin.amount >= 0 && std::isfinite(s.begin.amount), policy, "begin", s.begin.amount, "at least 0");
  require_field(s.end.amount >= 0 && std::isfinite(s.end.amount), policy, "end", s.end.amount, "at least 0");
  // In different units they are compared where the length of an epoch is known: see check_in_training.
  if (s.begin.unit == s.end.unit) require_field(s.end.amount >= s.begin.amount, policy, "end", s.end.amount, "not before .begin");
  require_field(s.frequency.amount > 0 && std::isfinite(s.frequency.amount), policy, "frequency", s.frequency.amount, "more than 0");
}
template <class S>
std::string print_sparsity(const S& s, std::string_view policy) {
  return str(policy, "{.from = ", s.from, ", .to = ", s.to, ", .begin = ", s.begin, ", .end = ", s.end, ", .frequency = ", s.frequency);
}

}  // namespace detail

/// to + (from - to) (1 - (t - begin) / (end - begin))^power: much goes at first, little at the end.
/// Paper  Zhu & Gupta, "To prune, or not to prune", 2017, equation 1, with power 3 (AGP).
struct CubicSparsity {
  double from = 0;
  double to = 0.9;
  Duration begin = iterations(0);
  Duration end = iterations(1000);
  Duration frequency = iterations(100);
  double power = 3;
  bool operator==(const CubicSparsity&) const = default;

  double operator()(const Step& step) const {
    return detail::sparsity_at(*this, step, [&](double way) { return to + (from - to) * std::pow(1 - way, power); });
  }
  bool due(const Step& step) const { return detail::due_at(*this, step); }
  void validate() const {
    detail::check_sparsity(*this, "CubicSparsity");
    detail::require_field(power > 0 && std::isfinite(power), "CubicSparsity", "power", power, "more than 0");
  }
};

/// In a line from `from` at the begin to `to` at the end.
struct LinearSparsity {
  double from = 0;
  double to = 0.9;
  Duration begin = iterations(0);
  Duration end = iterations(1000);
  Duration frequency = iterations(100);
  bool operator==(const LinearSparsity&) const = default;

  double operator()(const Step& step) const {
    return detail::sparsity_at(*this, step, [&](double way) { return from + (to - from) * way; });
  }
  bool due(const Step& step) const { return detail::due_at(*this, step); }
  void validate() const { detail::check_sparsity(*this, "LinearSparsity"); }
};

/// a exp(-k t) + b through `from` at the begin, three quarters of `to` at an eighth of the way, and `to` at the end;
/// `from` is less than 5/7 of `to`, or no such curve rises ever more slowly.
/// Paper  He et al., "Asymptotic soft filter pruning for deep convolutional neural networks", 2018; NNCF's exponential_with_bias.
struct ExponentialSparsity {
  double from = 0;
  double to = 0.9;
  Duration begin = iterations(0);
  Duration end = iterations(1000);
  Duration frequency = iterations(100);
  bool operator==(const ExponentialSparsity&) const = default;

  double operator()(const Step& step) const {
    return detail::sparsity_at(*this, step, [&](double way) {
      const double y = decay();
      return from + (to - from) * (1 - std::pow(y, 8 * way)) / (1 - std::pow(y, 8));
    });
  }
  bool due(const Step& step) const { return detail::due_at(*this, step); }
  void validate() const {
    detail::check_sparsity(*this, "ExponentialSparsity");
    detail::require_field(7 * from < 5 * to, "ExponentialSparsity", "from", from, "less than 5/7 of .to");
  }

 private:
  // y = exp(-k / 8) in units of the whole way: (1 - y) / (1 - y^8) = (3/4 to - from) / (to - from), which falls in y.
  double decay() const {
    const double wanted = (0.75 * to - from) / (to - from);
    double low = 0, high = 1;
    for (int i = 0; i < 60; ++i) {
      const double y = (low + high) / 2;
      ((1 - y) / (1 - std::pow(y, 8)) > wanted ? low : high) = y;
    }
    return low;
  }
};

inline void append(std::string& out, const CubicSparsity& s) { out += str(detail::print_sparsity(s, "CubicSparsity"), ", .power = ", s.power, "}"); }
inline void append(std::string& out, const LinearSparsity& s) { out += detail::print_sparsity(s, "LinearSparsity") + "}"; }
inline void append(std::string& out, const ExponentialSparsity& s) { out += detail::print_sparsity(s, "ExponentialSparsity") + "}"; }
inline std::ostream& operator<<(std::ostream& out, const CubicSparsity& s) { return out << str(s); }
inline std::ostream& operator<<(std::ostream& out, const LinearSparsity& s) { return out << str(s); }
inline std::ostream& operator<<(std::ostream& out, const ExponentialSparsity& s) { return out << str(s); }

static_assert(SparsitySchedule<CubicSparsity> && SparsitySchedule<LinearSparsity> && SparsitySchedule<ExponentialSparsity>);

}  // namespace espalier
