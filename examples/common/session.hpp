// SPDX-License-Identifier: Apache-2.0
// What the example programs share around an algorithm: the data set, progress on standard error, the
// run's folder with its log and checkpoints, stopping on Ctrl-C. No step of an algorithm hides here.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <espalier/espalier.hpp>
#include <espalier/io/checkpoint.hpp>
#include <espalier/io/json.hpp>
#include <espalier/io/weights.hpp>
#include <espalier/report/exit_codes.hpp>
#include <espalier/report/progress.hpp>
#include <espalier/report/run_log.hpp>
#include <espalier/train/loop.hpp>

#include "options.hpp"

namespace examples {

namespace esp = espalier;

/// Images with the usual normalisation of their set.
struct Images {
  esp::data::ImageSet train, test;
  esp::data::Normalise normalise;
  std::string name;    // "Fashion-MNIST"
  std::string source;  // folder, and why that one
  bool color = false;  // 32x32 RGB rather than 28x28 grey

  esp::Shape one() const { return {1, test.h, test.w, test.c}; }
};

enum class Parts { train_and_test, test };

/// Whether there is such a file or folder. What may not be looked at is not there.
bool exists(const std::string& path);

/// CIFAR-10, MNIST or Fashion-MNIST, told apart by the files in --data; Debian's Fashion-MNIST without it.
/// Throws CannotRun where that is not installed.
Images load_images(const Options& o, Parts parts = Parts::train_and_test);

/// How one network is trained.
struct Recipe {
  esp::Index epochs = 1;
  esp::Index batch = 128;
  double lr = 0.1;
  double weight_decay = 1e-4;
  esp::data::Augment augment{};
  bool constant_lr = false;  // else divided by 10 at half and at three quarters of the epochs

  esp::MultiStep schedule() const;
};

/// What a stage's training left.
struct Trained {
  std::string stage;
  std::vector<esp::EpochMetrics> history;
  double seconds = 0;
  esp::Evaluation test;  // after the last epoch
};

/// A run: its folder, its log, its progress.
class Session {
 public:
  Session(const Options& o, std::string program, int stages, esp::Json configuration);

  const std::string& folder() const { return folder_; }
  std::string path(const std::string& file) const { return folder_ + "/" + file; }
  esp::Progress& progress() { return progress_; }
  const esp::StopSignal& stop() const { return stop_; }
  const Options& options() const { return options_; }

  /// Trains a network and evaluates it after every epoch. Stops cleanly on Ctrl-C: a checkpoint is kept
  /// and `--resume` continues to the same bytes.
  template <esp::Backend B, esp::Module M>
  Trained train(B& device, M& net, const std::string& stage, const Images& images, const Recipe& recipe);

  /// An event in run.jsonl.
  void event(const std::string& name, const esp::Json& fields);

  /// Saves a network and says how large its file is.
  template <esp::Backend B, esp::Module M>
  esp::Index save(B& device, const M& net, const std::string& file, const esp::Metadata& metadata);

  static std::string file_name(std::string stage);

 private:
  /// A run goes on with the settings it was started with; data may have moved, and more seeds may be wanted.
  static void check_configuration(const std::string& path, const esp::Json& now);

  struct Watch {
    Session& session;
    esp::Index steps;
    int stage;
    esp::Index before;  // steps of the stages before this one
    void step(const esp::StepMetrics& m);
    void epoch(const esp::EpochMetrics& m);
    void record(const esp::EpochMetrics& m);
  };

  Options options_;
  esp::Progress progress_;
  esp::StopSignal stop_;
  std::string folder_;
  std::unique_ptr<esp::RunLog> log_;
  std::unique_ptr<esp::MetricsCsv> metrics_;
  int stages_ = 0;
  esp::Index step_ = 0;
};

template <esp::Backend B, esp::Module M>
Trained Session::train(B& device, M& net, const std::string& stage, const Images& images, const Recipe& recipe) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  const esp::Index steps = (images.train.count + recipe.batch - 1) / recipe.batch;
  const esp::TrainOptions<esp::Sgd, esp::MultiStep> options{.epochs = recipe.epochs, .batch = recipe.batch,
      .optimizer = {.momentum = 0.9, .weight_decay = recipe.weight_decay}, .schedule = recipe.schedule(),
      .normalise = images.normalise, .augment = recipe.augment, .seed = options_.seed};
  const esp::Checkpointer checkpoints{.folder = path("checkpoints/" + file_name(stage)), .every = esp::epochs(1), .keep = 1};
  progress_.begin(stage, {.epochs = static_cast<int>(recipe.epochs), .steps = static_cast<int>(steps)});
  Watch watch{*this, steps, stages_++, step_};
  esp::Trainer trainer(device, net, images.train, options);
  trainer.evaluate_on(images.test);
  if (options_.resume) {
    const auto resumed = checkpoints.resume(trainer);
    for (const auto& warning : resumed.warnings) progress_.warn(warning);
  }
  for (const auto& epoch : trainer.history()) watch.record(epoch);
  const auto result = trainer.run(watch, checkpoints, stop_);
  step_ = watch.before + result.step.iteration;
  if (result.stopped)
    throw esp::Stopped(stop_.number(), esp::str("stopped after step ", result.step.iteration, " of '", stage, "'; continue with --resume --out ", folder_));
  Trained trained{stage, result.history, std::chrono::duration<double>(Clock::now() - start).count(), {}};
  if (!result.history.empty()) trained.test = *result.history.back().evaluation;
  else trained.test = esp::evaluate(device, net, images.test, images.normalise);
  progress_.end({{"test acc", trained.test.accuracy, esp::Reading::percent}});
  return trained;
}

template <esp::Backend B, esp::Module M>
esp::Index Session::save(B& device, const M& net, const std::string& file, const esp::Metadata& metadata) {
  esp::save_weights(device, net, path(file), metadata);
  return static_cast<esp::Index>(esp::read_file(path(file)).size());
}

}  // namespace examples
