// SPDX-License-Identifier: Apache-2.0
// What the example programs share around an algorithm: the data set, progress on standard error, the
// run's folder with its log and checkpoints, stopping on Ctrl-C. No step of an algorithm hides here.
#pragma once

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <espalier/data/cifar.hpp>
#include <espalier/data/mnist.hpp>
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

/// Debian's Fashion-MNIST where --data names nothing. Throws CannotRun without it.
inline esp::data::Folder grey_images(const Options& o) {
  try {
    return esp::data::find_fashion_mnist(o.data);
  } catch (const esp::IoError& missing) {
    if (!o.data.empty()) throw;
    throw esp::CannotRun(missing.what());
  }
}

/// CIFAR-10, MNIST or Fashion-MNIST, told apart by the files in --data; Debian's Fashion-MNIST without it.
inline Images load_images(const Options& o, Parts parts = Parts::train_and_test) {
  namespace data = esp::data;
  Images images;
  // Any form of CIFAR-10: its reader says what to do about those that it does not read.
  constexpr const char* cifar[] = {"data_batch_1.bin", "test_batch.bin", "cifar-10-batches-bin", "data_batch_1", "test_batch", "data_batch_1.med.xz", "test_batch.med.xz", "cifar-10-binary.tar.gz"};
  data::TrainTest sets;
  if (std::any_of(std::begin(cifar), std::end(cifar), [&](const char* name) { return !o.data.empty() && data::detail::exists(o.data + "/" + name); })) {
    if (parts == Parts::test) sets.test = data::cifar10_test(o.data);
    else sets = data::cifar10(o.data);
    images.name = "CIFAR-10";
    images.normalise = data::cifar10_channels();
    images.color = true;
    images.source = o.data;
  } else {
    const auto folder = grey_images(o);
    sets = data::mnist_or_fashion_mnist(folder.path);
    images.normalise = data::measured_channels(sets.train);
    images.name = sets.train.name.substr(0, sets.train.name.rfind(' '));  // without "train"
    images.source = esp::str(folder.path, " (", folder.reason, ")");
  }
  images.train = std::move(sets.train);
  images.test = std::move(sets.test);
  if (const auto tests = o.test_images ? o.test_images : o.quick ? std::optional<long>(2000) : std::nullopt; tests && *tests < images.test.count) images.test = data::subset(images.test, 0, *tests);
  if (o.train_images && *o.train_images < images.train.count) images.train = data::subset(images.train, 0, *o.train_images);
  return images;
}

/// How one network is trained.
struct Recipe {
  esp::Index epochs = 1;
  esp::Index batch = 128;
  double lr = 0.1;
  double weight_decay = 1e-4;
  esp::data::Augment augment{};
  bool constant_lr = false;  // else divided by 10 at half and at three quarters of the epochs

  esp::MultiStep schedule() const {
    esp::MultiStep s{.from = lr, .factor = 0.1};
    const esp::Index half = epochs / 2, quarter = epochs * 3 / 4;
    if (!constant_lr && half > 0) s.at = {esp::epochs(static_cast<double>(half)), esp::epochs(static_cast<double>(std::max(quarter, half + 1)))};
    return s;
  }
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
  Session(const Options& o, std::string program, int stages, esp::Json configuration)
      : options_(o), progress_(esp::standard_error(o.color), {.stages = stages, .quiet = o.quiet, .animate = !o.json}),
        folder_(o.out.empty() ? "runs/" + program : o.out) {
    esp::detail::make_folder(folder_);
    const std::string path = folder_ + "/run.jsonl";
    const auto existing = o.force ? esp::Existing::replace : esp::Existing::refuse;
    const bool exists = esp::data::detail::exists(path), resumes = o.resume && exists;
    if (exists && !o.resume && !o.force)
      throw esp::IoError(esp::str(folder_, ": found an earlier run, needed a folder without one; --resume goes on with it, --force replaces it, --out names another folder"));
    if (resumes) check_configuration(path, configuration);
    else if (o.force)  // what a later --resume would take for its own
      for (const char* left : {"checkpoints", "points", "tickets"}) std::filesystem::remove_all(folder_ + "/" + left);
    log_ = std::make_unique<esp::RunLog>(resumes ? esp::RunLog::resume(path, -1) : esp::RunLog::start(path, configuration, existing));
    const std::vector<std::string> columns{"stage", "epoch", "learning_rate", "train_loss", "train_accuracy", "test_loss", "test_accuracy"};
    metrics_ = std::make_unique<esp::MetricsCsv>(esp::MetricsCsv::start(folder_ + "/metrics.csv", columns, esp::Existing::replace));
  }

