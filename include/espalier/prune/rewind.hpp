// SPDX-License-Identifier: Apache-2.0
// What the survivors of a round of weight pruning start the next round from: the lottery ticket's
// rewinding, its younger relations, and the controls that it must beat. Policies without state; what was
// saved on the way belongs to the loop.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include <espalier/prune/mask_controls.hpp>
#include <espalier/prune/survivors.hpp>
#include <espalier/prune/ticket.hpp>

namespace espalier {

/// A network and its place in the run, saved on the way.
template <Module M>
struct Snapshot {
  M net;
  TrainerState at{};
};

/// What rewinding returns to its old values. Frankle & Carbin's networks have biases alone beside the weights,
/// and their code sets those back; open_lth sets back batch norms and their statistics too. Hence the default.
enum class Rewound {
  everything,    // weights, biases, normalisations and running statistics
  weights_only,  // what a mask can name; the rest stays as training left it
};

/// A RoundStart says what survivors start from, and at which place of the run.
///
/// Write    std::optional<Duration> snapshot_at() const                   when the loop saves its snapshot; none if next()
///                                                                        reads none. Duration alone will do
///          template <Backend B, Module M>
///          Ticket<M> next(B&, const Ticket<M>& ticket, const TrainedTicket<M>& trained, const Snapshot<M>& saved, Mask mask) const
///          std::ostream& operator<<(std::ostream&, const RoundStart&), as it is written in code
/// Meaning  `ticket` was trained to `trained`, then `mask` was decided; the result is what is trained next.
/// Laws     pure; the result's mask is `mask`, RandomMask's excepted.
///          If a snapshot is read, the result's place is the snapshot's: it is how a run that is continued knows it.
/// Models   LotteryRewind, LearningRateRewind, FineTuneWeights, RandomReinitialise, RandomMask
template <class R>
concept RoundStart = std::regular<R> && requires(const R& r, std::ostream& to) {
  { r.snapshot_at() } -> std::convertible_to<std::optional<Duration>>;
  to << r;
};

namespace detail {

template <Module M>
Ticket<M> next_ticket(const Ticket<M>& before, M weights, TrainerState at, Mask mask) {
  Ticket<M> next{.weights = std::move(weights), .mask = std::move(mask), .at = std::move(at), .until = before.until, .round = before.round + 1,
                 .policy = before.policy, .survivors = before.survivors};
  next.survivors.push_back(next.mask.survivors());
  return next;
}

}  // namespace detail

/// Survivors return, bit for bit, to what they were after `to` of the first training; schedule, data order and
/// dropout go back to that place, and the optimiser starts anew.
/// Paper   `to` = 0: Frankle & Carbin 2019, section 1, step 4. Later: Frankle, Dziugaite, Roy & Carbin, "Linear mode
///         connectivity and the lottery ticket hypothesis", ICML 2020 (rewinding to step k).
/// Differs moments start at zero at step k, as in open_lth; the papers do not say.
struct LotteryRewind {
  Duration to = iterations(0);
  Rewound what = Rewound::everything;
  bool operator==(const LotteryRewind&) const = default;

  Duration snapshot_at() const { return to; }
  void validate() const { detail::require_field(to.amount >= 0 && std::isfinite(to.amount), "LotteryRewind", "to", to.amount, "at least 0"); }
  template <Backend B, Module M>
  Ticket<M> next(B&, const Ticket<M>& ticket, const TrainedTicket<M>& trained, const Snapshot<M>& saved, Mask mask) const {
    M weights = saved.net;
    if (what == Rewound::weights_only) keep_the_rest(trained.net, weights, mask);
    return detail::next_ticket(ticket, std::move(weights), saved.at, std::move(mask));
  }

 private:
  // Everything that no mask names is taken from `from`.
  template <Module M>
  static void keep_the_rest(const M& from, M& to_net, const Mask& mask) {
    std::vector<const void*> sources;
    detail::for_each_listed(from, [&](const std::string&, const auto& member) { sources.push_back(&member); });
    std::size_t next = 0;
    detail::for_each_listed(to_net, [&](const std::string& path, auto& member) {
      const auto* source = static_cast<const std::remove_cvref_t<decltype(member)>*>(sources[next++]);
      if (mask.find(path) == nullptr) member = *source;
    });
  }
};

/// Survivors keep their trained values; schedule and data order go back to `to`, and the optimiser starts anew.
/// Paper   Renda, Frankle & Carbin, "Comparing rewinding and fine-tuning", ICLR 2020, section 2: learning rate rewinding.
struct LearningRateRewind {
  Duration to = iterations(0);
  bool operator==(const LearningRateRewind&) const = default;

  Duration snapshot_at() const { return to; }
  void validate() const { detail::require_field(to.amount >= 0 && std::isfinite(to.amount), "LearningRateRewind", "to", to.amount, "at least 0"); }
  template <Backend B, Module M>
  Ticket<M> next(B&, const Ticket<M>& ticket, const TrainedTicket<M>& trained, const Snapshot<M>& saved, Mask mask) const {
    return detail::next_ticket(ticket, trained.net, saved.at, std::move(mask));
  }
};

/// Survivors keep their trained values and train on, where the training before ended: a schedule past its end has its
/// last value. The optimiser starts anew.
/// Paper   Han, Pool, Tran & Dally, "Learning both weights and connections", NeurIPS 2015; Liu et al. 2019, section 3.
struct FineTuneWeights {
  Duration train = epochs(1);  // in each round
  bool operator==(const FineTuneWeights&) const = default;

