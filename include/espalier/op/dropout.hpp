// SPDX-License-Identifier: Apache-2.0
// Dropout whose mask is a function of a key and the element's index: nothing is stored, and the
// same key gives the same mask on every backend and any number of threads.
#pragma once

#include <espalier/autograd/op.hpp>
#include <espalier/tensor/rng.hpp>

namespace espalier::op {

/// y = x / (1 - p) where kept, else 0; each element is dropped with probability p (Srivastava et al. 2014,
/// scaled at training time).
/// Shapes  x, y: any, equal.   Channels  pass through.
struct Dropout {
  double probability = 0.5;
  std::uint64_t key = 0;

  static constexpr std::string_view name = "dropout";
  template <Backend B> struct Saved {};
  template <class T> struct Keep {
    std::uint64_t key;
    std::uint64_t below;  // keep an element if its word is at least this
    T scale;
    ESPALIER_HD void operator()(Index i, T& y, const T& x) const {
      y = Rng::word(key, static_cast<std::uint64_t>(i)) >= below ? x * scale : T{0};
    }
  };

  Shape shape(const Shapes& in) const { return in[0]; }
  template <Backend B>
  Tensor<B> forward(B& b, const Inputs<B>& in, Saved<B>&) const {
    return keep(b, in[0]);
  }
  template <Backend B>
  void backward(B& b, const Inputs<B>&, const Tensor<B>&, const Saved<B>&, const Tensor<B>& dy, Gradients<B>& d) const {
    if (d.wants(0)) d.give(0, keep(b, dy));
  }
  void channels(ChannelFlow& flow) const { flow.through(); }
  OpCost cost(const Shapes&, const Shape&) const { return {}; }

 private:
  template <Backend B>
  Tensor<B> keep(B& b, const Tensor<B>& x) const {
    using T = typename B::Scalar;
    auto y = Tensor<B>::empty(b, x.shape());
    const Keep<T> f{key, static_cast<std::uint64_t>(probability * 4294967296.0), static_cast<T>(1 / (1 - probability))};
    b.each(y.count(), f, y.data(), x.data());
    return y;
  }
};

}  // namespace espalier::op
