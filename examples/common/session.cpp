// SPDX-License-Identifier: Apache-2.0
#include "session.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <iterator>
#include <system_error>

#include <espalier/data/cifar.hpp>
#include <espalier/data/mnist.hpp>

namespace examples {

namespace {

/// Debian's Fashion-MNIST where --data names nothing. Throws CannotRun without it.
esp::data::Folder grey_images(const Options& o) {
  try {
    return esp::data::find_fashion_mnist(o.data);
  } catch (const esp::IoError& missing) {
    if (!o.data.empty()) throw;
    throw esp::CannotRun(missing.what());
  }
}

}  // namespace

bool exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

Images load_images(const Options& o, Parts parts) {
  namespace data = esp::data;
  Images images;
  // Any form of CIFAR-10: its reader says what to do about those that it does not read.
  constexpr const char* cifar[] = {"data_batch_1.bin", "test_batch.bin", "cifar-10-batches-bin", "data_batch_1", "test_batch", "data_batch_1.med.xz", "test_batch.med.xz", "cifar-10-binary.tar.gz"};
  data::TrainTest sets;
  if (std::any_of(std::begin(cifar), std::end(cifar), [&](const char* name) { return !o.data.empty() && exists(o.data + "/" + name); })) {
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

esp::MultiStep Recipe::schedule() const {
  esp::MultiStep s{.from = lr, .factor = 0.1};
  const esp::Index half = epochs / 2, quarter = epochs * 3 / 4;
  if (!constant_lr && half > 0) s.at = {esp::epochs(static_cast<double>(half)), esp::epochs(static_cast<double>(std::max(quarter, half + 1)))};
  return s;
}

Session::Session(const Options& o, std::string program, int stages, esp::Json configuration)
    : options_(o), progress_(esp::standard_error(o.color), {.stages = stages, .quiet = o.quiet, .animate = !o.json}),
      folder_(o.out.empty() ? "runs/" + program : o.out) {
  esp::detail::make_folder(folder_);
  const std::string path = folder_ + "/run.jsonl";
  const auto existing = o.force ? esp::Existing::replace : esp::Existing::refuse;
  const bool there = exists(path), resumes = o.resume && there;
  if (there && !o.resume && !o.force)
    throw esp::IoError(esp::str(folder_, ": found an earlier run, needed a folder without one; --resume goes on with it, --force replaces it, --out names another folder"));
  if (resumes) check_configuration(path, configuration);
  else if (o.force)  // what a later --resume would take for its own
    for (const char* left : {"checkpoints", "points", "tickets"}) std::filesystem::remove_all(folder_ + "/" + left);
  log_ = std::make_unique<esp::RunLog>(resumes ? esp::RunLog::resume(path, -1) : esp::RunLog::start(path, configuration, existing));
  const std::vector<std::string> columns{"stage", "epoch", "learning_rate", "train_loss", "train_accuracy", "test_loss", "test_accuracy"};
  metrics_ = std::make_unique<esp::MetricsCsv>(esp::MetricsCsv::start(folder_ + "/metrics.csv", columns, esp::Existing::replace));
}

void Session::event(const std::string& name, const esp::Json& fields) { log_->event(step_, name, fields); }

std::string Session::file_name(std::string stage) {
  for (char& c : stage)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-') c = '_';
  return stage;
}

void Session::check_configuration(const std::string& path, const esp::Json& now) {
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

void Session::Watch::step(const esp::StepMetrics& m) {
  session.step_ = before + m.step.iteration;
  session.progress_.update(static_cast<int>((m.step.iteration - 1) / steps) + 1, (m.step.iteration - 1) % steps + 1,
                           {{"loss", m.loss}, {"acc", m.accuracy, esp::Reading::percent}});
}

void Session::Watch::epoch(const esp::EpochMetrics& m) {
  session.progress_.epoch_done(static_cast<int>(m.epoch), {{"loss", m.loss}, {"test acc", m.evaluation->accuracy, esp::Reading::percent}});
  record(m);
}

void Session::Watch::record(const esp::EpochMetrics& m) {
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

}  // namespace examples
