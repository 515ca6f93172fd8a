// SPDX-License-Identifier: Apache-2.0
// What an operation is: forward, backward, what it does to channels, what it costs. A plain struct;
// no base class, no registration.
#pragma once

#include <array>
#include <concepts>
#include <string_view>
#include <utility>

#include <espalier/autograd/channel_flow.hpp>
#include <espalier/config.hpp>

namespace espalier {

/// The most operands an op may have.
inline constexpr int max_operands = 8;

/// The shapes of an op's operands, in order.
class Shapes {
 public:
  void push(const Shape& shape) { shapes_[static_cast<std::size_t>(size_++)] = shape; }
  int size() const { return size_; }
  const Shape& operator[](int i) const { return shapes_[static_cast<std::size_t>(i)]; }

 private:
  std::array<Shape, max_operands> shapes_{};
  int size_ = 0;
};

/// The operands themselves: activations and parameter values.
template <Backend B>
class Inputs {
 public:
  void push(const Tensor<B>& tensor) { tensors_[static_cast<std::size_t>(size_++)] = &tensor; }
  int size() const { return size_; }
  const Tensor<B>& operator[](int i) const { return *tensors_[static_cast<std::size_t>(i)]; }
  Shapes shapes() const {
    Shapes all;
    for (int i = 0; i < size_; ++i) all.push((*this)[i].shape());
    return all;
  }
  /// Weights packed ahead for inference, or null.
  const typename B::PreparedConv* prepared = nullptr;

 private:
  std::array<const Tensor<B>*, max_operands> tensors_{};
  int size_ = 0;
};

/// Where a backward pass puts the gradients of an op's operands.
template <Backend B>
class Gradients {
 public:
  struct Target {
    Tensor<B>& tensor;
    Store store;
  };

  Gradients(B& b, const Inputs<B>& in) : b_(b), in_(in) {}
  /// Operand i wants its gradient in `tensor`; `filled` says whether it already holds a part.
  void want(int i, Tensor<B>& tensor, bool& filled) { slots_[static_cast<std::size_t>(i)] = {&tensor, &filled}; }

  bool wants(int i) const { return slots_[static_cast<std::size_t>(i)].tensor != nullptr; }

  /// The tensor to write operand i's gradient to, and whether to assign or to add.
  Target target(int i) {
    auto& slot = slots_[static_cast<std::size_t>(i)];
    const Store store = *slot.filled ? Store::add : Store::assign;
    if (store == Store::assign && slot.tensor->shape() != in_[i].shape()) *slot.tensor = Tensor<B>::empty(b_, in_[i].shape());
    *slot.filled = true;
    return {*slot.tensor, store};
  }
  /// Hands over a finished gradient: moved in if it is the first part, added otherwise.
  void give(int i, Tensor<B> gradient) {
    auto& slot = slots_[static_cast<std::size_t>(i)];
    if (!std::exchange(*slot.filled, true)) {
      *slot.tensor = std::move(gradient);
      return;
    }
    b_.each(gradient.count(), AddTo{}, slot.tensor->data(), std::as_const(gradient).data());
  }

 private:
  struct AddTo {
    template <class T> ESPALIER_HD void operator()(Index, T& sum, const T& part) const { sum += part; }
  };
  struct Slot {
    Tensor<B>* tensor = nullptr;
    bool* filled = nullptr;
  };
  B& b_;
  const Inputs<B>& in_;
  std::array<Slot, max_operands> slots_{};
};

/// What one application costs, exactly. The terms beyond multiply_adds serve the conventions of
/// other tools (see nn/cost.hpp).
struct OpCost {
  Index multiply_adds = 0;
  Index bias_adds = 0;      // elements that a bias is added to
  Index norm_elements = 0;  // elements normalised
  Index relu_elements = 0;  // elements through a ReLU
  Index pool_reads = 0;     // elements read by pooling windows
  bool operator==(const OpCost&) const = default;
};

/// An operation that a tape can record.
///
/// Write
///   static constexpr std::string_view name
///   template <Backend B> struct Saved          what backward needs beyond operands and result
///   Shape shape(const Shapes&) const           result shape; throws ShapeError, naming the layer's sizes
///   Tensor<B> forward(B&, const Inputs<B>&, Saved<B>&) const
///   void backward(B&, const Inputs<B>&, const Tensor<B>& y, const Saved<B>&, const Tensor<B>& dy, Gradients<B>&) const
///   void channels(ChannelFlow&) const          which channels pass, start, are read or tied together
///   OpCost cost(const Shapes&, const Shape& y) const
/// Laws      backward is the transpose of forward's derivative (checked in double, to 1e-6);
///           channels() is true: a channel that is zero in every producer is zero wherever it is read.
/// Archetype tests/archetypes/op.hpp
template <class O, class B>
concept DifferentiableOp = Backend<B> && std::copyable<O> &&
    requires(const O& op, B& b, const Inputs<B>& in, const Tensor<B>& t, typename O::template Saved<B>& saved,
             const typename O::template Saved<B>& kept, Gradients<B>& gradients, ChannelFlow& flow, const Shapes& shapes) {
      { O::name } -> std::convertible_to<std::string_view>;
      { op.shape(shapes) } -> std::same_as<Shape>;
      { op.forward(b, in, saved) } -> std::same_as<Tensor<B>>;
      op.backward(b, in, t, kept, t, gradients);
      op.channels(flow);
      { op.cost(shapes, t.shape()) } -> std::same_as<OpCost>;
    };

}  // namespace espalier
