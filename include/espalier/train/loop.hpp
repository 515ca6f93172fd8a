// SPDX-License-Identifier: Apache-2.0
// The training loop. A Trainer holds everything that changes during a run, so that it can be stopped,
// saved and continued at any batch with the same bits; train() is the short way to run one.
#pragma once

#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <espalier/data/loader.hpp>
#include <espalier/io/checksum.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/train/finite.hpp>
#include <espalier/train/metrics.hpp>
#include <espalier/train/options.hpp>
#include <espalier/train/trainer_state.hpp>

namespace espalier {

/// One training run of a network on a data set. Network and data must outlive it.
template <Backend B, Module M, data::Dataset D, Optimizer O, Schedule S, class L>
class Trainer {
 public:
  /// Throws PolicyError if an option is out of range.
  Trainer(B& b, M& net, const D& data, TrainOptions<O, S, L> options)
      : b_(b), net_(net), data_(data), options_(checked(std::move(options))), loader_(data, loader_settings(options_)),
        tape_(b, {.training = true, .dropout = Rng(options_.seed).split("dropout")}), run_(options_.optimizer, b, net, {options_.clip_norm}) {
    step_.epoch_length = loader_.batches_per_epoch();
  }
  Trainer(B&, M&, const D&&, TrainOptions<O, S, L>) = delete;  // it would dangle

  /// After every epoch, the network is evaluated on this set, and the result joins the history.
  void evaluate_on(const D& set) { test_ = &set; }

  B& device() const { return b_; }
  const M& net() const { return net_; }
  const D& data() const { return data_; }
  const TrainOptions<O, S, L>& options() const { return options_; }
  static constexpr auto moments = O::moments;
  Step step() const { return step_; }
  bool finished() const { return step_.epoch() >= options_.epochs; }
  Index iterations_in_all() const { return options_.epochs * step_.epoch_length; }
  const std::vector<EpochMetrics>& history() const { return history_; }
  OptimizerRun<O, B>& optimizer() { return run_; }
  const OptimizerRun<O, B>& optimizer() const { return run_; }

  /// From now on the dead weights are exactly zero after every step, with their moments; a checkpoint carries the mask.
  /// Throws StaleState if the mask does not fit the network.
  void set_mask(const Mask& mask) { run_.set_mask(b_, net_, mask); }

  /// Runs to the end, or until `stop()` is true between two batches; then what `checkpoints` keeps is up to date.
  /// Throws Diverged when the loss is not finite, naming the first tensor that is not, the step and the last good checkpoint.
  template <class Observer = NoObserver, class Checkpoints = NoCheckpoints, class Stop = Never>
  TrainResult run(Observer&& observer = {}, Checkpoints&& checkpoints = {}, Stop&& stop = {}) {
    return run_to(iterations_in_all(), observer, checkpoints, stop);
  }
  /// The same, but only until `iteration` steps are done in all: papers that count in iterations end within an epoch.
  template <class Observer = NoObserver, class Checkpoints = NoCheckpoints, class Stop = Never>
  TrainResult run_to(Index iteration, Observer&& observer = {}, Checkpoints&& checkpoints = {}, Stop&& stop = {}) {
    while (step_.iteration < std::min(iteration, iterations_in_all())) {
      if (stop()) {
        checkpoints.save(*this, std::as_const(observer));
        tape_.clear();
        return {history_, step_, true};
      }
      one_step(observer, checkpoints);
      if (step_.in_epoch() == 0) end_epoch(observer, checkpoints);
      checkpoints.after_step(*this, std::as_const(observer));
    }
    tape_.clear();
    if (finished()) checkpoints.save(*this, std::as_const(observer));
    return {history_, step_, false};
  }

  /// A checksum of the training data: every image, every label.
  const std::string& data_fingerprint() const {
    if (fingerprint_.empty()) {
      Checksum sum;
      const data::ImageShape shape = data_.shape();
      sum.add(str(data_.size(), " images of ", shape.h, " x ", shape.w, " x ", shape.c));
      for (Index i = 0; i < data_.size(); ++i) {
        sum.add(std::as_bytes(data_.image(i)));
        const std::int32_t label = data_.label(i);
        sum.add(std::as_bytes(std::span(&label, 1)));
      }
      fingerprint_ = sum.text();
    }
    return fingerprint_;
  }

  TrainerState state() const { return {step_, loader_.state(), tape_.dropout().state(), so_far_, history_, run_.export_state(b_)}; }

