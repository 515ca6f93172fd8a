// SPDX-License-Identifier: Apache-2.0
// The three ways to run a model: `Tape` computes and records, `Eval` computes and records nothing,
// `Trace` records shapes, costs and channels and computes nothing. A module is written once, as a
// template over its context; which one it is given decides.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include <espalier/autograd/op.hpp>
#include <espalier/tensor/rng.hpp>

namespace espalier {

template <Backend B>
class Tape;

namespace detail {

template <Backend B>
struct Node {
  struct Operand {
    Node* node = nullptr;                     // an earlier result, or
    const Parameter<B>* parameter = nullptr;  // a parameter,
    Parameter<B>* trainable = nullptr;        // which learns unless it is const
  };

  virtual ~Node() = default;
  virtual void backward(B&, const Inputs<B>&, Gradients<B>&) {}
  virtual std::string_view name() const { return "input"; }

  Tensor<B> value{};
  Tensor<B> gradient{};
  bool wants_gradient = false;
  bool has_gradient = false;
  bool keep = false;  // its gradient outlives the backward pass
  std::array<Operand, max_operands> operands{};
  int operand_count = 0;

  const Tensor<B>& operand_value(int i) const {
    const Operand& o = operands[static_cast<std::size_t>(i)];
    return o.node != nullptr ? o.node->value : o.parameter->value;
  }
};

// Bump allocation in chunks that are reused when the tape is cleared.
class NodeArena {
 public:
  template <class T, class... Arguments>
  T* make(Arguments&&... arguments) {
    static_assert(sizeof(T) <= chunk_bytes);
    offset_ = (offset_ + alignof(std::max_align_t) - 1) / alignof(std::max_align_t) * alignof(std::max_align_t);
    if (chunks_.empty() || offset_ + sizeof(T) > chunk_bytes) {
      if (!chunks_.empty()) ++chunk_;
      if (chunk_ == chunks_.size()) chunks_.push_back(std::make_unique<std::byte[]>(chunk_bytes));
      offset_ = 0;
    }
    T* made = new (chunks_[chunk_].get() + offset_) T{std::forward<Arguments>(arguments)...};
    offset_ += sizeof(T);
    return made;
  }
  void rewind() { chunk_ = offset_ = 0; }

 private:
  static constexpr std::size_t chunk_bytes = 64 * 1024;
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
  std::size_t chunk_ = 0, offset_ = 0;
};

}  // namespace detail

/// A result on a tape: a light handle, valid until the tape is cleared.
template <Backend B>
class Var {
 public:
  Var() = default;
  const Shape& shape() const { return node_->value.shape(); }
  /// The computed value; released by Tape::backward unless it is kept.
  const Tensor<B>& value() const { return node_->value; }
  /// d loss / d this, after Tape::backward, for variables and kept results.
  const Tensor<B>& gradient() const { return node_->gradient; }

 private:
  friend class Tape<B>;
  explicit Var(detail::Node<B>* node) : node_(node) {}
  detail::Node<B>* node_ = nullptr;
};

/// Computes, and records whole ops for one backward pass. Explicit: nothing records unless it is
/// given the tape. Reuse one tape for all steps: cleared, it keeps its memory.
template <Backend B>
class Tape {
 public:
  using Device = B;
  using Value = Var<B>;
  static constexpr bool computes = true;

  /// Batch statistics and dropout are on unless `training` is false. `dropout` is the stream that
  /// dropout masks are drawn from; each use of the tape advances it.
  struct Options {
    bool training = true;
    Rng dropout{0};
  };

  explicit Tape(B& b) : Tape(b, Options{}) {}
  Tape(B& b, Options options) : b_(b), options_(options) {}
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;
  ~Tape() { clear(); }

  B& device() { return b_; }
  bool training() const { return options_.training; }
  Rng& dropout() { return options_.dropout; }

  /// A constant input.
  Var<B> input(Tensor<B> value) {
    auto* node = arena_.template make<detail::Node<B>>();
    nodes_.push_back(node);
    node->value = std::move(value);
    return Var<B>(node);
  }
  /// An input whose gradient is wanted.
  Var<B> variable(Tensor<B> value) {
    Var<B> v = input(std::move(value));
    v.node_->wants_gradient = v.node_->keep = true;
    return v;
  }
  /// Keeps a result's value and gradient through the backward pass.
  const Var<B>& keep(const Var<B>& v) {
    v.node_->keep = true;
    return v;
  }

