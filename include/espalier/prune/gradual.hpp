// SPDX-License-Identifier: Apache-2.0
// Pruning while training: every so many steps the mask is decided again, at the sparsity that a schedule
// says. There are no rounds and nothing is set back.
#pragma once

#include <ostream>
#include <string>
#include <utility>

#include <espalier/nn/mask.hpp>
#include <espalier/prune/detail/decide.hpp>
#include <espalier/prune/sparsity_schedule.hpp>
#include <espalier/train/loop.hpp>

namespace espalier {

/// Whenever `sparsity` is due, the weights that `decide` finds go, until the share of dead weights is what the schedule
/// says. The loop sets `decide.sparsity`; `decide.remove` must not be set. Layers with a share of their own in
/// `decide.layers` have it from the first decision on: the schedule moves `.sparsity` only.
///
///   GradualPruning<GlobalMagnitude, CubicSparsity>{.sparsity = {.to = 0.9, .begin = epochs(1), .end = epochs(8)}}
///
/// Paper   Zhu & Gupta, "To prune, or not to prune", 2017, section 3.
template <class Decide, SparsitySchedule S>
struct GradualPruning {
  Decide decide{};
  S sparsity{};
  bool operator==(const GradualPruning&) const = default;

  void validate() const {
    if (decide.remove) throw PolicyError("GradualPruning: found decide.remove set, needed neither amount: the schedule sets .sparsity; leave it out");
    detail::check_policy(sparsity);
  }
};

template <class Decide, SparsitySchedule S>
std::ostream& operator<<(std::ostream& to, const GradualPruning<Decide, S>& p) {
  return to << "GradualPruning{.decide = " << p.decide << str(", .sparsity = ", p.sparsity, "}");
}

namespace detail {

/// Held against a training whose length is known, which validate() cannot do. A schedule of yours without Durations
/// named begin and end is not asked.
template <SparsitySchedule S>
void check_in_training(const S& sparsity, const Step& last) {
  if constexpr (requires { sparsity.begin.whole_iterations(last.epoch_length); sparsity.end.whole_iterations(last.epoch_length); }) {
    const Index begin = sparsity.begin.whole_iterations(last.epoch_length), end = sparsity.end.whole_iterations(last.epoch_length);
    if (end < begin)
      throw PolicyError(str("GradualPruning: found sparsity.end = ", sparsity.end, ", which is iteration ", end, ", needed at least sparsity.begin = ", sparsity.begin, ", which is iteration ", begin, "; correct the schedule"));
    if (end > last.iteration)
      throw PolicyError(str("GradualPruning: found sparsity.end = ", sparsity.end, ", which is iteration ", end, ", needed at most the ", last.iteration,
                            " iterations of the training, or .to is never reached; end earlier, or train longer"));
  }
}

}  // namespace detail

/// Trains `net` to the end of `options`, pruning on the way; the network's dead weights are exactly zero from then on.
/// What is due at the last iteration is decided after it, so that a schedule which ends there ends at `.to`; the loss and
/// accuracy of the last epoch are those before. Returns the last mask. Observers, checkpoints and stop are Trainer::run's; a
/// checkpoint carries the mask, and a resumed run ends with the same bytes. An observer that collects scores, such as
/// ScoreCollector<Movement, B>, is asked for them where `decide` reads scores; a checkpoint carries them too.
/// Throws PolicyError before anything is computed if the schedule ends before it begins or after the training; else as
/// Trainer and the policy do.
template <Backend B, Module M, data::Dataset D, Optimizer O, Schedule R, class L, class Decide, SparsitySchedule S, class Observer = NoObserver, class Checkpoints = NoCheckpoints, class Stop = Never>
std::pair<Mask, TrainResult> prune_gradually(B& b, M& net, const D& data, const TrainOptions<O, R, L>& options, const GradualPruning<Decide, S>& policy, Observer&& observer = {},
                                             Checkpoints&& checkpoints = {}, Stop&& stop = {}) {
  policy.validate();
  Trainer trainer(b, net, data, options);
  detail::check_in_training(policy.sparsity, {trainer.iterations_in_all(), trainer.step().epoch_length});
  detail::resume(trainer, observer, checkpoints);
  Mask mask = trainer.optimizer().mask().empty() ? Mask::ones(net) : trainer.optimizer().mask();
  const auto decide_if_due = [&] {
    if (!policy.sparsity.due(trainer.step())) return false;
    Decide decide = policy.decide;
    decide.sparsity = policy.sparsity(trainer.step());
    mask = detail::decided(b, decide, std::as_const(net), mask, observer);
    trainer.set_mask(mask);
    return true;
  };
  TrainResult result;
  while (!trainer.finished() && !result.stopped) {
    decide_if_due();
    Step next = trainer.step();
    do ++next.iteration;
    while (next.iteration < trainer.iterations_in_all() && !policy.sparsity.due(next));
    result = trainer.run_to(next.iteration, observer, checkpoints, stop);
  }
  if (result.stopped) return {std::move(mask), std::move(result)};
  if (decide_if_due()) checkpoints.save(trainer, std::as_const(observer));
  return {std::move(mask), {trainer.history(), trainer.step()}};
}

}  // namespace espalier
