// SPDX-License-Identifier: Apache-2.0
// Initial weights, as the papers say them. Values are drawn in the outside layout from a stream that
// is named after nothing but its key, so the same seed gives the same network on every backend.
#pragma once

#include <cmath>
#include <optional>

#include <espalier/autograd/parameter.hpp>
#include <espalier/tensor/rng.hpp>

namespace espalier {

/// A host tensor of an outside shape. For biases pass the fan of the weight they belong to.
inline HostTensor initial(const Shape& outside_shape, Init init, Rng& rng, double fan_in, double fan_out) {
  HostTensor t{outside_shape, std::vector<float>(static_cast<std::size_t>(outside_shape.count()))};
  const auto fill = [&](auto draw) {
    for (float& v : t.values) v = static_cast<float>(draw());
  };
  const auto normal = [&](double deviation) { fill([&] { return deviation * static_cast<double>(rng.normal()); }); };
  switch (init) {
    case Init::zeros: break;
    case Init::ones: fill([] { return 1.0; }); break;
    case Init::half: fill([] { return 0.5; }); break;
    case Init::he_normal_fan_in: normal(std::sqrt(2 / fan_in)); break;
    case Init::he_normal_fan_out: normal(std::sqrt(2 / fan_out)); break;
    case Init::xavier_normal: normal(std::sqrt(2 / (fan_in + fan_out))); break;
    case Init::uniform_fan_in: fill([&] { return (2 * rng.uniform_double() - 1) / std::sqrt(fan_in); }); break;
    case Init::normal_1e_2: normal(0.01); break;
    case Init::normal_2e_2: normal(0.02); break;
  }
  return t;
}

/// A parameter of an outside shape; the fans are read off the shape ([out, in, taps...]).
template <Backend B>
Parameter<B> initial_parameter(B& b, const Shape& outside_shape, Layout layout, Init init, Rng& rng) {
  double taps = 1;
  for (int axis = 2; axis < outside_shape.rank(); ++axis) taps *= static_cast<double>(outside_shape[axis]);
  const double fan_in = (outside_shape.rank() > 1 ? static_cast<double>(outside_shape[1]) : 1) * taps;
  const double fan_out = static_cast<double>(outside_shape[0]) * taps;
  return Parameter<B>(from_host(b, initial(outside_shape, init, rng, fan_in, fan_out), layout), layout, init);
}

/// Whether a layer has a bias, and how it starts.
enum class Bias { none, zeros, uniform_fan_in };

/// A bias for `out` outputs, each fed by `fan_in` weights.
template <Backend B>
std::optional<Parameter<B>> initial_bias(B& b, Index out, Bias bias, Index fan_in, Rng& rng) {
  if (bias == Bias::none) return std::nullopt;
  const Init start = bias == Bias::zeros ? Init::zeros : Init::uniform_fan_in;
  const double fan = static_cast<double>(fan_in);
  return Parameter<B>(from_host(b, initial({out}, start, rng, fan, fan), Layout::plain), Layout::plain, start);
}

}  // namespace espalier
