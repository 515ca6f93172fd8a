// SPDX-License-Identifier: Apache-2.0
// An activation of a compiled model, which may lie in rows, in the layout of sparse products, or in both.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include <espalier/backend/prepared.hpp>
#include <espalier/tensor/tensor.hpp>

namespace espalier {

/// An activation of a compiled model: a tensor, or the same elements in a backend's sparse layout, or both once
/// both were asked for. Copies share the elements.
template <Backend B>
class CompiledValue {
 public:
  CompiledValue() : CompiledValue(Tensor<B>{}) {}
  /// Implicit, so that a model takes tensors. The tensor is not copied and must outlive the value.
  CompiledValue(const Tensor<B>& rows) : parts_(std::make_shared<Parts>(Parts{rows.shape(), &rows, {}, {}})) {}
  CompiledValue(Tensor<B>&& rows) : parts_(std::make_shared<Parts>(Parts{rows.shape(), nullptr, {}, {}})) { parts_->own = std::move(rows); }
  /// A value of this shape from its elements in the sparse layout.
  static CompiledValue sparse(const Shape& shape, Tensor<B> elements) {
    CompiledValue value{Tensor<B>{}};
    *value.parts_ = {shape, nullptr, {}, std::move(elements)};
    return value;
  }

  const Shape& shape() const { return parts_->shape; }
  bool has_tensor() const { return parts_->rows != nullptr || parts_->own.has_value(); }
  bool has_sparse() const { return parts_->sparse.has_value(); }

  /// The tensor, converted at the first call if there was none.
  const Tensor<B>& tensor(B& b) const {
    if constexpr (SparseBackend<B>) {
      if (!has_tensor()) parts_->own = from_sparse(b, shape(), *parts_->sparse);
    }
    return parts_->rows != nullptr ? *parts_->rows : *parts_->own;
  }
  /// The elements in the sparse layout, converted at the first call if they were not.
  const Tensor<B>& sparse(B& b) const requires SparseBackend<B> {
    if (!parts_->sparse) parts_->sparse = to_sparse(b, tensor(b));
    return *parts_->sparse;
  }
  /// The tensor, moved out where nobody else has it.
  Tensor<B> take(B& b) && {
    (void)tensor(b);
    if (parts_->own && parts_.use_count() == 1) return std::move(*parts_->own);
    return tensor(b);
  }

  static Tensor<B> to_sparse(B& b, const Tensor<B>& rows) requires SparseBackend<B> {
    const Index n = rows.shape().rows(), channels = rows.shape().channels();
    auto elements = Tensor<B>::empty(b, {b.sparse_elements(n, channels)});
    b.to_sparse_layout(n, channels, rows.data(), elements.data());
    return elements;
  }
  static Tensor<B> from_sparse(B& b, const Shape& shape, const Tensor<B>& elements) requires SparseBackend<B> {
    auto rows = Tensor<B>::empty(b, shape);
    b.from_sparse_layout(shape.rows(), shape.channels(), elements.data(), rows.data());
    return rows;
  }

 private:
  struct Parts {
    Shape shape;
    const Tensor<B>* rows;         // somebody else's, or
    std::optional<Tensor<B>> own;  // ours
    std::optional<Tensor<B>> sparse;
  };
  std::shared_ptr<Parts> parts_;
};

}  // namespace espalier
