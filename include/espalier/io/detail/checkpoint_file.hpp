// SPDX-License-Identifier: Apache-2.0
// One checkpoint as one safetensors file: tensors under prefixes, scalars as JSON in the metadata, and a
// checksum of each tensor and of the JSON.
#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <vector>

#include <espalier/config.hpp>
#include <espalier/io/checksum.hpp>
#include <espalier/io/detail/mask_tensors.hpp>
#include <espalier/io/detail/members.hpp>
#include <espalier/prune/scores.hpp>
#include <espalier/train/loop.hpp>

namespace espalier::detail {

/// Keys of the metadata.
inline constexpr std::string_view state_key = "espalier.checkpoint", sums_key = "espalier.checksums", sum_of_both_key = "espalier.checksum";
inline constexpr Index checkpoint_format = 1;

inline std::string checksum_of(std::string_view name, std::string_view dtype, std::span<const std::int64_t> shape, std::span<const std::byte> bytes) {
  Checksum sum;
  std::string head = str(name, ' ', dtype);
  for (const std::int64_t d : shape) head += str(' ', d);
  sum.add(head);
  sum.add(bytes);
  return sum.text();
}

inline Json to_json(const EpochMetrics& m) {
  Json j = Json::object();
  j["epoch"] = m.epoch;
  j["iteration"] = m.iteration;
  j["learning_rate"] = m.learning_rate;
  j["loss"] = m.loss;
  j["accuracy"] = m.accuracy;
  j["count"] = m.count;
  if (m.evaluation) {
    Json& e = j["evaluation"] = Json::object();
    e["accuracy"] = m.evaluation->accuracy;
    e["loss"] = m.evaluation->loss;
    e["count"] = m.evaluation->count;
    e["correct"] = m.evaluation->correct;
  }
  return j;
}
inline EpochMetrics epoch_metrics(const Json& j) {
  EpochMetrics m{j.at("epoch").as_int(), j.at("iteration").as_int(), j.at("learning_rate").as_double(), j.at("loss").as_double(),
                 j.at("accuracy").as_double(), j.at("count").as_int(), {}};
  if (const Json* e = j.find("evaluation"))
    m.evaluation = Evaluation{e->at("accuracy").as_double(), e->at("loss").as_double(), e->at("count").as_int(), e->at("correct").as_int()};
  return m;
}

inline Json to_json(const TrainerState& s) {
  Json j = Json::object();
  j["step"]["iteration"] = s.step.iteration;
  j["step"]["epoch_length"] = s.step.epoch_length;
  j["sampler"]["seed"] = s.sampler.seed;
  j["sampler"]["epoch"] = s.sampler.epoch;
  j["sampler"]["next"] = s.sampler.next;
  j["dropout"]["key"] = s.dropout.key;
  j["dropout"]["position"] = s.dropout.position;
  j["epoch_so_far"]["loss_sum"] = s.epoch.loss_sum;
  j["epoch_so_far"]["correct"] = s.epoch.correct;
  j["epoch_so_far"]["count"] = s.epoch.count;
  j["epoch_so_far"]["learning_rate"] = s.epoch.learning_rate;
  j["history"] = Json::array();
  for (const EpochMetrics& m : s.history) j["history"].push_back(to_json(m));
  j["updates"] = Json::object();
  for (const auto& [path, count] : s.optimizer.updates) j["updates"][path] = count;
  return j;
}

inline HostTensor host_tensor(const SafetensorsFile& file, const std::string& name) {
  const TensorEntry& entry = file.get(name);
  const std::vector<Index> shape(entry.shape.begin(), entry.shape.end());
  return {Shape(std::span<const Index>(shape)), file.floats(name)};
}

/// The inverse; tensors come from the file.
template <std::size_t K>
TrainerState trainer_state(const Json& j, const SafetensorsFile& file, const std::array<std::string_view, K>& moments) {
  TrainerState s;
  s.step = {j.at("step").at("iteration").as_int(), j.at("step").at("epoch_length").as_int()};
  s.sampler = {j.at("sampler").at("seed").as_uint(), j.at("sampler").at("epoch").as_uint(), j.at("sampler").at("next").as_int()};
  s.dropout = {j.at("dropout").at("key").as_uint(), j.at("dropout").at("position").as_uint()};
  const Json& epoch = j.at("epoch_so_far");
  s.epoch = {epoch.at("loss_sum").as_double(), epoch.at("correct").as_int(), epoch.at("count").as_int(), epoch.at("learning_rate").as_double()};
  for (const Json& m : j.at("history").items()) s.history.push_back(epoch_metrics(m));
  for (const auto& [path, count] : j.at("updates").members()) {
    s.optimizer.updates.emplace_back(path, count.as_int());
    for (const std::string_view moment : moments) {
      const std::string name = str(moment, '/', path);
      s.optimizer.tensors.emplace_back(name, host_tensor(file, "opt/" + name));
    }
  }
  if (const Json* mask = j.find("mask")) s.optimizer.mask = mask_from(file, *mask, "mask/");
  return s;
}

/// Writes tensors and remembers their checksums.
struct ChecksummingWriter {
  SafetensorsWriter file;
  Json sums = Json::object();
  template <class T>
  void add(const std::string& name, std::span<const Index> shape, std::span<const T> values) {
    file.add(name, shape, values);
    sums[name] = checksum_of(name, dtype_name(std::is_same_v<T, float> ? Dtype::f32 : Dtype::u8), shape, std::as_bytes(values));
  }
};

/// Adds the JSON, the checksums of all tensors, and the checksum of both.
inline void seal(ChecksummingWriter& writer, const Json& j) {
  const std::string state_text = j.dump(), sums_text = writer.sums.dump();
  writer.file.metadata(state_key, state_text);
  writer.file.metadata(sums_key, sums_text);
  writer.file.metadata(sum_of_both_key, checksum(std::as_bytes(std::span<const char>(state_text + sums_text))));
}

/// Adds each part under "scores/" + path, and returns what the reader needs besides.
template <class Writer>
Json add_scores(Writer& writer, const Scores& scores) {
  Json j = Json::object();
  j["rule"] = scores.rule;
  j["steps"] = scores.steps;
  Json& paths = j["paths"] = Json::array();
  for (const auto& [path, tensor] : scores.parts) {
    writer.add("scores/" + path, tensor.shape.extents(), std::span<const float>(tensor.values));
    paths.push_back(path);
  }
  return j;
}
inline Scores scores_from(const SafetensorsFile& file, const Json& j) {
  Scores scores{.rule = j.at("rule").as_string(), .steps = j.at("steps").as_int()};
  for (const Json& path : j.at("paths").items()) scores.parts.emplace_back(path.as_string(), host_tensor(file, "scores/" + path.as_string()));
  return scores;
}

/// An observer whose scores a checkpoint carries.
template <class Observer, class T>
concept GathersScores = requires(const Observer& observer, Observer& mutable_observer, const T& trainer, const Scores& scores) {
  { observer.scores(trainer.device()) } -> std::same_as<Scores>;
  mutable_observer.restore(trainer.device(), trainer.net(), scores);
};

/// Nothing that a decision reads may be missing from a checkpoint unnoticed.
template <class Observer, class T>
constexpr bool checked_observer() {
  constexpr bool has_scores = requires(const Observer& observer, const T& trainer) { observer.scores(trainer.device()); };
  static_assert(!has_scores || GathersScores<Observer, T>, "an observer with scores(B&) needs restore(B&, const M&, const Scores&) too, so that a checkpoint can carry what it gathered; hand both on to the ScoreCollector inside");
  return true;
}

/// Everything of a trainer, and what its observer gathered, ready to be written.
template <class T, class Observer>
SafetensorsWriter checkpoint_of(const T& trainer, const Observer& observer) {
  static_assert(checked_observer<Observer, T>());
  ChecksummingWriter writer;
  const TrainerState state = trainer.state();
  const Json extents = add_members(writer, trainer.device(), trainer.net(), "param/", "buffer/");
  for (const auto& [name, tensor] : state.optimizer.tensors) writer.add("opt/" + name, tensor.shape.extents(), std::span<const float>(tensor.values));

  Json j = Json::object();
  if (!state.optimizer.mask.empty()) j["mask"] = add_mask(writer, state.optimizer.mask, "mask/");
  j["format"] = checkpoint_format;
  j["version"] = ESPALIER_VERSION;
  j["configuration"] = configuration(trainer.options());
  j["epochs"] = trainer.options().epochs;
  j["data"] = trainer.data_fingerprint();
  j["extents"] = extents;
  if constexpr (GathersScores<Observer, T>) j["scores"] = add_scores(writer, observer.scores(trainer.device()));
  const Json scalars = to_json(state);
  for (const auto& [key, value] : scalars.members()) j[key] = value;

  seal(writer, j);
  return std::move(writer.file);
}

/// The JSON of a file that seal() closed. Throws DataError if it is none, and says what was `needed`; or if it is damaged.
inline Json verified(const SafetensorsFile& file, std::string_view needed) {
  const auto text = [&](std::string_view key) -> const std::string& {
    if (const std::string* found = file.find_metadata(key)) return *found;
    throw DataError(str(file.where(), ": found no metadata '", key, "', needed ", needed, "; use another file"));
  };
  const auto damaged = [&](std::string_view what) {
    throw DataError(str(file.where(), ": the checksum of ", what, " does not match; the file is damaged: use an older one"));
  };
  const std::string both = text(state_key) + text(sums_key);
  if (checksum(std::as_bytes(std::span<const char>(both))) != text(sum_of_both_key)) damaged("its metadata");
  const Json sums = Json::parse(text(sums_key), file.where());
  if (sums.members().size() != file.entries().size()) damaged("its list of tensors");
  for (const TensorEntry& entry : file.entries()) {
    const Json* wanted = sums.find(entry.name);
    if (wanted == nullptr || wanted->as_string() != checksum_of(entry.name, dtype_name(entry.dtype), entry.shape, entry.bytes)) damaged(str("tensor '", entry.name, "'"));
  }
  Json state = Json::parse(text(state_key), file.where());
  if (state.at("format").as_int() != checkpoint_format)
    throw DataError(str(file.where(), ": found checkpoint format ", state.at("format").as_int(), ", needed ", checkpoint_format, "; continue with the version that wrote it"));
  return state;
}

}  // namespace espalier::detail
