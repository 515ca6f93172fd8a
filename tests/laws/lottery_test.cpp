// SPDX-License-Identifier: Apache-2.0
// Laws of lottery tickets over random networks, masks, places and optimisers, on two backends: survivors return bit for
// bit; one ticket trains to the same bytes; what is dead stays exactly zero.
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/prune/iterative.hpp>
#include <espalier/prune/unstructured.hpp>
#include <espalier/train/adam.hpp>
#include <espalier/train/sgd.hpp>

#include "../train/toys.hpp"
#include "random_net.hpp"

using namespace espalier;
using namespace espalier::test;

namespace lottery_test {

namespace {

constexpr Index side = 4;
template <Backend B>
using Net = RandomNet<B, side>;

// An optimiser of a user's that moves every weight, whatever its gradient: nothing but the mask keeps the dead at zero.
struct Restless {
  bool operator==(const Restless&) const = default;
  static constexpr std::array<std::string_view, 2> moments{"drift", "age"};
  template <class T> struct Rule {
    T lr;
    void operator()(T& w, T g, T& drift, T& age) const {
      age += 1;
      drift = T(0.5) * drift + g + T(0.1) / age;
      w -= lr * drift;
    }
  };
  template <class T> Rule<T> rule(double lr, Index) const { return {static_cast<T>(lr)}; }
};
static_assert(Optimizer<Restless>);

// Calls f(name, optimiser) for each.
template <class F>
void with_each_optimiser(F f) {
  f("plain", Sgd{.momentum = 0, .weight_decay = 0});
  f("momentum", Sgd{.momentum = 0.9, .weight_decay = 1e-3});
  f("Nesterov", Sgd{.momentum = 0.9, .nesterov = true});
  f("Adam", Adam{.weight_decay = 1e-3});
  f("AdamW", AdamW{.weight_decay = 0.05});
  f("a user's", Restless{});
}

data::ImageSet random_set(std::uint64_t seed) {
  data::ImageSet set{12, side, side, 3, {}, {}, 5, "noise", "made from a seed", {"a", "b", "c", "d", "e"}};
  Rng rng = Rng(seed).split("images");
  for (Index i = 0; i < 12 * side * side * 3; ++i) set.pixels.push_back(static_cast<std::uint8_t>(rng.below(256)));
  for (Index i = 0; i < 12; ++i) set.labels.push_back(static_cast<std::int32_t>(rng.below(5)));
  return set;
}

template <class O>
TrainOptions<O, Constant> options_for(const O& optimiser, std::uint64_t seed) {
  return {.batch = 4, .optimizer = optimiser, .schedule = {.value = 0.01}, .normalise = {{0.5F, 0.5F, 0.5F}, {0.3F, 0.3F, 0.3F}}, .seed = seed};
}

using Content = std::vector<std::pair<std::string, HostTensor>>;

bool same_bits(const HostTensor& a, const HostTensor& b) {
  return a.shape == b.shape && std::memcmp(a.values.data(), b.values.data(), a.values.size() * sizeof(float)) == 0;
}
bool same_bits(const Content& a, const Content& b) {
  bool same = a.size() == b.size();
  for (std::size_t i = 0; same && i < a.size(); ++i) same = a[i].first == b[i].first && same_bits(a[i].second, b[i].second);
  return same;
}

// `snapshot` with its dead weights at zero: what a ticket must start from.
Content masked(Content snapshot, const Mask& mask) {
  for (auto& [path, tensor] : snapshot) {
    const MaskPart* part = mask.find(path);
    for (std::size_t i = 0; part != nullptr && i < tensor.values.size(); ++i)
      if (!part->alive(static_cast<Index>(i))) tensor.values[i] = 0;
  }
  return snapshot;
}

// How many values of a tensor of that path are not zero though their weight is dead.
Index alive_though_dead(const Mask& mask, std::string_view path, const HostTensor& tensor) {
  const MaskPart* part = mask.find(path);
  if (part == nullptr) return 0;
  Index count = 0;
  for (std::size_t i = 0; i < tensor.values.size(); ++i) count += !part->alive(static_cast<Index>(i)) && !(tensor.values[i] == 0);
  return count;
}

// A random mask, by layers: some keep nearly all, some nearly nothing.
Mask random_mask(const Mask& ones, Rng rng) {
  std::vector<MaskPart> parts = ones.parts();
  for (MaskPart& part : parts) {
    const double share = 0.05 + 0.9 * static_cast<double>(rng.uniform());
    for (Index i = 1; i < part.weights(); ++i)  // one stays
      if (rng.bernoulli(share)) part.kill(i);
  }
  return Mask(std::move(parts));
}

template <Backend B>
void check_tickets(B b, std::uint64_t seeds) {
  Index rewound = 0, different = 0;
  with_each_optimiser([&](const std::string& name, const auto& optimiser) {
    CAPTURE(name);
    for (std::uint64_t seed = 0; seed < seeds; ++seed) {
      CAPTURE(seed);
      Rng rng = Rng(seed).split("ticket").split(name);
      const Net<B> net(b, seed);
      CAPTURE(net.kinds);
      const auto set = random_set(seed);
      const auto options = options_for(optimiser, seed);
      const Index until = 5 + static_cast<Index>(rng.below(4)), k = static_cast<Index>(rng.below(5));
      const IterativePruning<GlobalRandom, LotteryRewind> policy{
          .decide = {.remove = 0.1 + 0.6 * static_cast<double>(rng.uniform()), .criterion = {.seed = seed}, .keep_at_least = 1}, .then = {.to = iterations(static_cast<double>(k))}, .rounds = 2};
      Content snapshot;
      std::optional<Mask> before;
      prune_iteratively(b, whole_ticket(b, net, set, options, until), set, options, policy, [&](const Ticket<Net<B>>& ticket, const TrainedTicket<Net<B>>& trained) {
        if (ticket.round == 0) {
          snapshot = content(b, *trained.snapshot);
        } else {
          CHECK(ticket.at.step.iteration == k);
          CHECK(ticket.mask.within(*before));
          CHECK(ticket.mask.survivors() < before->survivors());
          CHECK(same_bits(content(b, ticket.start(b)), masked(snapshot, ticket.mask)));
          ++rewound;
        }
        before = ticket.mask;
        const auto found = content(b, trained.net);
        different += !same_bits(found, content(b, ticket.start(b)));
        for (const auto& [path, tensor] : found) CHECK(alive_though_dead(ticket.mask, path, tensor) == 0);
        CHECK(same_bits(content(b, train_ticket(b, ticket, set, options).net), found));
      });
    }
  });
  CHECK(rewound == 12 * static_cast<Index>(seeds));
  CHECK(different == 18 * static_cast<Index>(seeds));  // trainings that changed something
}

template <Backend B>
void check_the_dead(B b, std::uint64_t first_seed, std::uint64_t seeds) {
  const Shape image{2, side, side, 3};
  with_each_optimiser([&](const std::string& name, const auto& optimiser) {
    CAPTURE(name);
    for (std::uint64_t seed = first_seed; seed < first_seed + seeds; ++seed) {
      CAPTURE(seed);
      Net<B> net(b, seed);
      CAPTURE(net.kinds);
      season(b, net, image, seed);
      clear_gradients(net);
      const Mask mask = random_mask(Mask::ones(net), Rng(seed).split(name));
      REQUIRE(mask.dead() > 20);
      auto run = optimizer_run(optimiser, b, net);
      run.set_mask(b, net, mask);
      const auto before = content(b, net);
      std::vector<Tensor<B>> images, targets;
      for (std::uint64_t i = 0; i < 3; ++i) images.push_back(random_images(b, image, Rng(100 + i))), targets.push_back(random_images(b, {2, Net<B>::out}, Rng(200 + i)));
      Tape<B> tape(b);
      for (Index step = 1; step <= 1000; ++step) {
        const auto at = static_cast<std::size_t>(step % 3);
        tape.clear();
        tape.backward(tape.apply(op::MeanSquaredError{}, forward(tape, net, tape.input(images[at])), tape.input(targets[at])));
        run.step(b, net, 0.001);
        if (step > 3 && step % 37 != 0 && step != 1000) continue;
        Index found = 0;
        for_each_parameter(net, [&](const std::string& path, const Parameter<B>& p) {
          found += alive_though_dead(mask, path, to_host(b, p));
          if (mask.find(path) != nullptr) found += alive_though_dead(mask, path, to_host(b, p.gradient, p.layout));
        });
        for (const auto& [moment, tensor] : run.export_state(b).tensors) found += alive_though_dead(mask, moment.substr(moment.find('/') + 1), tensor);
        if (found != 0) FAIL_CHECK(found << " values of dead weights are not zero after step " << step);
      }
      const auto after = content(b, net);
      CHECK(!same_bits(before, after));
      for (const auto& [path, tensor] : after)
        for (const float v : tensor.values) REQUIRE(std::isfinite(v));
    }
  });
}

}  // namespace

TEST_CASE("a ticket's survivors are bit-equal to the snapshot, its dead are zero, and it trains to the same bytes twice, on Reference") { check_tickets(Reference{}, 4); }

TEST_CASE("the same on EigenCpu with two threads") { check_tickets(EigenCpu({.threads = 2}), 8); }

TEST_CASE("dead weights, their gradients and their moments are zero through 1,000 steps of every optimiser, on Reference") { check_the_dead(Reference{}, 0, 1); }

TEST_CASE("the same on EigenCpu") { check_the_dead(EigenCpu({.threads = 1}), 1, 2); }

}  // namespace lottery_test
