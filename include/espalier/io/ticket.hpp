// SPDX-License-Identifier: Apache-2.0
// Lottery tickets as files: masks, the weights they rewind to, the place of the run, the policy's text and
// the survivors of each round in one safetensors file with checksums. Loaded into a network of the same architecture, whatever its widths.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <espalier/io/detail/checkpoint_file.hpp>
#include <espalier/io/weights.hpp>
#include <espalier/prune/ticket.hpp>

namespace espalier {

/// What a ticket's file holds besides the ticket, as text that travels with it: how to train it, for instance.
template <Module M>
struct LoadedTicket {
  Ticket<M> ticket;
  Metadata metadata{};
};

/// Writes the file wholly or not at all: "param/" and "buffer/" tensors in F32 (theta_k, of dead weights too), "mask/"
/// tensors of one bit a weight, the rest as JSON.
/// Throws IoError; DataError for metadata that would replace a key of ours.
template <Backend B, Module M>
void save_ticket(B& b, const Ticket<M>& ticket, const std::string& path, const Metadata& metadata = {}) {
  detail::ChecksummingWriter writer;
  const Json extents = detail::add_members(writer, b, ticket.weights, "param/", "buffer/");
  Json j = Json::object();
  j["format"] = detail::checkpoint_format;
  j["version"] = ESPALIER_VERSION;
  j["extents"] = extents;
  j["mask"] = detail::add_mask(writer, ticket.mask, "mask/");
  j["at"] = detail::to_json(ticket.at);
  j["until"] = ticket.until;
  j["round"] = ticket.round;
  j["policy"] = ticket.policy;
  Json& survivors = j["survivors"] = Json::array();
  for (const Index n : ticket.survivors) survivors.push_back(n);
  Json& notes = j["notes"] = Json::object();
  for (const auto& [key, value] : metadata) {
    if (notes.find(key) != nullptr) throw DataError(str(path, ": found the metadata key '", key, "' twice, needed it once; rename one"));
    notes[key] = value;
  }
  detail::seal(writer, j);
  writer.file.save(path);
}

/// Reads a ticket into a copy of `net`, whose architecture must be the ticket's; widths come from the file.
/// Throws IoError; DataError if the file is damaged, is no ticket, or does not fit the architecture.
template <Backend B, Module M>
LoadedTicket<M> load_ticket(B& b, const M& net, const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::read(path);
  const Json j = detail::verified(file, "a ticket of espalier");
  if (j.find("until") == nullptr || j.find("at") == nullptr) throw DataError(str(path, ": found a checkpoint of a training run, needed a ticket; use a file of save_ticket"));
  detail::NamedEntries entries;
  for (const TensorEntry& entry : file.entries())
    if (entry.name.starts_with("param/") || entry.name.starts_with("buffer/")) entries.emplace_back(entry.name, &entry);
  std::sort(entries.begin(), entries.end());
  LoadedTicket<M> loaded{.ticket = {.weights = detail::with_members(b, net, file, entries, &j.at("extents"), "param/", "buffer/")}};
  Ticket<M>& ticket = loaded.ticket;
  ticket.mask = detail::mask_from(file, j.at("mask"), "mask/");
  ticket.at = detail::trainer_state(j.at("at"), file, std::array<std::string_view, 0>{});
  ticket.at.optimizer = {};
  ticket.until = j.at("until").as_int();
  ticket.round = j.at("round").as_int();
  ticket.policy = j.at("policy").as_string();
  for (const Json& n : j.at("survivors").items()) ticket.survivors.push_back(n.as_int());
  for (const auto& [key, value] : j.at("notes").members()) loaded.metadata.emplace_back(key, value.as_string());
  try {
    check_fits(ticket.mask, ticket.weights);
  } catch (const StaleState& e) {
    throw DataError(str(path, ": ", e.what()));
  }
  return loaded;
}

}  // namespace espalier
