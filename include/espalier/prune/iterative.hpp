// SPDX-License-Identifier: Apache-2.0
// Train, remove, start again: one loop for iterative magnitude pruning, one-shot pruning, lottery tickets
// and their controls. What goes and what survivors start from are the two slots of one policy.
#pragma once

#include <optional>
#include <ostream>
#include <sstream>
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
/// `decide` has Mask next(B&, const M& net, const Mask& mask) const and operator<<, as GlobalMagnitude has.
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

/// One decision, and one training before and after it.
///
///   OneShot<GlobalMagnitude, FineTuneWeights>{.decide = {.remove = 0.9}, .then = {.train = epochs(10)}}
template <class Decide, RoundStart Then>
struct OneShot {
  Decide decide{};
  Then then{};
  bool operator==(const OneShot&) const = default;

  void validate() const {
    detail::check_policy(decide);
    detail::check_policy(then);
  }
};

template <class Decide, RoundStart Then>
std::ostream& operator<<(std::ostream& to, const IterativePruning<Decide, Then>& p) {
  return to << "IterativePruning{.decide = " << p.decide << ", .then = " << p.then << str(", .rounds = ", p.rounds, "}");
}
template <class Decide, RoundStart Then>
std::ostream& operator<<(std::ostream& to, const OneShot<Decide, Then>& p) {
  return to << "OneShot{.decide = " << p.decide << ", .then = " << p.then << '}';
}

namespace detail {

// As it is written in code: what the ticket keeps.
template <class Policy>
std::string policy_text(const Policy& policy) {
  static_assert(requires(std::ostream& to) { to << policy.decide; },
                "prune_iteratively: the policy in .decide must print as it is written in code, for the ticket says what made it: write std::ostream& operator<<(std::ostream&, const MyDecision&)");
  std::ostringstream text;
  if constexpr (requires(std::ostream& to) { to << policy.decide; }) text << policy;
  return text.str();
}

// The loop of IterativePruning, and of OneShot.
template <Backend B, Module M, data::Dataset D, Optimizer O, Schedule S, class L, class Policy, class Each, class Observer, class Stop>
std::pair<Ticket<M>, TrainedTicket<M>> prune_in_rounds(B& b, Ticket<M> ticket, const D& data, const TrainOptions<O, S, L>& options, const Policy& policy, Index rounds, Each& each,
                                                       Observer& observer, Stop& stop) {
  policy.validate();
  ticket.policy = policy_text(policy);
  const std::string name = ticket.policy.substr(0, ticket.policy.find('{'));
  const std::optional<Duration> rewinds_to = policy.then.snapshot_at();
  const Index snapshot_at = rewinds_to.value_or(iterations(0)).whole_iterations(ticket.at.step.epoch_length);
  if (snapshot_at >= ticket.until)
    throw PolicyError(str(name, ": found a snapshot after ", snapshot_at, " steps, needed fewer than the ", ticket.until, " steps of a training; rewind to an earlier step"));
  if (ticket.round > 0 && rewinds_to && ticket.at.step.iteration != snapshot_at)
    throw StaleState(str(name, ": found a ticket of round ", ticket.round, " that goes back to step ", ticket.at.step.iteration, ", needed step ", snapshot_at,
                         " as the policy has it; continue with the policy that made the ticket, or start from a whole ticket"));
  std::optional<Snapshot<M>> saved;
  if (ticket.round > 0) saved = Snapshot<M>{ticket.weights, ticket.at};  // a rewound ticket carries what it was rewound to
  for (;;) {
    auto trained = train_ticket(b, ticket, data, options, saved ? std::optional<Index>() : snapshot_at, observer, stop);
    if (trained.stopped) return {std::move(ticket), std::move(trained)};
    if (!saved) saved = Snapshot<M>{*trained.snapshot, trained.snapshot_state};
    each(std::as_const(ticket), std::as_const(trained));
    if (ticket.round >= rounds) return {std::move(ticket), std::move(trained)};
    ticket = policy.then.next(b, ticket, trained, *saved, decided(b, policy.decide, std::as_const(trained.net), ticket.mask, observer));
  }
}

}  // namespace detail

/// Runs the rounds that `ticket` has not had, and returns the last ticket with what it was trained to; every ticket
/// has the policy's text. Start with whole_ticket(); or with a ticket saved on the way, and the rest of the run has the
/// same bytes.
///
/// `each(ticket, trained)` is called after every training: to evaluate, to save the ticket, to try a control.
/// The snapshot that `then` rewinds to is taken in the first training. When `stop()` is true, training ends between
/// two batches, `each` is not called for the half-trained network, and `trained.stopped` says so. An observer that
/// collects scores over the trainings, such as ScoreCollector<Movement, B>, is asked for them where `decide` reads scores;
/// they are in no ticket. When `each` sees a ticket, the collector holds that ticket's own training, which comes again if
/// one goes on from it: what belongs to the ticket of round r are the scores saved in `each` of round r - 1.
///
/// Throws before anything is computed: PolicyError if the policy is out of range, StaleState if a ticket of a later round is
/// continued that goes back to another step than the policy. Throws StaleState if a decision revives a weight.
template <Backend B, Module M, data::Dataset D, Optimizer O, Schedule S, class L, class Decide, RoundStart Then, class Each, class Observer = NoTicketObserver, class Stop = Never>
std::pair<Ticket<M>, TrainedTicket<M>> prune_iteratively(B& b, Ticket<M> ticket, const D& data, const TrainOptions<O, S, L>& options, const IterativePruning<Decide, Then>& policy,
                                                         Each&& each, Observer&& observer = {}, Stop&& stop = {}) {
  return detail::prune_in_rounds(b, std::move(ticket), data, options, policy, policy.rounds, each, observer, stop);
}
/// The same with one round.
template <Backend B, Module M, data::Dataset D, Optimizer O, Schedule S, class L, class Decide, RoundStart Then, class Each, class Observer = NoTicketObserver, class Stop = Never>
std::pair<Ticket<M>, TrainedTicket<M>> prune_iteratively(B& b, Ticket<M> ticket, const D& data, const TrainOptions<O, S, L>& options, const OneShot<Decide, Then>& policy, Each&& each,
                                                         Observer&& observer = {}, Stop&& stop = {}) {
  return detail::prune_in_rounds(b, std::move(ticket), data, options, policy, 1, each, observer, stop);
}

}  // namespace espalier