  const std::string& folder() const { return folder_; }
  std::string path(const std::string& file) const { return folder_ + "/" + file; }
  esp::Progress& progress() { return progress_; }
  const esp::StopSignal& stop() const { return stop_; }
  const Options& options() const { return options_; }

  /// Trains a network and evaluates it after every epoch. Stops cleanly on Ctrl-C: a checkpoint is kept
  /// and `--resume` continues to the same bytes.
  template <esp::Backend B, esp::Module M>
  Trained train(B& device, M& net, const std::string& stage, const Images& images, const Recipe& recipe) {
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
    else trained.test = evaluate(device, net, images.test, images.normalise);
    progress_.end({{"test acc", trained.test.accuracy, esp::Reading::percent}});
    return trained;
  }

  /// An event in run.jsonl.
  void event(const std::string& name, const esp::Json& fields) { log_->event(step_, name, fields); }

  /// Saves a network and says how large its file is.
  template <esp::Backend B, esp::Module M>
  esp::Index save(B& device, const M& net, const std::string& file, const esp::Metadata& metadata) {
    save_weights(device, net, path(file), metadata);
    return static_cast<esp::Index>(esp::read_file(path(file)).size());
  }

  static std::string file_name(std::string stage) {
    for (char& c : stage)
      if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-') c = '_';
    return stage;
  }

 private:
  /// A run goes on with the settings it was started with; data may have moved, and more seeds may be wanted.
  static void check_configuration(const std::string& path, const esp::Json& now) {
    const esp::Json before = esp::RunLog::configuration(path);
    for (const auto& [name, value] : now.members()) {
      const esp::Json* old = before.find(name);
      if (name == "espalier" || name == "source" || name == "seeds" || (old != nullptr && *old == value)) continue;
      throw esp::UsageError(esp::str("--resume: the run of ", path, " was started with ", old == nullptr ? std::string("no '") + name + "'" : "'" + name + "' " + old->dump(), ", now it is ", value.dump(),
                                     "; give the same options, or start anew with --force"));
    }
    for (const auto& [name, value] : before.members())
      if (name != "seeds" && now.find(name) == nullptr)
        throw esp::UsageError(esp::str("--resume: the run of ", path, " was started with '", name, "' ", value.dump(), ", now nothing is said of it; give the same options, or start anew with --force"));
  }

  struct Watch {
    Session& session;
    esp::Index steps;
    int stage;
    esp::Index before;  // steps of the stages before this one
    void step(const esp::StepMetrics& m) {
      session.step_ = before + m.step.iteration;
      session.progress_.update(static_cast<int>((m.step.iteration - 1) / steps) + 1, (m.step.iteration - 1) % steps + 1,
                               {{"loss", m.loss}, {"acc", m.accuracy, esp::Reading::percent}});
    }
    void epoch(const esp::EpochMetrics& m) {
      session.progress_.epoch_done(static_cast<int>(m.epoch), {{"loss", m.loss}, {"test acc", m.evaluation->accuracy, esp::Reading::percent}});
      record(m);
    }
    void record(const esp::EpochMetrics& m) {
      const std::vector<double> row{static_cast<double>(stage), static_cast<double>(m.epoch), m.learning_rate, m.loss, m.accuracy, m.evaluation->loss, m.evaluation->accuracy};
      session.step_ = before + m.iteration;
      session.metrics_->row(session.step_, row);
      esp::Json fields = esp::Json::object();
      fields["stage"] = stage;
      fields["epoch"] = m.epoch;
      fields["loss"] = m.loss;
      fields["accuracy"] = m.accuracy;
      fields["test_accuracy"] = m.evaluation->accuracy;
      session.event("epoch", fields);
    }
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

}  // namespace examples
