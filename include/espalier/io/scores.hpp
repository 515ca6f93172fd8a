// SPDX-License-Identifier: Apache-2.0
// Gathered scores as files, apart from the weights: one safetensors file with checksums, tensors "scores/<path>".
// A checkpoint holds the same beside its run; this is for what goes on without one, such as a ticket.
#pragma once

#include <string>

#include <espalier/io/detail/checkpoint_file.hpp>
#include <espalier/prune/scores.hpp>

namespace espalier {

/// Writes the file wholly or not at all: one tensor of F32 a parameter, in the outside layout; rule and steps as JSON.
/// Throws IoError.
inline void save_scores(const Scores& scores, const std::string& path) {
  detail::ChecksummingWriter writer;
  Json j = Json::object();
  j["format"] = detail::checkpoint_format;
  j["version"] = ESPALIER_VERSION;
  j["scores"] = detail::add_scores(writer, scores);
  detail::seal(writer, j);
  writer.file.save(path);
}

/// Reads what save_scores wrote, or the scores that a checkpoint carries; give them to a collector's restore(), or to a
/// policy. Throws IoError; DataError if the file is damaged or holds none.
inline Scores load_scores(const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::read(path);
  const Json j = detail::verified(file, "a file of save_scores, or a checkpoint");
  if (j.find("scores") == nullptr) throw DataError(str(path, ": found no scores, needed some; use a file of save_scores, or a checkpoint of a run whose observer gathers scores"));
  return detail::scores_from(file, j.at("scores"));
}

}  // namespace espalier
