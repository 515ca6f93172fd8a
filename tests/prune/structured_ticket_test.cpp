// SPDX-License-Identifier: Apache-2.0
// Tickets cut down for real: what stays the same at their start, and what in their training.
#include <doctest/doctest.h>

#include <algorithm>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/io/ticket.hpp>
#include <espalier/prune/iterative.hpp>
#include <espalier/prune/structured_ticket.hpp>
#include <espalier/prune/unstructured.hpp>
#include <espalier/train/adam.hpp>
#include <espalier/train/sgd.hpp>

#include "io/scratch.hpp"
#include "laws/agreement.hpp"
#include "small_tickets.hpp"

using namespace espalier;
using namespace espalier::test;

namespace structured_ticket_test {

using R = Reference;

namespace {

struct Counts {
  std::size_t unread = 0, zero = 0, constant = 0;
  explicit Counts(const DeadChannels& found) {
    for (const DeadGroup& g : found.groups) unread += g.unread.size(), zero += g.zero.size(), constant += g.constant.size();
  }
};

// The largest difference between two networks of the same shapes, relative to the largest magnitude.
template <Backend B, Module M>
double apart(B& b, const M& a, const M& other) {
  std::vector<float> all, others;
  for (const auto& [path, tensor] : content(b, a)) all.insert(all.end(), tensor.values.begin(), tensor.values.end());
  for (const auto& [path, tensor] : content(b, other)) others.insert(others.end(), tensor.values.begin(), tensor.values.end());
  return difference(all, others);
}

// What a slim ticket keeps of the ticket, whatever was cut.
template <Backend B, Module M>
void check_kept(B&, const Ticket<M>& ticket, const Ticket<M>& small, const Plan& plan) {
  CHECK(small.at == ticket.at);
  CHECK(small.until == ticket.until);
  CHECK(small.round == ticket.round);
  CHECK(small.policy == ticket.policy);
  CHECK(small.mask == shrink_mask<B>(ticket.weights, ticket.mask, plan));
  CHECK(small.survivors == std::vector<Index>{ticket.survivors[0], ticket.survivors[1], small.mask.survivors()});
  CHECK(small.mask.survivors() < ticket.mask.survivors());
  CHECK(parameter_count(small.weights) < parameter_count(ticket.weights));
}

// Saved, and loaded into a network of full widths: the same ticket, and the same bytes after training.
template <Backend B, Module M, class O>
void check_round_trip(B& b, const Ticket<M>& small, const M& full, const O& options) {
  const ScratchFolder folder;
  save_ticket(b, small, folder / "t.safetensors");
  const auto loaded = load_ticket(b, full, folder / "t.safetensors").ticket;
  CHECK(content(b, loaded.weights) == content(b, small.weights));
  CHECK(loaded.mask == small.mask);
  CHECK(loaded.survivors == small.survivors);
  CHECK(content(b, train_ticket(b, loaded, images(), options).net) == content(b, train_ticket(b, small, images(), options).net));
}

}  // namespace

TEST_CASE("a ticket cut by a plan starts from the cut start, trains as the silenced ticket does, and its file fits a network of full widths") {
  R b;
  with_each_net(b, [&](std::uint64_t seed, const auto& net) {
    const auto ticket = ticket_of(b, net, options(adam), random_mask(net, 0.6, Rng(seed)));
    const Plan half = plan(b, net, image, FilterL1{.amount = Fraction{0.5}, .linear = LinearLayers::prune});
    const auto small = structured_ticket(b, ticket, half);
    check_kept(b, ticket, small, half);
    CHECK(content(b, small.start(b)) == content(b, shrink(b, ticket.start(b), half)));
    CHECK(content(b, small.weights) == content(b, shrink(b, ticket.weights, half)));  // of dead places too
    CHECK(content(b, small.weights) != content(b, small.start(b)));

    auto silenced = ticket;
    silenced.weights = espalier::mask(b, ticket.weights, half);
    silenced.mask = both(ticket.mask, mask_of<R>(net, half));
    const auto trained = train_ticket(b, small, images(), options(adam)), expected = train_ticket(b, silenced, images(), options(adam));
    CHECK(content(b, trained.net) == content(b, shrink(b, expected.net, half)));
    CHECK(trained.end == expected.end);
    CHECK(content(b, trained.net) != content(b, small.start(b)));
    check_round_trip(b, small, net, options(adam));
  });
}

TEST_CASE("a plan of another network, and a mask of one, are refused") {
  R b;
  const auto net = mlp(b, 1);
  auto ticket = ticket_of(b, net, options(adam), Mask::ones(net));
  const Plan half = plan(b, net, image, FilterL1{.amount = Fraction{0.5}, .linear = LinearLayers::prune});
  const auto small = structured_ticket(b, ticket, half);
  CHECK_THROWS_AS(structured_ticket(b, small, half), PlanError);
  ticket.mask = small.mask;
  CHECK_THROWS_AS(structured_ticket(b, ticket, half), StaleState);
  CHECK_THROWS_AS(remove_dead(b, ticket, image), StaleState);
}

TEST_CASE("a ticket without its dead channels computes the same at its start, keeps its bits and travels as a file") {
  R b;
  Counts met(DeadChannels{});
  with_each_net(b, [&](std::uint64_t seed, const auto& net) {
    const auto ticket = ticket_of(b, net, options(adam), random_mask(net, 0.12, Rng(seed)));
    const auto slim = remove_dead(b, ticket, image);
    const Counts went(slim.found);
    met.unread += went.unread, met.zero += went.zero, met.constant += went.constant;
    check_kept(b, ticket, slim.ticket, slim.found.plan);
    const auto x = random_images(b, image.with(0, 8), Rng(seed));
    CHECK(difference(predict(b, slim.ticket.start(b), x).to_host(b), predict(b, ticket.start(b), x).to_host(b)) <= 1e-5);
    const auto kept = content(b, shrink(b, ticket.weights, slim.found.plan)), found = content(b, slim.ticket.weights);
    for (std::size_t i = 0; i < kept.size(); ++i) {
      CAPTURE(kept[i].first);
      if (std::none_of(slim.found.folds.begin(), slim.found.folds.end(), [&](const Fold& f) { return f.path == kept[i].first; })) CHECK(found[i] == kept[i]);
      else CHECK(found[i] != kept[i]);
    }
    CHECK(remove_dead(b, slim.ticket, image).found.plan.removed() == 0);
    check_round_trip(b, slim.ticket, net, options(adam));
  });
  CHECK(met.unread > 10);
  CHECK(met.zero > 3);
  CHECK(met.constant > 3);
}

TEST_CASE("without unread channels a ticket trains the same, bit for bit: every optimiser, losses and counts included") {
  R b;
  with_each_net(b, [&](std::uint64_t seed, const auto& net) {
    const Mask mask = both(unread_mask(b, net), random_mask(net, 0.95, Rng(seed)));
    const auto same = [&](const auto& optimiser) {
      const auto ticket = ticket_of(b, net, options(optimiser), mask);
      const auto slim = remove_dead(b, ticket, image);
      const Counts went(slim.found);
      REQUIRE(went.unread > 5);
      REQUIRE(went.zero + went.constant == 0);
      CHECK(slim.found.folds.empty());
      const auto trained = train_ticket(b, slim.ticket, images(), options(optimiser)), expected = train_ticket(b, ticket, images(), options(optimiser));
      CHECK(content(b, trained.net) == content(b, shrink(b, expected.net, slim.found.plan)));
      CHECK(trained.end == expected.end);
      CHECK(content(b, trained.net) != content(b, slim.ticket.start(b)));

      // A clipped norm sums the squares of fewer tensors' elements: the same up to rounding.
      const auto clipped = train_ticket(b, slim.ticket, images(), options(optimiser, 0.1)), wanted = train_ticket(b, ticket, images(), options(optimiser, 0.1));
      CHECK(apart(b, clipped.net, shrink(b, wanted.net, slim.found.plan)) <= 1e-4);
      CHECK(content(b, clipped.net) != content(b, trained.net));
    };
    same(Sgd{.momentum = 0.9, .nesterov = true, .weight_decay = 1e-2});
    same(adam);
    same(AdamW{.weight_decay = 0.05});
  });
}

TEST_CASE("on EigenCpu that holds up to rounding") {
  EigenCpu b({.threads = 1});
  with_each_net(b, [&](std::uint64_t, const auto& net) {
    const Sgd sgd{.momentum = 0.9, .weight_decay = 1e-2};
    const auto ticket = ticket_of(b, net, options(sgd), unread_mask(b, net));
    const auto slim = remove_dead(b, ticket, image);
    REQUIRE(Counts(slim.found).unread > 5);
    const auto trained = train_ticket(b, slim.ticket, images(), options(sgd)), expected = train_ticket(b, ticket, images(), options(sgd));
    CHECK(apart(b, trained.net, shrink(b, expected.net, slim.found.plan)) <= 1e-4);
  });
}

TEST_CASE("zeros that a ReLU makes of a bias of 0 stay zeros: a lottery ticket at step 0 trains the same without them") {
  R b;
  std::size_t zeros = 0;
  const auto same = [&](std::uint64_t seed, const auto& net) {
    const auto ticket = ticket_of(b, net, options(adam), random_mask(net, 0.15, Rng(seed)));
    const auto slim = remove_dead(b, ticket, image);
    const Counts went(slim.found);
    zeros += went.zero;
    CHECK(went.constant == 0);
    const auto trained = train_ticket(b, slim.ticket, images(), options(adam)), expected = train_ticket(b, ticket, images(), options(adam));
    CHECK(content(b, trained.net) == content(b, shrink(b, expected.net, slim.found.plan)));
    CHECK(trained.end == expected.end);
  };
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    CAPTURE(seed);
    same(seed, mlp(b, seed, Bias::zeros));
    same(seed, conv_net(b, seed, false));
  }
  CHECK(zeros > 5);
}