  std::optional<Duration> snapshot_at() const { return std::nullopt; }
  void validate() const { detail::require_field(train.amount > 0 && std::isfinite(train.amount), "FineTuneWeights", "train", train.amount, "more than 0"); }
  template <Backend B, Module M>
  Ticket<M> next(B&, const Ticket<M>& ticket, const TrainedTicket<M>& trained, const Snapshot<M>&, Mask mask) const {
    auto tuned = detail::next_ticket(ticket, trained.net, trained.end, std::move(mask));
    tuned.until = trained.end.step.iteration + train.whole_iterations(trained.end.step.epoch_length);
    return tuned;
  }
};

/// A control made of any ticket: its mask over new weights, each drawn by its own initialisation from the seed and its
/// path; running statistics start over, and training begins at step 0.
/// Paper   Frankle & Carbin 2019, section 2, "random reinitialization"; Scratch-E of Liu et al. 2019.
/// Differs a masked convolution is drawn with its dense fan-out; Liu et al.'s code takes live weights / input channels.
template <Backend B, Module M>
Ticket<M> reinitialised(B& b, Ticket<M> ticket, std::uint64_t seed) {
  Reinitialise{seed}.start(b, ticket.weights);
  ticket.at = beginning(ticket.at);
  return ticket;
}

/// A control made of any ticket: its weights under a random mask with as many survivors in every layer.
/// Paper   Frankle & Carbin 2019 compare with random sparsity of equal layer densities in their appendices.
template <Module M>
Ticket<M> with_random_mask(Ticket<M> ticket, std::uint64_t seed) {
  ticket.mask = shuffled(ticket.mask, seed);
  return ticket;
}

/// reinitialised() as the start of each round, with a seed of its own.
struct RandomReinitialise {
  std::uint64_t seed = 0;
  bool operator==(const RandomReinitialise&) const = default;

  std::optional<Duration> snapshot_at() const { return std::nullopt; }
  template <Backend B, Module M>
  Ticket<M> next(B& b, const Ticket<M>& ticket, const TrainedTicket<M>& trained, const Snapshot<M>&, Mask mask) const {
    return reinitialised(b, detail::next_ticket(ticket, trained.net, ticket.at, std::move(mask)), Rng(seed).split(static_cast<std::uint64_t>(ticket.round + 1)).key());
  }
};

/// with_random_mask() as the start of each round, with a seed of its own. The mask is drawn anew in each round: it has
/// the decided number of survivors in every layer, but is neither the decided mask nor within that of the round before.
struct RandomMask {
  std::uint64_t seed = 0;
  LotteryRewind rewind{};
  bool operator==(const RandomMask&) const = default;

  Duration snapshot_at() const { return rewind.snapshot_at(); }
  void validate() const { rewind.validate(); }
  template <Backend B, Module M>
  Ticket<M> next(B& b, const Ticket<M>& ticket, const TrainedTicket<M>& trained, const Snapshot<M>& saved, Mask mask) const {
    return with_random_mask(rewind.next(b, ticket, trained, saved, std::move(mask)), Rng(seed).split(static_cast<std::uint64_t>(ticket.round + 1)).key());
  }
};

inline void append(std::string& out, const LotteryRewind& r) {
  out += str("LotteryRewind{.to = ", r.to, r.what == Rewound::weights_only ? ", .what = Rewound::weights_only}" : "}");
}
inline void append(std::string& out, const LearningRateRewind& r) { out += str("LearningRateRewind{.to = ", r.to, "}"); }
inline void append(std::string& out, const FineTuneWeights& r) { out += str("FineTuneWeights{.train = ", r.train, "}"); }
inline void append(std::string& out, const RandomReinitialise& r) { out += str("RandomReinitialise{.seed = ", r.seed, "}"); }
inline void append(std::string& out, const RandomMask& r) { out += str("RandomMask{.seed = ", r.seed, ", .rewind = ", r.rewind, "}"); }
inline std::ostream& operator<<(std::ostream& to, const LotteryRewind& r) { return to << str(r); }
inline std::ostream& operator<<(std::ostream& to, const LearningRateRewind& r) { return to << str(r); }
inline std::ostream& operator<<(std::ostream& to, const FineTuneWeights& r) { return to << str(r); }
inline std::ostream& operator<<(std::ostream& to, const RandomReinitialise& r) { return to << str(r); }
inline std::ostream& operator<<(std::ostream& to, const RandomMask& r) { return to << str(r); }

static_assert(RoundStart<LotteryRewind> && RoundStart<LearningRateRewind> && RoundStart<FineTuneWeights> && RoundStart<RandomReinitialise> && RoundStart<RandomMask>);

}  // namespace espalier
