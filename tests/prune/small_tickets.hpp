// SPDX-License-Identifier: Apache-2.0
// Small perceptrons and convolutional nets on a toy task, and masks for tickets of them.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>

#include <doctest/doctest.h>

#include <espalier/models/convnet.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/prune/filter_l1.hpp>
#include <espalier/prune/planning.hpp>
#include <espalier/prune/ticket.hpp>
#include <espalier/train/adam.hpp>

#include "train/toys.hpp"

namespace espalier::test {

inline const Shape image{1, 6, 6, 1};
inline constexpr Index until = 12;  // 64 images by 8: ends within the second epoch

inline const data::ImageSet& images() {
  static const data::ImageSet set = toy_images(64, 1);
  return set;
}
template <class O>
TrainOptions<O, MultiStep> options(const O& optimiser, std::optional<double> clip = {}) {
  return {.batch = 8, .optimizer = optimiser, .clip_norm = clip, .schedule = {.from = 0.02, .factor = 0.1, .at = {iterations(9)}}, .normalise = toy_channels(), .seed = 4};
}
inline const Adam adam{.weight_decay = 1e-3};

template <Backend B>
models::Mlp<B> mlp(B& b, std::uint64_t seed, Bias bias = Bias::uniform_fan_in) {
  return models::Mlp<B>(b, {36, 12, 8, 3}, Rng(seed), {.bias = bias, .init = Init::xavier_normal});
}
template <Backend B>
models::ConvNet<B> conv_net(B& b, std::uint64_t seed, bool biased = true) {
  models::ConvNet<B> net(b, {.stages = {{5, 6}}, .hidden = {9}, .image = 6, .in = 1, .classes = 3}, Rng(seed));
  Rng rng = Rng(seed).split("biases");
  for_each_parameter(net, [&](const std::string&, auto& p) {
    HostTensor host = to_host(b, p);
    if (!biased || host.shape.rank() != 1) return;
    for (float& v : host.values) v = 0.3F * rng.normal();
    p.value = from_host(b, host, p.layout);
  });
  return net;
}
// f(seed, network) for networks of both kinds, of several seeds.
template <Backend B, class F>
void with_each_net(B& b, F f) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    CAPTURE(seed);
    f(seed, mlp(b, seed));
    f(seed, conv_net(b, seed));
  }
}

template <Backend B, Module M, class O>
Ticket<M> ticket_of(B& b, const M& net, const O& options, Mask mask) {
  Ticket<M> ticket = whole_ticket(b, net, images(), options, until);
  ticket.mask = std::move(mask);
  ticket.round = 2;
  ticket.policy = "by hand";
  ticket.survivors.insert(ticket.survivors.end(), {ticket.mask.survivors() + 1, ticket.mask.survivors()});
  return ticket;
}

template <Module M>
Mask random_mask(const M& net, double density, Rng rng) {
  auto parts = Mask::ones(net).parts();
  for (MaskPart& part : parts)
    for (Index i = 0; i < part.weights(); ++i)
      if (!rng.bernoulli(density)) part.kill(i);
  return Mask(std::move(parts));
}

// Every second hidden channel loses all that reads it; of the rest every weight lives.
template <Backend B, Module M>
Mask unread_mask(B& b, const M& net) {
  Plan plan = espalier::plan(b, net, image, FilterL1{.amount = Fraction{0.5}, .linear = LinearLayers::prune});
  const auto readers = espalier::detail::slices_of<B>(net, plan, [](ChannelRole role) { return role == ChannelRole::reader; });
  auto parts = Mask::ones(net).parts();
  for (MaskPart& part : parts)
    if (const auto slices = readers.of.find(part.path); slices != readers.of.end())
      for (const auto& [axis, dead] : slices->second) espalier::detail::for_each_marked(part.shape, axis, dead, [&](Index i) { part.kill(i); });
  return Mask(std::move(parts));
}

// What is dead in either.
inline Mask both(const Mask& a, const Mask& b) {
  auto parts = a.parts();
  for (const MaskPart& other : b.parts()) {
    const auto part = std::find_if(parts.begin(), parts.end(), [&](const MaskPart& p) { return p.path == other.path; });
    if (part == parts.end()) parts.push_back(other);
    else
      for (Index i = 0; i < other.weights(); ++i)
        if (!other.alive(i)) part->kill(i);
  }
  return Mask(std::move(parts));
}

}  // namespace espalier::test
