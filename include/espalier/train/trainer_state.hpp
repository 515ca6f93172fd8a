// SPDX-License-Identifier: Apache-2.0
// A training run from outside: the state that determines what is left of it, what it returns, and the forms of those
// who watch it, keep its checkpoints and stop it.
#pragma once

#include <string>
#include <vector>

#include <espalier/data/loader.hpp>
#include <espalier/tensor/rng.hpp>
#include <espalier/train/metrics.hpp>
#include <espalier/train/optimizer.hpp>
#include <espalier/train/step.hpp>

namespace espalier {

/// What is counted of an epoch that is not over.
struct EpochSoFar {
  double loss_sum = 0;
  Index correct = 0, count = 0;
  double learning_rate = 0;
  bool operator==(const EpochSoFar&) const = default;
};

/// Everything that determines the rest of a run, but the network itself.
struct TrainerState {
  Step step;
  data::SamplerState sampler;
  RngState dropout;
  EpochSoFar epoch;
  std::vector<EpochMetrics> history;
  OptimizerState optimizer;
  bool operator==(const TrainerState&) const = default;
};

struct TrainResult {
  std::vector<EpochMetrics> history;
  Step step;
  bool stopped = false;  // by request, before the last epoch was over
};

/// What a resume found.
struct Resumed {
  std::string path;  // empty: there was nothing to resume
  Step step;
  std::vector<std::string> warnings;  // checkpoints that were passed over, and why
};

/// Never stops; the form of a stop predicate.
struct Never {
  bool operator()() const { return false; }
};
/// Observes nothing. An observer has any of step(const StepMetrics&), epoch(const EpochMetrics&),
/// resumed(const Resumed&) and gradients(B&, const M&), which sees the network between a backward pass and
/// the update; what it does changes no number. What it gathers is in checkpoints if it has scores() and restore(),
/// as ScoreCollector has; an observer around a collector hands both on.
struct NoObserver {};
/// Keeps nothing; the form of what io/checkpoint.hpp has.
struct NoCheckpoints {
  template <class T, class Observer> void after_step(const T&, const Observer&) const {}
  template <class T, class Observer> void save(const T&, const Observer&) const {}
  template <class T, class Observer> Resumed resume(T&, Observer&) const { return {}; }
  std::string last_good() const { return {}; }
};

}  // namespace espalier
