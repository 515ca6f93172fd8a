// SPDX-License-Identifier: Apache-2.0
// Inference: computes and records nothing, by type.
#pragma once

#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include <espalier/autograd/op.hpp>

namespace espalier {

/// Weights packed for one model that does not change; see Eval.
template <Backend B>
using PreparedWeights = std::unordered_map<const void*, typename B::PreparedConv>;

/// Runs a model without recording: results are Tensors, freed when their last use is over. Batch
/// norms use running statistics, dropout does nothing.
template <Backend B>
class Eval {
 public:
  using Device = B;
  using Value = Tensor<B>;
  static constexpr bool computes = true;

  explicit Eval(B& b) : b_(b) {}
  /// With `prepared`, convolution weights are packed at their first use and the packing is kept
  /// there: only for a model whose weights will not change while `prepared` lives.
  Eval(B& b, PreparedWeights<B>& prepared) : b_(b), prepared_(&prepared) {}

  B& device() { return b_; }
  bool training() const { return false; }

  Tensor<B> input(Tensor<B> value) { return value; }

  template <class O, class... Operands>
  Tensor<B> apply(const O& op, const Operands&... operands) {
    static_assert(DifferentiableOp<O, B>, "apply() needs an op: a struct with name, Saved, shape, forward, backward, channels and cost (see autograd/op.hpp)");
    Inputs<B> in;
    (add_operand(in, operands), ...);
    if constexpr (requires { op.prepare(b_, in); }) {
      if (prepared_ != nullptr) {
        auto found = prepared_->find(&in[1]);
        if (found == prepared_->end()) found = prepared_->emplace(&in[1], op.prepare(b_, in)).first;
        in.prepared = &found->second;
      }
    }
    typename O::template Saved<B> unused{};
    return op.forward(b_, in, unused);
  }

 private:
  static void add_operand(Inputs<B>& in, const Tensor<B>& t) { in.push(t); }
  static void add_operand(Inputs<B>& in, const Parameter<B>& p) { in.push(p.value); }
  template <class P> static void add_operand(Inputs<B>& in, const std::optional<P>& p) { if (p) add_operand(in, *p); }
  template <class V> static void add_operand(Inputs<B>& in, const std::vector<V>& all) { for (const auto& v : all) add_operand(in, v); }

  B& b_;
  PreparedWeights<B>* prepared_ = nullptr;
};

}  // namespace espalier
