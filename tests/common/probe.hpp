// SPDX-License-Identifier: Apache-2.0
// A context that runs a model on a tape and as a dry run at once: every value carries both its elements
// and its channel numbers, so that what an op says of its channels can be held against what it computes.
#pragma once

#include <type_traits>
#include <vector>

#include <espalier/autograd/tape.hpp>
#include <espalier/autograd/trace.hpp>

namespace espalier::test {

template <Backend B>
struct Probed {
  Traced traced;
  Var<B> var;
  const Shape& shape() const { return traced.shape(); }
};

template <Backend B>
class Probe {
 public:
  using Device = B;
  using Value = Probed<B>;
  static constexpr bool computes = true;

  Probe(B& b, bool training) : tape_(b, {.training = training, .dropout = Rng(77)}) {}

  B& device() { return tape_.device(); }
  bool training() const { return tape_.training(); }
  Rng& dropout() { return tape_.dropout(); }

  Value input(const Tensor<B>& x) { return {trace_.input(x.shape()), tape_.input(x)}; }

  template <class O, class... Operands>
  Value apply(const O& op, Operands&&... operands) {
    Value y{trace_.apply(op, traced(operands)...), tape_.apply(op, var(operands)...)};
    results_.push_back(y);
    return y;
  }
  void output(const Value& y) { trace_.output(y.traced); }

  const Trace<B>& trace() const { return trace_; }
  Tape<B>& tape() { return tape_; }
  const std::vector<Value>& results() const { return results_; }

 private:
  template <class P>
  static auto& traced(P& p) {
    if constexpr (std::is_same_v<std::remove_const_t<P>, Value>) return p.traced;
    else return p;
  }
  template <class P>
  static auto& var(P& p) {
    if constexpr (std::is_same_v<std::remove_const_t<P>, Value>) return p.var;
    else return p;
  }

  Trace<B> trace_;
  Tape<B> tape_;
  std::vector<Value> results_;
};

}  // namespace espalier::test