TEST_CASE("any other constant is one at the start only: the bias that made it would have learnt") {
  R b;
  auto net = mlp(b, 1);
  auto bias = to_host(b, *net.layers[0].bias);
  bias.values[0] = 1;
  net.layers[0].bias->value = from_host(b, bias, net.layers[0].bias->layout);
  auto parts = Mask::ones(net).parts();
  for (Index i = 0; i < 36; ++i) parts[0].kill(i);  // neuron 0 reads nothing
  const auto ticket = ticket_of(b, net, options(adam), Mask(parts));
  const auto slim = remove_dead(b, ticket, image);
  CHECK(Counts(slim.found).constant == 1);
  const auto trained = train_ticket(b, slim.ticket, images(), options(adam)), full = train_ticket(b, ticket, images(), options(adam));
  CHECK(to_host(b, *full.net.layers[0].bias).values[0] != 1);
  CHECK(apart(b, trained.net, shrink(b, full.net, slim.found.plan)) > 1e-3);
}

TEST_CASE("behind a layer that was cut a dropout drops others; without it batch norm and its statistics train the same") {
  R b;
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (const double probability : {0.0, 0.25}) {
      CAPTURE(seed);
      CAPTURE(probability);
      ToyNet<R> net(b, Rng(seed));
      net.dropout.probability = probability;
      const auto ticket = ticket_of(b, net, options(adam), unread_mask(b, net));
      const auto slim = remove_dead(b, ticket, image);
      CHECK(Counts(slim.found).unread == 3);
      const auto trained = train_ticket(b, slim.ticket, images(), options(adam)), expected = train_ticket(b, ticket, images(), options(adam));
      CHECK((content(b, trained.net) == content(b, shrink(b, expected.net, slim.found.plan))) == (probability == 0));
    }
}

TEST_CASE("rounds go on from a slim ticket, and removal at the end of a search prints what went") {
  R b;
  const auto net = mlp(b, 3, Bias::zeros);
  const IterativePruning<LayerMagnitude, LotteryRewind> lottery{.decide = {.remove = 0.6}, .rounds = 3};
  const auto ignore = [](const auto&, const auto&) {};
  IterativePruning<LayerMagnitude, LotteryRewind> first = lottery;
  first.rounds = 2;
  const auto [ticket, trained] = prune_iteratively(b, whole_ticket(b, net, images(), options(adam), until), images(), options(adam), first, ignore);
  const auto slim = remove_dead(b, ticket, image);
  REQUIRE(slim.found.plan.removed() > 0);
  const auto [last, end] = prune_iteratively(b, slim.ticket, images(), options(adam), lottery, ignore);
  CHECK(last.round == 3);
  CHECK(last.survivors.size() == 4);
  CHECK(last.survivors[2] == slim.ticket.mask.survivors());
  CHECK(parameter_count(end.net) == slim.found.plan.parameters_after);
  CHECK(str(slim.found).find("fc1: 12 -> ") != std::string::npos);
}

}  // namespace structured_ticket_test
