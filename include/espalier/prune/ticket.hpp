// SPDX-License-Identifier: Apache-2.0
// A lottery ticket as a value: which weights live, what they start from, and from which place of the
// training run. Training a ticket is a pure function of it, the data and the options, so a ticket that was
// saved is trained again elsewhere to the same bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <espalier/nn/mask.hpp>
#include <espalier/train/loop.hpp>

namespace espalier {

/// m * theta_k: a mask over weights that were saved after k steps of the first training.
template <Module M>
struct Ticket {
  M weights;           // theta_k, of dead weights too: a control may want another mask over them
  Mask mask{};
  TrainerState at{};   // the place k in schedule, data order and dropout; without moments: the optimiser starts anew
  Index until = 0;     // the iteration at which training ends, counted from the start of the run
  Index round = 0;     // how often weights were removed
  std::string policy{};                 // that made it, as it is written in code; empty for a ticket no policy has had
  std::vector<Index> survivors{};       // the history: weights alive in each round from 0, this one included

  /// The network that training starts from: dead weights are exactly zero, the others bit-equal to `weights`.
  template <Backend B>
  M start(B& b) const {
    return espalier::mask(b, weights, mask);
  }
};

/// What training a ticket gave.
template <Module M>
struct TrainedTicket {
  M net;
  TrainerState end{};                   // where it ended, without moments
  std::optional<M> snapshot{};          // the network after `snapshot_at` steps, if training passed there
  TrainerState snapshot_state{};        // and that place
  bool stopped = false;                 // by request, before the end: `net` is half trained
};

/// The first place of the run that a state belongs to: step 0, and what follows from the seed.
inline TrainerState beginning(const TrainerState& state) {
  return {.step = {0, state.step.epoch_length}, .sampler = {state.sampler.seed, 0, 0}, .dropout = {state.dropout.key, 0}, .epoch = {}, .history = {}, .optimizer = {}};
}

/// Observes nothing while a ticket is trained. An observer is one of Trainer::run's, and may have
///   Index every;  void look(B&, const M& net, const Step&)      called after each `every` steps, and at the end
struct NoTicketObserver {};

/// The ticket that every weight is in: the network as it is, before the first step of a run of `until` iterations.
/// Throws PolicyError for options out of range.
template <Backend B, Module M, data::Dataset D, Optimizer O, Schedule S, class L>
Ticket<M> whole_ticket(B& b, const M& net, const D& data, const TrainOptions<O, S, L>& options, Index until) {
  detail::require_field(until >= 1, "whole_ticket", "until", static_cast<double>(until), "at least 1 iteration");
  M copy = net;
  Trainer trainer(b, copy, data, options);
  Ticket<M> ticket{.weights = net, .mask = Mask::ones(net), .at = trainer.state(), .until = until};
  ticket.at.optimizer = {};
  ticket.survivors = {ticket.mask.survivors()};
  return ticket;
}

/// Trains m * theta_k from its place k until its end; `options.epochs` is not asked. If training passes
/// `snapshot_at`, the network there is kept too. Dead weights are zero after every step, whatever the optimiser.
/// Throws StaleState if mask, weights, data and options do not fit each other; Diverged as Trainer does.
/// Paper   Frankle & Carbin 2019, section 1: "train f(x; m * theta) until it converges".
template <Backend B, Module M, data::Dataset D, Optimizer O, Schedule S, class L, class Observer = NoTicketObserver, class Stop = Never>
TrainedTicket<M> train_ticket(B& b, const Ticket<M>& ticket, const D& data, TrainOptions<O, S, L> options, std::optional<Index> snapshot_at = {},
                              Observer&& observer = {}, Stop&& stop = {}) {
  TrainedTicket<M> result{.net = ticket.start(b)};
  const Index length = std::max<Index>(ticket.at.step.epoch_length, 1);
  options.epochs = (ticket.until + length - 1) / length;
  Trainer trainer(b, result.net, data, options);
  trainer.rewind(ticket.at, result.net);
  if (!ticket.mask.empty()) trainer.set_mask(ticket.mask);

  const auto place = [&] {
    TrainerState state = trainer.state();
    state.optimizer = {};
    return state;
  };
  const auto keep_if_due = [&] {
    if (!snapshot_at || trainer.step().iteration != *snapshot_at) return;
    result.snapshot = result.net;
    clear_gradients(*result.snapshot);
    result.snapshot_state = place();
  };
  keep_if_due();
  while (trainer.step().iteration < ticket.until && !result.stopped) {
    const Index now = trainer.step().iteration;
    Index next = ticket.until;
    if (snapshot_at && *snapshot_at > now) next = std::min(next, *snapshot_at);
    if constexpr (requires { observer.every; }) next = std::min(next, (now / observer.every + 1) * observer.every);
    result.stopped = trainer.run_to(next, observer, NoCheckpoints{}, stop).stopped;
    if (result.stopped) break;
    keep_if_due();
    if constexpr (requires { observer.every; })
      if (next % observer.every == 0 || next == ticket.until) observer.look(b, std::as_const(result.net), trainer.step());
  }
  result.end = place();
  clear_gradients(result.net);
  return result;
}

}  // namespace espalier
