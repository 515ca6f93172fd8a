// SPDX-License-Identifier: Apache-2.0
// What is asked of every model: names and shapes as PyTorch has them, weights drawn as its paper says,
// copies that are copies.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include <espalier/backend/reference.hpp>
#include <espalier/io/safetensors.hpp>
#include <espalier/nn/cost.hpp>

#include <common/skip.hpp>

namespace espalier::test {

using Names = std::vector<std::string>;

template <class Net>
Names parameter_names(const Net& net) {
  Names names;
  for_each_parameter(net, [&](const std::string& path, const auto&) { names.push_back(path); });
  return names;
}

template <class Net>
Names buffer_names(const Net& net) {
  Names names;
  for_each_buffer(net, [&](const std::string& path, const auto&) { names.push_back(path); });
  return names;
}

template <class Net>
HostTensor parameter(const Net& net, const std::string& name) {
  Reference r;
  HostTensor found;
  for_each_member(net, [&](const std::string& path, const auto& member) {
    if constexpr (requires { to_host(r, member); })
      if (path == name) found = to_host(r, member);
  });
  return found;
}

/// The names that a golden trajectory, written by PyTorch, has in its metadata.
inline Names names_in(const SafetensorsFile& file, const char* key) {
  Names names;
  std::istringstream words(*file.find_metadata(key));
  for (std::string word; words >> word;) names.push_back(word);
  return names;
}

/// Checks names and their order against a golden file; skips without the folder.
template <class Net>
void check_names(const Net& net, const char* golden) {
  const auto folder = golden_folder();
  if (!folder) return;
  const auto file = SafetensorsFile::read((*folder / golden).string());
  CHECK(parameter_names(net) == names_in(file, "parameters"));
  CHECK(buffer_names(net) == names_in(file, "buffers"));
}

struct Moments {
  double mean = 0, deviation = 0, largest = 0;
};
inline Moments moments(const HostTensor& t) {
  Moments m;
  for (const float v : t.values) {
    m.mean += static_cast<double>(v);
    m.largest = std::max(m.largest, std::abs(static_cast<double>(v)));
  }
  m.mean /= static_cast<double>(t.values.size());
  for (const float v : t.values) m.deviation += (static_cast<double>(v) - m.mean) * (static_cast<double>(v) - m.mean);
  m.deviation = std::sqrt(m.deviation / static_cast<double>(t.values.size()));
  return m;
}

/// Normal with mean 0: mean and deviation within five standard errors, and tails as long as a normal's.
inline void check_normal(const HostTensor& t, double deviation) {
  const auto n = static_cast<double>(t.values.size());
  REQUIRE(n > 100);
  const Moments m = moments(t);
  CHECK(std::abs(m.mean) < 5 * deviation / std::sqrt(n));
  CHECK(std::abs(m.deviation / deviation - 1) < 5 / std::sqrt(2 * n));
  CHECK(m.largest > 2 * deviation);
  CHECK(m.largest < 7 * deviation);
}

inline void check_constant(const HostTensor& t, float value) {
  REQUIRE(!t.values.empty());
  for (const float v : t.values) REQUIRE(v == value);
}

/// A copy has parameters of its own, and computes the same.
template <class Net>
void check_copy(const Net& net, const Shape& input) {
  Reference r;
  const auto x = Tensor<Reference>::full(r, input, 0.5F);
  const auto before = predict(r, net, x).to_host(r);
  Net copy = net;
  CHECK(predict(r, copy, x).to_host(r) == before);
  for_each_parameter(copy, [&](const std::string&, auto& p) { p.value = Tensor<Reference>::zeros(r, p.value.shape()); });
  CHECK(predict(r, copy, x).to_host(r) != before);
  CHECK(predict(r, net, x).to_host(r) == before);
  const Net moved = std::move(copy = net);
  CHECK(predict(r, moved, x).to_host(r) == before);
}

/// Equal seeds, equal networks; other seeds, others. No two layers start alike.
template <class Net, class Config>
void check_seeds(const Config& config) {
  Reference r;
  const Net net(r, config, Rng(1)), same(r, config, Rng(1)), other(r, config, Rng(2));
  std::vector<float> firsts;
  for (const auto& name : parameter_names(net)) {
    CAPTURE(name);
    const HostTensor t = parameter(net, name);
    CHECK(t == parameter(same, name));
    if (t.shape.rank() < 2) continue;
    CHECK(t.values != parameter(other, name).values);
    firsts.push_back(t.values[0] / static_cast<float>(moments(t).deviation));
  }
  for (std::size_t i = 0; i < firsts.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) CHECK(std::abs(firsts[i] - firsts[j]) > 1e-6F);
}

}  // namespace espalier::test
