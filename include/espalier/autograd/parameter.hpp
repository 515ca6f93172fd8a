// SPDX-License-Identifier: Apache-2.0
// What a module learns: a value, its gradient, and how the outside world lays it out. Inside, weights
// are stored as the kernels want them; files, plans and masks see PyTorch's shapes.
#pragma once

#include <algorithm>
#include <vector>

#include <espalier/tensor/tensor.hpp>

namespace espalier {

/// How a parameter's inside shape relates to the shape that files and plans see.
enum class Layout {
  plain,        // the same
  linear,       // inside [in, out], outside [out, in]
  convolution,  // inside [kernel_h, kernel_w, in, out], outside [out, in, kernel_h, kernel_w]
};

/// How a weight starts. fan_in and fan_out count the weights that feed one output and that one input feeds.
enum class Init {
  zeros,
  ones,
  half,              // 0.5: the batch norm scale of the rethinking paper's VGG
  he_normal_fan_in,  // N(0, 2 / fan_in)   (He et al. 2015, eq. 10)
  he_normal_fan_out, // N(0, 2 / fan_out)  (He et al. 2015, eq. 14)
  xavier_normal,     // N(0, 2 / (fan_in + fan_out))  (Glorot & Bengio 2010; the lottery ticket paper)
  uniform_fan_in,    // U(-1/sqrt(fan_in), 1/sqrt(fan_in)), PyTorch's default for layers
  normal_1e_2,       // N(0, 0.01^2)
  normal_2e_2,       // N(0, 0.02^2): BERT
};

/// A tensor on the host, in the outside layout, row-major.
struct HostTensor {
  Shape shape{0};
  std::vector<float> values;
  bool operator==(const HostTensor&) const = default;
};

/// A trainable tensor. `gradient` holds a value only while `has_gradient`; backward passes add to it
/// until an optimiser consumes it. A const Parameter on a tape is a frozen one.
template <Backend B>
struct Parameter {
  Tensor<B> value{};
  Tensor<B> gradient{};
  bool has_gradient = false;
  Layout layout = Layout::plain;
  Init init = Init::zeros;  // how it starts, should it start again

  Parameter() = default;
  Parameter(Tensor<B> initial, Layout outside, Init start = Init::zeros) : value(std::move(initial)), layout(outside), init(start) {}

  /// The shape that files, plans and masks see.
  Shape outside_shape() const;
};

/// What a layer keeps but does not learn, such as running statistics.
template <Backend B>
struct Buffer {
  Tensor<B> value{};
  Init init = Init::zeros;
};

/// A count that is part of a layer's structure and follows pruning, such as the zero channels that a
/// shortcut appends.
struct Extent {
  Index value = 0;
  bool operator==(const Extent&) const = default;
};

/// The outside shape of an inside one.
inline Shape outside(const Shape& s, Layout layout) {
  switch (layout) {
    case Layout::linear: return {s[1], s[0]};
    case Layout::convolution: return {s[3], s[2], s[0], s[1]};
    default: return s;
  }
}

/// The inside shape of an outside one. Throws ShapeError if the rank does not fit the layout.
inline Shape inside(const Shape& s, Layout layout) {
  const int rank = layout == Layout::linear ? 2 : layout == Layout::convolution ? 4 : s.rank();
  if (s.rank() != rank) throw ShapeError(str("a ", rank == 2 ? "linear" : "convolution", " weight has ", rank, " axes; the shape given is ", s));
  switch (layout) {
    case Layout::linear: return {s[1], s[0]};
    case Layout::convolution: return {s[2], s[3], s[1], s[0]};
    default: return s;
  }
}

namespace detail {

// Copies between the two layouts on the host; `to_outside` says in which direction.
template <class From, class To>
void relayout(std::span<const From> from, std::span<To> to, const Shape& inner, Layout layout, bool to_outside) {
  const auto move = [&](Index inside_at, Index outside_at) {
    const auto source = static_cast<std::size_t>(to_outside ? inside_at : outside_at);
    const auto target = static_cast<std::size_t>(to_outside ? outside_at : inside_at);
    to[target] = static_cast<To>(from[source]);
  };
  if (layout == Layout::plain) {
    for (std::size_t i = 0; i < from.size(); ++i) to[i] = static_cast<To>(from[i]);
    return;
  }
  // Both weights are [taps, in, out] inside and [out, in, taps] outside, with one tap if linear.
  const Index taps = layout == Layout::linear ? 1 : inner[0] * inner[1];
  const Index in = inner[-2], out = inner[-1];
  // In tiles, because one of the two is walked across its rows: a line of cache is used up before it is dropped.
  constexpr Index tile = 16;
  for (Index o0 = 0; o0 < out; o0 += tile)
    for (Index i0 = 0; i0 < in; i0 += tile) {
      const Index o1 = std::min(o0 + tile, out), i1 = std::min(i0 + tile, in);
      if (to_outside) {  // what is written is written in a row
        for (Index o = o0; o < o1; ++o)
          for (Index i = i0; i < i1; ++i)
            for (Index t = 0; t < taps; ++t) move((t * in + i) * out + o, (o * in + i) * taps + t);
      } else {
        for (Index t = 0; t < taps; ++t)
          for (Index i = i0; i < i1; ++i)
            for (Index o = o0; o < o1; ++o) move((t * in + i) * out + o, (o * in + i) * taps + t);
      }
    }
}

}  // namespace detail

template <Backend B>
Shape Parameter<B>::outside_shape() const {
  return outside(value.shape(), layout);
}

/// A tensor of the inside layout as the outside world sees it.
template <Backend B>
HostTensor to_host(B& b, const Tensor<B>& t, Layout layout) {
  const auto values = t.to_host(b);
  HostTensor out{outside(t.shape(), layout), std::vector<float>(values.size())};
  detail::relayout(std::span<const typename B::Scalar>(values), std::span<float>(out.values), t.shape(), layout, true);
  return out;
}

template <Backend B>
HostTensor to_host(B& b, const Parameter<B>& p) {
  return to_host(b, p.value, p.layout);
}
template <Backend B>
HostTensor to_host(B& b, const Buffer<B>& buffer) {
  return to_host(b, buffer.value, Layout::plain);
}

/// The inverse of to_host.
template <Backend B>
Tensor<B> from_host(B& b, const HostTensor& host, Layout layout) {
  const Shape inner = inside(host.shape, layout);
  std::vector<typename B::Scalar> values(host.values.size());
  detail::relayout(std::span<const float>(host.values), std::span<typename B::Scalar>(values), inner, layout, false);
  return Tensor<B>::from(b, inner, values);
}

}  // namespace espalier
