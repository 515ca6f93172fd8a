// SPDX-License-Identifier: Apache-2.0
// Checkpoints. On one machine, one build and one backend, a run killed at any moment and resumed ends
// with the same bytes as a run never killed; on EigenCpu with any number of threads.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include <espalier/io/detail/checkpoint_file.hpp>
#include <espalier/io/detail/checkpoint_folder.hpp>
#include <espalier/train/loop.hpp>

namespace espalier {

/// Where, how often and how many checkpoints are kept; hand it to train() or to Trainer::run().
///
/// A checkpoint is one safetensors file that any tool can open: param/, buffer/, opt/ and mask/ tensors,
/// and step, sampler, random streams, history, options and a fingerprint of the data as JSON in the
/// metadata; scores/ tensors too if the observer gathers scores. It is written beside its place, flushed and renamed, so that a crash leaves the old files;
/// `latest` then names it, and only then do older ones go. Checksums find damage, not malice.
struct Checkpointer {
  std::string folder;
  Duration every = epochs(1);
  Index keep = 2;
  bool operator==(const Checkpointer&) const = default;

  /// Throws PolicyError naming field, value and range.
  void validate() const {
    if (folder.empty()) throw PolicyError("Checkpointer: found folder = \"\", needed the name of a folder; correct the policy");
    detail::require_field(every.amount > 0, "Checkpointer", "every", every.amount, "more than 0");
    detail::require_field(keep >= 1, "Checkpointer", "keep", static_cast<double>(keep), "at least 1");
  }

  /// Writes a checkpoint if one is due.
  template <class T, class Observer = NoObserver>
  void after_step(const T& trainer, const Observer& observer = {}) const {
    if (trainer.step().iteration % std::max<Index>(every.whole_iterations(trainer.step().epoch_length), 1) == 0) save(trainer, observer);
  }

  /// Writes a checkpoint now. Throws IoError, naming path and cause, or Diverged if a weight is not finite;
  /// the checkpoints that were there are intact then.
  template <class T, class Observer = NoObserver>
  void save(const T& trainer, const Observer& observer = {}) const {
    validate();
    if (const auto first = first_not_finite(trainer.device(), trainer.net()))
      throw Diverged(str("checkpoint at step ", trainer.step().iteration, ": found ", *first, ", needed finite numbers; none was written. ",
                         last_good().empty() ? std::string("There is no older one") : str("The last good checkpoint is ", last_good())));
    detail::make_folder(folder);
    const std::string name = detail::checkpoint_name(trainer.step().iteration);
    detail::checkpoint_of(trainer, observer).save(str(folder, '/', name));
    write_file_atomically(str(folder, "/latest"), str(name, '\n'));
    Index older = 0;
    for (const auto& file : detail::checkpoints_in(folder))
      if (file.step < trainer.step().iteration && ++older >= keep) ::unlink(file.path.c_str());
  }

  /// Continues a run from the newest checkpoint that is whole, and its observer's scores if it gathers some. Damaged
  /// ones are renamed to *.damaged and told in the warnings. Without any checkpoint, nothing happens.
  /// Throws DataError if all are damaged; StaleState if the options or the data are others, or if the observer gathers
  /// scores that the checkpoint does not have; DataError if the network is another. Run and observer are untouched then.
  template <class T>
  Resumed resume(T& trainer) const {
    NoObserver none;
    return resume(trainer, none);
  }
  template <class T, class Observer>
  Resumed resume(T& trainer, Observer& observer) const {
    validate();
    detail::remove_leftovers(folder);
    Resumed result;
    for (const auto& candidate : detail::checkpoints_in(folder)) {
      SafetensorsFile file;
      Json state;
      try {
        file = SafetensorsFile::read(candidate.path);
        state = detail::verified(file, "a checkpoint of espalier");
      } catch (const IoError& e) {
        result.warnings.push_back(e.what());
        if (dynamic_cast<const DataError*>(&e) != nullptr) std::rename(candidate.path.c_str(), (candidate.path + ".damaged").c_str());
        continue;
      }
      restore(trainer, observer, file, state);
      result.path = candidate.path;
      result.step = trainer.step();
      return result;
    }
    if (!result.warnings.empty()) {
      std::string reasons;
      for (const std::string& w : result.warnings) reasons += str("\n  ", w);
      throw DataError(str(folder, ": found no checkpoint that is whole among ", result.warnings.size(), ", needed one; start again in another folder", reasons));
    }
    return result;
  }

  /// The newest checkpoint of the folder; empty if there is none.
  std::string last_good() const {
    const auto all = detail::checkpoints_in(folder);
    return all.empty() ? std::string() : all.front().path;
  }

 private:
  template <class T, class Observer>
  static void restore(T& trainer, Observer& observer, const SafetensorsFile& file, const Json& state) {
    static_assert(detail::checked_observer<Observer, T>());
    const std::string found = state.at("configuration").as_string(), needed = detail::configuration(trainer.options());
    if (found != needed)
      throw StaleState(str(file.where(), ": found a run with {", found, "}, needed {", needed, "}; resume with the same options, or use another folder"));
    if (state.at("data").as_string() != trainer.data_fingerprint())
      throw StaleState(str(file.where(), ": found a run on data with fingerprint ", state.at("data").as_string(), ", needed ", trainer.data_fingerprint(),
                           "; resume with the same images, or use another folder"));
    detail::NamedEntries entries;
    for (const TensorEntry& entry : file.entries())
      if (entry.name.starts_with("param/") || entry.name.starts_with("buffer/")) entries.emplace_back(entry.name, &entry);
    std::sort(entries.begin(), entries.end());
    auto net = detail::with_members(trainer.device(), trainer.net(), file, entries, &state.at("extents"), "param/", "buffer/");
    const TrainerState place = detail::trainer_state(state, file, trainer.moments);
    if constexpr (detail::GathersScores<Observer, T>) {
      const Scores before = observer.scores(trainer.device());
      const Json* scores = state.find("scores");
      if (scores == nullptr && place.step.iteration > 0)
        throw StaleState(str(file.where(), ": found no scores after ", place.step.iteration, " steps, needed those of ", before.rule,
                             "; resume with the observer that the run began with, or use another folder"));
      observer.restore(trainer.device(), net, scores ? detail::scores_from(file, *scores) : Scores{.rule = before.rule});
      try {
        trainer.restore(place, std::move(net));
      } catch (...) {
        observer.restore(trainer.device(), trainer.net(), before);
        throw;
      }
    } else {
      trainer.restore(place, std::move(net));
    }
  }
};

}  // namespace espalier
