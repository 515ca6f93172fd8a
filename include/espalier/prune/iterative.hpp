// SPDX-License-Identifier: Apache-2.0
// Train, remove, start again: one loop for iterative magnitude pruning, one-shot pruning, lottery tickets
// and their controls. What goes and what survivors start from are the two slots of one policy.
#pragma once

#include <concepts>
#include <optional>
#include <ostream>
#include <string>
#include <utility>

#include <espalier/prune/detail/decide.hpp>
#include <espalier/prune/rewind.hpp>

namespace espalier {

/// Each round: train; `decide` which weights go; `then` set what is left back. After the last decision the
/// network is trained once more, so `rounds` decisions make rounds + 1 trainings.
///
///   IterativePruning<LayerMagnitude, LotteryRewind>{.decide = {.remove = 0.2, .layers = {{"fc3", 0.1}}}, .then = {}, .rounds = 15}
///
/// `decide` is a MaskPolicy: Mask next(B&, const M& net, const Mask& mask) const, such as GlobalMagnitude.
template <class Decide, RoundStart Then>
struct IterativePruning {
  Decide decide{};
  Then then{};
  Index rounds = 1;
  bool operator==(const IterativePruning&) const = default;

  void validate() const {
    detail::require_field(rounds >= 0, "IterativePruning", "rounds", static_cast<double>(rounds), "at least 0");
    detail::check_policy(decide);
    detail::check_policy(then);
  }
};

/// One decision: IterativePruning with its default of one round.
template <class Decide, RoundStart Then>
using OneShot = IterativePruning<Decide, Then>;

template <class Decide, RoundStart Then>
std::ostream& operator<<(std::ostream& to, const IterativePruning<Decide, Then>& p) {
  return to << "IterativePruning{.decide = " << p.decide << ", .then = " << p.then << str(", .rounds = ", p.rounds, "}");
}

/// Runs the rounds that `ticket` has not had, and returns the last ticket with what it was trained to.
/// Start with whole_ticket(); or with a ticket saved on the way, and the rest of the run has the same bytes.
///
/// `each(ticket, trained)` is called after every training: to evaluate, to save the ticket, to try a control.
/// The snapshot that `then` rewinds to is taken in the first training. When `stop()` is true, training ends between
/// two batches, `each` is not called for the half-trained network, and `trained.stopped` says so. An observer that
/// collects scores over the trainings, such as ScoreCollector<Movement, B>, is asked for them where `decide` reads scores.
///
/// Throws PolicyError before anything is computed if the policy is out of range; StaleState if a decision revives a
/// weight, or if a ticket of a later round is continued whose snapshot place is not the policy's.
template <Backend B, Module M, data::Dataset D, Optimizer O, Schedule S, class L, class Decide, RoundStart Then, class Each, class Observer = NoTicketObserver, class Stop = Never>
std::pair<Ticket<M>, TrainedTicket<M>> prune_iteratively(B& b, Ticket<M> ticket, const D& data, const TrainOptions<O, S, L>& options, const IterativePruning<Decide, Then>& policy,
                                                         Each&& each, Observer&& observer = {}, Stop&& stop = {}) {
  policy.validate();
  const Index length = ticket.at.step.epoch_length;
  const Index snapshot_at = policy.then.snapshot_at().whole_iterations(length);
  if (snapshot_at >= ticket.until)
    throw PolicyError(str("IterativePruning: found a snapshot after ", snapshot_at, " steps, needed fewer than the ", ticket.until, " steps of a training; rewind to an earlier step"));
  std::optional<Snapshot<M>> saved;
  if (ticket.round > 0) saved = Snapshot<M>{ticket.weights, ticket.at};  // a rewound ticket carries what it was rewound to
  for (;;) {
    auto trained = train_ticket(b, ticket, data, options, saved ? std::optional<Index>() : snapshot_at, observer, stop);
    if (trained.stopped) return {std::move(ticket), std::move(trained)};
    if (!saved) saved = Snapshot<M>{*trained.snapshot, trained.snapshot_state};
    each(std::as_const(ticket), std::as_const(trained));
    if (ticket.round >= policy.rounds) return {std::move(ticket), std::move(trained)};
    ticket = policy.then.next(b, ticket, trained, *saved, detail::decided(b, policy.decide, std::as_const(trained.net), ticket.mask, observer));
  }
}

}  // namespace espalier
