// SPDX-License-Identifier: Apache-2.0
// Pruning while training: every so many steps the mask is decided again, at the sparsity that a schedule
// says. There are no rounds and nothing is set back.
#pragma once

#include <ostream>
#include <string>
#include <utility>

#include <espalier/nn/mask.hpp>
#include <espalier/train/loop.hpp>

namespace espalier {

/// At steps begin, begin + every, ... up to end, the weights that `decide` finds go, until the share of dead weights is
/// `sparsity` at that step. `decide.sparsity` is set by the loop, `decide.remove` must not be.
///
///   GradualPruning<GlobalMagnitude, CubicSparsity>{.sparsity = {.to = 0.9, .begin = epochs(1), .end = epochs(8)}, .begin = epochs(1), .end = epochs(8), .every = iterations(100)}
///
/// Paper   Zhu & Gupta, "To prune, or not to prune", 2017, section 3.
template <class Decide, Schedule S>
struct GradualPruning {
  Decide decide{};
  S sparsity{};
  Duration begin = iterations(0);
  Duration end = epochs(1);  // the last step at which weights may go
  Duration every = iterations(100);
  bool operator==(const GradualPruning&) const = default;

  void validate() const {
    detail::require_field(begin.amount >= 0 && std::isfinite(begin.amount), "GradualPruning", "begin", begin.amount, "at least 0");
    detail::require_field(end.amount >= 0 && std::isfinite(end.amount), "GradualPruning", "end", end.amount, "at least 0");
    detail::require_field(every.amount > 0 && std::isfinite(every.amount), "GradualPruning", "every", every.amount, "more than 0");
    if (decide.remove) throw PolicyError("GradualPruning: found decide.remove set, needed neither amount: the schedule sets .sparsity; leave it out");
    detail::check_policy(sparsity);
  }
};

template <class Decide, Schedule S>
std::ostream& operator<<(std::ostream& to, const GradualPruning<Decide, S>& p) {
  return to << "GradualPruning{.decide = " << p.decide << str(", .sparsity = ", p.sparsity, ", .begin = ", p.begin, ", .end = ", p.end, ", .every = ", p.every, "}");
}

/// Trains `net` to the end of `options`, pruning on the way; the network's dead weights are exactly zero from then on.
/// Returns the last mask. Observers, checkpoints and stop are Trainer::run's; a checkpoint carries the mask, and a resumed
/// run ends with the same bytes.
/// Throws as Trainer and the policy do.
template <Backend B, Module M, data::Dataset D, Optimizer O, Schedule R, class L, class Decide, Schedule S, class Observer = NoObserver, class Checkpoints = NoCheckpoints, class Stop = Never>
std::pair<Mask, TrainResult> prune_gradually(B& b, M& net, const D& data, const TrainOptions<O, R, L>& options, const GradualPruning<Decide, S>& policy, Observer&& observer = {},
                                             Checkpoints&& checkpoints = {}, Stop&& stop = {}) {
  policy.validate();
  Trainer trainer(b, net, data, options);
  checkpoints.resume(trainer);
  Mask mask = trainer.optimizer().mask().empty() ? Mask::ones(net) : trainer.optimizer().mask();
  const Index length = trainer.step().epoch_length;
  const Index begin = policy.begin.whole_iterations(length), end = policy.end.whole_iterations(length), every = std::max<Index>(policy.every.whole_iterations(length), 1);
  TrainResult result;
  for (;;) {
    const Index now = trainer.step().iteration;
    if (now >= begin && now <= end && (now - begin) % every == 0) {
      Decide decide = policy.decide;
      decide.sparsity = policy.sparsity(trainer.step());
      Mask next = decide.next(b, std::as_const(net), mask);
      if (!next.within(mask)) throw StaleState("GradualPruning: the decision revives weights or names others, needed a mask within the one before; correct the policy");
      mask = std::move(next);
      trainer.set_mask(mask);
    }
    if (trainer.finished() && now >= trainer.iterations_in_all()) break;
    const Index due = now < begin ? begin : begin + ((now - begin) / every + 1) * every;
    result = trainer.run_to(due <= end ? std::min(due, trainer.iterations_in_all()) : trainer.iterations_in_all(), observer, checkpoints, stop);
    if (result.stopped) break;
  }
  return {std::move(mask), std::move(result)};
}

}  // namespace espalier
