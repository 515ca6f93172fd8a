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
/// says. The loop sets `decide.sparsity`; `decide.remove` must not be set.
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

/// Trains `net` to the end of `options`, pruning on the way; the network's dead weights are exactly zero from then on.
/// Returns the last mask. Observers, checkpoints and stop are Trainer::run's; a checkpoint carries the mask, and a resumed
/// run ends with the same bytes. An observer that collects scores, such as ScoreCollector<Movement, B>, is asked for them
/// where `decide` reads scores; what it collected is not in a checkpoint.
/// Throws as Trainer and the policy do.
template <Backend B, Module M, data::Dataset D, Optimizer O, Schedule R, class L, class Decide, SparsitySchedule S, class Observer = NoObserver, class Checkpoints = NoCheckpoints, class Stop = Never>
std::pair<Mask, TrainResult> prune_gradually(B& b, M& net, const D& data, const TrainOptions<O, R, L>& options, const GradualPruning<Decide, S>& policy, Observer&& observer = {},
                                             Checkpoints&& checkpoints = {}, Stop&& stop = {}) {
  policy.validate();
  Trainer trainer(b, net, data, options);
  checkpoints.resume(trainer);
  Mask mask = trainer.optimizer().mask().empty() ? Mask::ones(net) : trainer.optimizer().mask();
  TrainResult result;
  for (;;) {
    if (policy.sparsity.due(trainer.step())) {
      Decide decide = policy.decide;
      decide.sparsity = policy.sparsity(trainer.step());
      mask = detail::decided(b, decide, std::as_const(net), mask, observer);
      trainer.set_mask(mask);
    }
    Step next = trainer.step();
    do ++next.iteration;
    while (next.iteration < trainer.iterations_in_all() && !policy.sparsity.due(next));
    result = trainer.run_to(next.iteration, observer, checkpoints, stop);
    if (result.stopped || trainer.step().iteration < next.iteration || trainer.finished()) break;
  }
  return {std::move(mask), std::move(result)};
}

}  // namespace espalier
