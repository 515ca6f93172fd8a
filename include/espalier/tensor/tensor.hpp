// SPDX-License-Identifier: Apache-2.0
// A dense array in a backend's memory: a shape and a buffer. A value: copying copies the elements.
// Activations are channels-last (N H W C); the last axis is contiguous.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include <espalier/backend/concept.hpp>

namespace espalier {

template <Backend B, class T = typename B::Scalar>
class Tensor {
 public:
  using Pointer = typename B::template Pointer<T>;
  using ConstPointer = typename B::template Pointer<const T>;

  Tensor() : shape_{0} {}

  /// A tensor whose elements are *uninitialised*.
  static Tensor empty(B& b, const Shape& shape) { return Tensor(shape, b.template allocate<T>(shape.count())); }
  static Tensor full(B& b, const Shape& shape, T value) {
    Tensor t = empty(b, shape);
    b.fill(t.data(), shape.count(), value);
    return t;
  }
  static Tensor zeros(B& b, const Shape& shape) { return full(b, shape, T{0}); }
  /// Throws ShapeError unless `values` has exactly shape.count() elements.
  static Tensor from(B& b, const Shape& shape, std::span<const T> values) {
    if (static_cast<Index>(values.size()) != shape.count())
      throw ShapeError(str("a tensor of shape ", shape, " needs ", shape.count(), " values, ", values.size(), " were given"));
    Tensor t = empty(b, shape);
    b.upload(values, t.data());
    return t;
  }

  const Shape& shape() const { return shape_; }
  Index count() const { return shape_.count(); }
  bool has_elements() const { return count() > 0; }
  Pointer data() { return buffer_.data(); }
  ConstPointer data() const { return buffer_.data(); }

  /// The elements, copied to the host.
  std::vector<T> to_host(B& b) const {
    std::vector<T> values(static_cast<std::size_t>(count()));
    if (count() > 0) b.download(data(), std::span<T>(values));
    return values;
  }
  /// The only element of a scalar. Throws ShapeError if there are more.
  T item(B& b) const {
    if (count() != 1) throw ShapeError(str("item() needs one element, the tensor has shape ", shape_));
    T value{};
    b.download(data(), std::span<T>(&value, 1));
    return value;
  }

  /// The same elements under another shape of the same count.
  Tensor reshaped(const Shape& shape) && {
    if (shape.count() != count()) throw ShapeError(str("cannot view shape ", shape_, " as ", shape, ": the element counts differ"));
    return Tensor(shape, std::move(buffer_));
  }

 private:
  using Buffer = typename B::template Buffer<T>;
  Tensor(const Shape& shape, Buffer buffer) : shape_(shape), buffer_(std::move(buffer)) {}

  Shape shape_;
  Buffer buffer_{};
};

/// Labels and token ids.
template <Backend B>
using Ids = Tensor<B, std::int32_t>;

}  // namespace espalier