  /// Runs an op and records it. Operands are Vars, Parameters (const: frozen) and optional Parameters.
  template <class O, class... Operands>
  Var<B> apply(O op, Operands&&... operands) {
    static_assert(DifferentiableOp<O, B>, "apply() needs an op: a struct with name, Saved, shape, forward, backward, channels and cost (see autograd/op.hpp)");
    auto* node = arena_.template make<Applied<O>>(std::move(op));
    nodes_.push_back(node);
    (add_operand(*node, operands), ...);
    const Inputs<B> in = inputs(*node);
    node->value = node->op.forward(b_, in, node->saved);
    return Var<B>(node);
  }

  /// Adds d loss / d parameter to the gradient of every parameter on the tape, and fills the
  /// gradients of variables. `loss` must be a scalar. Values are released on the way.
  void backward(const Var<B>& loss) {
    if (loss.value().count() != 1) throw ShapeError(str("backward() starts from a scalar loss, not from shape ", loss.shape()));
    loss.node_->gradient = Tensor<B>::full(b_, loss.shape(), typename B::Scalar{1});
    loss.node_->has_gradient = true;
    for (std::size_t n = nodes_.size(); n-- > 0;) {
      auto& node = *nodes_[n];
      if (node.has_gradient && node.operand_count > 0) {
        const Inputs<B> in = inputs(node);
        Gradients<B> gradients(b_, in);
        for (int i = 0; i < node.operand_count; ++i) {
          auto& o = node.operands[static_cast<std::size_t>(i)];
          if (o.trainable != nullptr) gradients.want(i, o.trainable->gradient, o.trainable->has_gradient);
          if (o.node != nullptr && o.node->wants_gradient) gradients.want(i, o.node->gradient, o.node->has_gradient);
        }
        node.backward(b_, in, gradients);
      }
      if (!node.keep) {
        if (&node != loss.node_) node.value = {};
        node.gradient = {};
        node.has_gradient = false;
      }
    }
  }

  /// Forgets everything recorded; keeps the memory.
  void clear() {
    for (std::size_t n = nodes_.size(); n-- > 0;) std::destroy_at(nodes_[n]);
    nodes_.clear();
    arena_.rewind();
  }

  std::size_t size() const { return nodes_.size(); }

  /// f(index, op name, value, first parameter or null) for every result, in order.
  template <class F>
  void for_each(F f) const {
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
      const Parameter<B>* first = nullptr;
      for (int i = nodes_[n]->operand_count; i-- > 0;)
        if (const auto* p = nodes_[n]->operands[static_cast<std::size_t>(i)].parameter) first = p;
      f(n, nodes_[n]->name(), nodes_[n]->value, first);
    }
  }

 private:
  using Node = detail::Node<B>;

  template <class O>
  struct Applied final : Node {
    explicit Applied(O o) : op(std::move(o)) {}
    void backward(B& b, const Inputs<B>& in, Gradients<B>& gradients) override {
      op.backward(b, in, this->value, saved, this->gradient, gradients);
    }
    std::string_view name() const override { return O::name; }
    O op;
    typename O::template Saved<B> saved{};
  };

  Inputs<B> inputs(const Node& node) const {
    Inputs<B> in;
    for (int i = 0; i < node.operand_count; ++i) in.push(node.operand_value(i));
    return in;
  }
  void add_operand(Node& node, const Var<B>& v) {
    node.operands[static_cast<std::size_t>(node.operand_count++)].node = v.node_;
    node.wants_gradient = node.wants_gradient || v.node_->wants_gradient;
  }
  void add_operand(Node& node, Parameter<B>& p) {
    node.operands[static_cast<std::size_t>(node.operand_count++)] = {nullptr, &p, &p};
    node.wants_gradient = true;
  }
  void add_operand(Node& node, const Parameter<B>& p) { node.operands[static_cast<std::size_t>(node.operand_count++)].parameter = &p; }
  template <class P> void add_operand(Node& node, std::optional<P>& p) { if (p) add_operand(node, *p); }
  template <class P> void add_operand(Node& node, const std::optional<P>& p) { if (p) add_operand(node, *p); }
  template <class V> void add_operand(Node& node, const std::vector<V>& all) { for (const auto& v : all) add_operand(node, v); }

  B& b_;
  Options options_;
  detail::NodeArena arena_;
  std::vector<Node*> nodes_;
};

}  // namespace espalier
