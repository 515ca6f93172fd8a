// SPDX-License-Identifier: Apache-2.0
// The law mask(net, plan) = shrink(net, plan), checked in every mode.
#pragma once

#include <doctest/doctest.h>

#include <espalier/prune/planning.hpp>

#include "random_net.hpp"

namespace espalier::test {

/// The largest difference, relative to the largest magnitude.
inline double difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0, apart = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(a[i])));
    apart = std::max(apart, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  REQUIRE(largest > 1e-3);  // an output that vanishes would agree with anything
  REQUIRE(std::isfinite(largest));
  return apart / largest;
}

/// Everything that one training pass leaves behind, by path, in the outside layout.
template <Backend B, Module M>
std::map<std::string, HostTensor> after_training_pass(B& b, M& net, const Tensor<B>& x, std::vector<float>& output) {
  Tape<B> tape(b);
  const auto y = tape.keep(forward(tape, net, tape.input(x)));
  output = y.value().to_host(b);
  tape.backward(tape.apply(op::MeanSquaredError{}, y, tape.input(random_images(b, y.shape(), Rng(3)))));
  std::map<std::string, HostTensor> left;
  for_each_parameter(net, [&](const std::string& path, const auto& p) {
    if (p.has_gradient) left[path] = to_host(b, p.gradient, p.layout);
  });
  for_each_buffer(net, [&](const std::string& path, const auto& buffer) { left[path] = to_host(b, buffer); });
  return left;
}

/// Checks that two networks agree, one with channels that do not count and one without them: outputs in eval
/// and train mode, and, of what survives, the gradients and running statistics of a training pass.
template <Backend B, Module M>
void check_agreement(B& b, M masked, M slim, const Plan& plan, double tolerance = 1e-5) {
  clear_gradients(slim);
  clear_gradients(masked);
  const auto x = random_images(b, plan.input.with(0, 4), Rng(2));
  CHECK(difference(predict(b, masked, x).to_host(b), predict(b, slim, x).to_host(b)) <= tolerance);

  std::vector<float> masked_output, slim_output;
  auto expected = after_training_pass(b, masked, x, masked_output);
  const auto found = after_training_pass(b, slim, x, slim_output);
  CHECK(difference(masked_output, slim_output) <= tolerance);

  const auto removed = espalier::detail::slices_of<B>(masked, plan, [](ChannelRole) { return true; });
  double largest = 0;
  for (const auto& [path, tensor] : expected)
    for (const float v : tensor.values) largest = std::max(largest, std::abs(static_cast<double>(v)));
  REQUIRE(expected.size() == found.size());
  for (auto& entry : expected) {
    const std::string& path = entry.first;
    HostTensor& tensor = entry.second;
    CAPTURE(path);
    if (const auto slices = removed.of.find(path); slices != removed.of.end())
      for (const auto& [axis, dead] : slices->second) tensor = espalier::detail::without(tensor, axis, dead);
    const HostTensor& other = found.at(path);
    REQUIRE(tensor.shape == other.shape);
    double apart = 0;
    for (std::size_t i = 0; i < other.values.size(); ++i)
      apart = std::max(apart, std::abs(static_cast<double>(tensor.values[i]) - static_cast<double>(other.values[i])));
    CHECK(apart <= tolerance * largest);
  }
}

/// Checks the law mask = shrink for one plan.
template <Backend B, Module M>
void check_agreement(B& b, const M& net, const Plan& plan, double tolerance = 1e-5) {
  check_agreement(b, mask(b, net, plan), shrink(b, net, plan), plan, tolerance);
}

/// The plan's own words: its text reads back, its savings are those of the network that shrink() returns,
/// and it fits no network twice.
template <Backend B, Module M>
void check_plan(B& b, const M& net, const Plan& plan) {
  CHECK(plan_from_text(to_text(plan)) == plan);
  const M slim = shrink(b, net, plan);
  const NetworkCost before = cost<B>(net, plan.input), after = cost<B>(slim, plan.input);
  CHECK(plan.parameters_before == before.parameters);
  CHECK(plan.parameters_after == after.parameters);
  CHECK(plan.multiply_adds_before == before.multiply_adds);
  CHECK(plan.multiply_adds_after == after.multiply_adds);
  CHECK(after.parameters < before.parameters);
  CHECK(parameter_count(slim) == after.parameters);
  const auto groups = channel_groups(b, slim, plan.input);
  REQUIRE(groups.groups.size() == plan.groups.size());
  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    CHECK(groups.groups[g].name == plan.groups[g].name);
    CHECK(groups.groups[g].channels == plan.groups[g].keep());
  }
  CHECK_THROWS_AS(shrink(b, slim, plan), PlanError);
  CHECK_THROWS_AS(mask(b, slim, plan), PlanError);
}

}  // namespace espalier::test