  /// Continues from a state and the network that belonged to it. Throws StaleState if they do not fit this
  /// run; nothing is changed then.
  void restore(const TrainerState& state, M net) {
    check_place(state);
    OptimizerRun<O, B> run(options_.optimizer, b_, net, {options_.clip_norm});
    run.import_state(b_, state.optimizer);
    continue_from(state, std::move(net), std::move(run));
  }

  /// Goes back to the place of a state in schedule, data order and dropout, with the network given, no mask and an
  /// optimiser that starts anew, whatever moments the state holds: what a lottery ticket's rewinding asks for.
  /// Throws StaleState as restore() does.
  void rewind(const TrainerState& state, M net) {
    check_place(state);
    OptimizerRun<O, B> run(options_.optimizer, b_, net, {options_.clip_norm});
    continue_from(state, std::move(net), std::move(run));
  }

 private:
  static TrainOptions<O, S, L> checked(TrainOptions<O, S, L> options) {
    options.validate();
    return options;
  }
  static data::LoaderSettings loader_settings(const TrainOptions<O, S, L>& o) {
    return {.batch = o.batch, .order = data::Order::shuffled, .last = o.drop_last ? data::LastBatch::drop : data::LastBatch::keep,
            .normalise = o.normalise, .augment = o.augment, .seed = o.seed, .prefetch = o.prefetch};
  }

  void check_place(const TrainerState& state) const {
    if (state.step.epoch_length != step_.epoch_length)
      throw StaleState(str("training state: found ", state.step.epoch_length, " batches an epoch, needed ", step_.epoch_length, "; it belongs to other data or another batch size"));
  }
  void continue_from(const TrainerState& state, M net, OptimizerRun<O, B> run) {
    loader_.seek(state.sampler);
    net_ = std::move(net);
    run_ = std::move(run);
    tape_.dropout() = Rng::from_state(state.dropout);
    step_ = state.step;
    so_far_ = state.epoch;
    history_ = state.history;
  }

  template <class Observer, class Checkpoints>
  void one_step(Observer& observer, const Checkpoints& checkpoints) {
    const data::Batch* batch = loader_.next();
    if (batch == nullptr) throw Error("Trainer: the loader ended an epoch early; this is a defect, please report it");
    const Rng dropout = tape_.dropout();
    const double rate = options_.schedule(step_);
    const auto [loss, logits] = forward_pass(*batch);
    tape_.keep(logits);
    tape_.backward(loss);
    const double value = static_cast<double>(loss.value().item(b_));
    if (!std::isfinite(value)) fail(std::isnan(value) ? "the loss is nan" : "the loss is infinite", *batch, dropout, rate, checkpoints.last_good());
    host_logits_.resize(static_cast<std::size_t>(logits.value().count()));
    b_.download(logits.value().data(), std::span<typename B::Scalar>(host_logits_));
    const Index correct = correct_rows(std::span<const typename B::Scalar>(host_logits_), std::span<const std::int32_t>(batch->labels));
    if constexpr (requires { observer.gradients(b_, std::as_const(net_)); }) observer.gradients(b_, std::as_const(net_));
    run_.step(b_, net_, rate);
    ++step_.iteration;
    so_far_.loss_sum += value * static_cast<double>(batch->count);
    so_far_.correct += correct;
    so_far_.count += batch->count;
    so_far_.learning_rate = rate;
    if constexpr (requires(StepMetrics m) { observer.step(m); })
      observer.step(StepMetrics{step_, rate, value, static_cast<double>(correct) / static_cast<double>(batch->count), batch->count});
  }

  // The loss and logits of a batch, on a fresh tape.
  auto forward_pass(const data::Batch& batch) {
    tape_.clear();
    labels_ = Ids<B>::from(b_, {batch.count}, batch.labels);
    const auto x = tape_.input(detail::upload_images(b_, batch));
    const auto logits = M::forward(net_, tape_, x);
    detail::check_labels(batch, logits.shape());
    return std::pair(options_.loss(tape_, logits, x, labels_), logits);
  }

