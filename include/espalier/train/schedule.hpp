// SPDX-License-Identifier: Apache-2.0
// Schedules: pure functions of the step, for learning rates and anything else that changes during
// training. Values without state, so that one can be tested in a table and a resumed run needs nothing
// but its step.
#pragma once

#include <cmath>
#include <concepts>
#include <ostream>
#include <string>

#include <espalier/train/policy.hpp>
#include <espalier/train/step.hpp>

namespace espalier {

/// A Schedule says what the value is at a step.
///
/// Write      double operator()(const Step&) const
///            void validate() const                      throws PolicyError (optional)
/// Meaning    the value used for the update that turns `iteration` done steps into one more.
/// Laws       pure; before the first step it has its first value, past its end its last one.
/// Models     Constant, MultiStep, Cosine, LinearWarmUpDecay, Then<A, B>
template <class S>
concept Schedule = std::regular<S> && requires(const S& s, const Step& step) {
  { s(step) } -> std::convertible_to<double>;
};

namespace detail {

inline double done(const Step& step) { return static_cast<double>(step.iteration < 0 ? 0 : step.iteration); }

}  // namespace detail

/// The same value always; the one to copy when you write your own.
struct Constant {
  double value = 1e-3;
  bool operator==(const Constant&) const = default;

  double operator()(const Step&) const { return value; }
  void validate() const { detail::require_field(std::isfinite(value), "Constant", "value", value, "a finite number"); }
};

/// from * factor^k after k of the listed times have passed (a time counts as passed at its own step).
/// Paper  He et al. 2016, section 4.2: 0.1, divided by 10 at 32k and 48k iterations.
struct MultiStep {
  double from = 0.1;
  double factor = 0.1;
  Durations at{};  // ascending; at most 16
  bool operator==(const MultiStep&) const = default;

  double operator()(const Step& step) const {
    double value = from;
    for (const Duration& time : at)
      if (detail::done(step) >= time.in_iterations(step.epoch_length)) value *= factor;
    return value;
  }
  void validate() const {
    detail::require_field(std::isfinite(from), "MultiStep", "from", from, "a finite number");
    detail::require_field(factor > 0 && std::isfinite(factor), "MultiStep", "factor", factor, "a finite number above 0");
    for (std::size_t i = 0; i < at.size(); ++i) {
      detail::require_field(at[i].amount >= 0, "MultiStep", str("at[", i, "]"), at[i].amount, "at least 0");
      if (i > 0 && at[i].unit == at[i - 1].unit) detail::require_field(at[i].amount > at[i - 1].amount, "MultiStep", str("at[", i, "]"), at[i].amount, "a time after the one before");
    }
  }
};

/// to + (from - to) (1 + cos(pi t / over)) / 2, then `to`.
/// Paper  Loshchilov & Hutter, "SGDR", ICLR 2017, equation 5, without restarts.
struct Cosine {
  double from = 0.1;
  double to = 0;
  Duration over = epochs(160);
  bool operator==(const Cosine&) const = default;

  double operator()(const Step& step) const {
    const double end = over.in_iterations(step.epoch_length), t = detail::done(step);
    if (t >= end) return to;
    return to + (from - to) * 0.5 * (1 + std::cos(3.141592653589793 * t / end));
  }
  void validate() const {
    detail::require_field(std::isfinite(from), "Cosine", "from", from, "a finite number");
    detail::require_field(std::isfinite(to), "Cosine", "to", to, "a finite number");
    detail::require_field(over.amount > 0 && std::isfinite(over.amount), "Cosine", "over", over.amount, "more than 0");
  }
};

/// Rises from 0 to `peak` in a line during `warm_up`, then falls in a line to 0 at `over`.
/// Paper  Devlin et al. 2019 (BERT), appendix A.2.
struct LinearWarmUpDecay {
  double peak = 5e-5;
  Duration warm_up = iterations(0);
  Duration over = epochs(3);  // counted from the start, warm-up included
  bool operator==(const LinearWarmUpDecay&) const = default;

  double operator()(const Step& step) const {
    const double warm = warm_up.in_iterations(step.epoch_length), end = over.in_iterations(step.epoch_length), t = detail::done(step);
    if (t < warm) return peak * t / warm;
    return t >= end ? 0 : peak * (end - t) / (end - warm);
  }
  void validate() const {
    detail::require_field(std::isfinite(peak), "LinearWarmUpDecay", "peak", peak, "a finite number");
    detail::require_field(warm_up.amount >= 0 && std::isfinite(warm_up.amount), "LinearWarmUpDecay", "warm_up", warm_up.amount, "at least 0");
    detail::require_field(over.amount > 0 && std::isfinite(over.amount), "LinearWarmUpDecay", "over", over.amount, "more than 0");
    if (over.unit == warm_up.unit) detail::require_field(over.amount > warm_up.amount, "LinearWarmUpDecay", "over", over.amount, "more than warm_up");
  }
};

/// `first` for `steps`, then `second`, whose own step 0 is there.
template <Schedule A, Schedule B>
struct Then {
  A first{};
  Duration steps = epochs(1);
  B second{};
  bool operator==(const Then&) const = default;

  double operator()(const Step& step) const {
    const Index change = steps.whole_iterations(step.epoch_length);
    return step.iteration < change ? first(step) : second(Step{step.iteration - change, step.epoch_length});
  }
  void validate() const {
    detail::require_field(steps.amount >= 0 && std::isfinite(steps.amount), "Then", "steps", steps.amount, "at least 0");
    detail::check_policy(first);
    detail::check_policy(second);
  }
};

inline void append(std::string& out, const Constant& s) { out += str("Constant{.value = ", s.value, "}"); }
inline void append(std::string& out, const MultiStep& s) {
  out += str("MultiStep{.from = ", s.from, ", .factor = ", s.factor, ", .at = {");
  for (std::size_t i = 0; i < s.at.size(); ++i) out += str(i > 0 ? ", " : "", s.at[i]);
  out += "}}";
}
inline void append(std::string& out, const Cosine& s) {
  out += str("Cosine{.from = ", s.from, ", .to = ", s.to, ", .over = ", s.over, "}");
}
inline void append(std::string& out, const LinearWarmUpDecay& s) {
  out += str("LinearWarmUpDecay{.peak = ", s.peak, ", .warm_up = ", s.warm_up, ", .over = ", s.over, "}");
}
template <Schedule A, Schedule B>
void append(std::string& out, const Then<A, B>& s) {
  out += str("Then{.first = ", s.first, ", .steps = ", s.steps, ", .second = ", s.second, "}");
}
inline std::ostream& operator<<(std::ostream& out, const Constant& s) { return out << str(s); }
inline std::ostream& operator<<(std::ostream& out, const MultiStep& s) { return out << str(s); }
inline std::ostream& operator<<(std::ostream& out, const Cosine& s) { return out << str(s); }
inline std::ostream& operator<<(std::ostream& out, const LinearWarmUpDecay& s) { return out << str(s); }
template <Schedule A, Schedule B>
std::ostream& operator<<(std::ostream& out, const Then<A, B>& s) { return out << str(s); }

static_assert(Schedule<Constant> && Schedule<MultiStep> && Schedule<Cosine> && Schedule<LinearWarmUpDecay>);
static_assert(Schedule<Then<LinearWarmUpDecay, Cosine>>);

}  // namespace espalier