  template <class Observer, class Checkpoints>
  void end_epoch(Observer& observer, const Checkpoints& checkpoints) {
    if (loader_.next() != nullptr) throw Error("Trainer: the loader's epoch is longer than it said; this is a defect, please report it");
    // A ReLU can hide a NaN from the loss, so once an epoch the weights themselves are looked at.
    if (const auto first = first_not_finite(b_, std::as_const(net_))) diverged("the loss is finite, but not the weights", *first, so_far_.learning_rate, checkpoints.last_good());
    const double n = static_cast<double>(so_far_.count);
    EpochMetrics metrics{step_.epoch(), step_.iteration, so_far_.learning_rate, so_far_.loss_sum / n, static_cast<double>(so_far_.correct) / n, so_far_.count, {}};
    so_far_ = {};
    tape_.clear();
    if (test_ != nullptr) metrics.evaluation = evaluate(b_, std::as_const(net_), *test_, options_.normalise, options_.batch);
    history_.push_back(metrics);
    if constexpr (requires { observer.epoch(metrics); }) observer.epoch(history_.back());
  }

  // Values are released by the backward pass, so the step is repeated up to the loss: only here, where it
  // costs nothing that matters.
  [[noreturn]] void fail(const std::string& what, const data::Batch& batch, const Rng& dropout, double rate, const std::string& last_good) {
    auto first = detail::not_finite(b_, detail::upload_images(b_, batch));
    if (first) first = str("the input (", *first, ")");
    if (!first) first = first_not_finite_parameter();
    if (!first) {
      clear_gradients(net_);
      tape_.dropout() = dropout;
      forward_pass(batch);
      first = first_not_finite(b_, tape_, std::as_const(net_));
    }
    diverged(what, first ? *first : std::string("none found on a second run: the numbers differ from run to run"), rate, last_good);
  }
  std::optional<std::string> first_not_finite_parameter() {
    std::optional<std::string> first;
    for_each_parameter(std::as_const(net_), [&](const std::string& path, const Parameter<B>& p) {
      if (first) return;
      if (const auto text = detail::not_finite(b_, p.value)) first = str("parameter '", path, "' (", *text, "), since the step before");
    });
    return first;
  }
  [[noreturn]] void diverged(const std::string& what, const std::string& first, double rate, const std::string& last_good) {
    clear_gradients(net_);
    tape_.clear();
    throw Diverged(str("training at step ", step_.iteration, " (epoch ", step_.epoch() + 1, "): ", what, "; the first tensor that is not finite is ", first, ". ",
                       last_good.empty() ? std::string("No checkpoint was kept") : str("The last good checkpoint is ", last_good),
                       "; needed are finite numbers: lower the learning rate (it was ", rate, ") or check the data"));
  }

  B& b_;
  M& net_;
  const D& data_;
  const D* test_ = nullptr;
  mutable std::string fingerprint_;
  const TrainOptions<O, S, L> options_;
  data::Loader<D> loader_;
  mutable Tape<B> tape_;
  OptimizerRun<O, B> run_;
  Ids<B> labels_{};
  std::vector<typename B::Scalar> host_logits_;
  Step step_;
  EpochSoFar so_far_;
  std::vector<EpochMetrics> history_;
};

namespace detail {

template <class T, class Observer, class Checkpoints>
void resume(T& trainer, Observer& observer, const Checkpoints& checkpoints) {
  const Resumed found = checkpoints.resume(trainer, observer);
  if constexpr (requires { observer.resumed(found); })
    if (!found.path.empty()) observer.resumed(found);
}

}  // namespace detail

/// Trains `net` on `data`, continuing where `checkpoints` left off, if there are any.
/// Throws as Trainer does.
template <Backend B, Module M, data::Dataset D, Optimizer O, Schedule S, class L, class Observer = NoObserver, class Checkpoints = NoCheckpoints, class Stop = Never>
TrainResult train(B& b, M& net, const D& data, const TrainOptions<O, S, L>& options, Observer&& observer = {}, Checkpoints&& checkpoints = {}, Stop&& stop = {}) {
  Trainer<B, M, D, O, S, L> trainer(b, net, data, options);
  detail::resume(trainer, observer, checkpoints);
  return trainer.run(observer, checkpoints, stop);
}

/// The same, evaluating on `test` after every epoch.
template <Backend B, Module M, data::Dataset D, Optimizer O, Schedule S, class L, class Observer = NoObserver, class Checkpoints = NoCheckpoints, class Stop = Never>
TrainResult train(B& b, M& net, const D& data, const D& test, const TrainOptions<O, S, L>& options, Observer&& observer = {}, Checkpoints&& checkpoints = {}, Stop&& stop = {}) {
  Trainer<B, M, D, O, S, L> trainer(b, net, data, options);
  trainer.evaluate_on(test);
  detail::resume(trainer, observer, checkpoints);
  return trainer.run(observer, checkpoints, stop);
}

}  // namespace espalier
