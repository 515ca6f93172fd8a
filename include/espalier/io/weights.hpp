// SPDX-License-Identifier: Apache-2.0
// A network's weights as a safetensors file with PyTorch's names and shapes. The file's widths count:
// a pruned network loads into a freshly made one of the full widths, which then has the pruned ones.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <espalier/config.hpp>
#include <espalier/io/detail/members.hpp>
#include <espalier/nn/run.hpp>

namespace espalier {

/// Pairs of text that travel with a file.
using Metadata = std::vector<std::pair<std::string, std::string>>;

/// What load_weights found beside the tensors of the network.
struct LoadedWeights {
  Metadata metadata;
  std::vector<std::string> ignored;  // tensors that carry nothing: num_batches_tracked, position_ids
};

/// Writes parameters and buffers as F32, wholly or not at all. Structural counts (Extents) go into the
/// metadata as JSON under "espalier.extents".
/// Throws IoError; DataError for metadata that would replace a key of ours.
template <Backend B, Module M>
void save_weights(B& b, const M& net, const std::string& path, const Metadata& metadata = {}) {
  SafetensorsWriter writer;
  const Json extents = detail::add_members(writer, b, net, "", "");
  for (const auto& [key, value] : metadata) {
    if (key == "format" || key.starts_with("espalier."))
      throw DataError(str(path, ": found the metadata key '", key, "', which is ours; needed another; rename it"));
    writer.metadata(key, value);
  }
  writer.metadata("espalier.version", ESPALIER_VERSION);
  if (!extents.members().empty()) writer.metadata("espalier.extents", extents.dump());
  writer.save(path);
}

/// Reads the values and widths of a file into a network of the same architecture. Names may begin with
/// "module."; num_batches_tracked and position_ids are ignored. If the file has no extents, as one from
/// PyTorch, those of the network stay. On any failure the network is as it was.
/// With the shape of an input, a dry run checks that the layers still fit each other.
/// Throws IoError; DataError with three lists: tensors missing, unexpected, and of the wrong form.
template <Backend B, Module M>
LoadedWeights load_weights(B& b, M& net, const std::string& path, const std::optional<Shape>& input = {}) {
  const SafetensorsFile file = SafetensorsFile::read(path);
  LoadedWeights found;
  detail::NamedEntries entries;
  for (const TensorEntry& entry : file.entries()) {
    constexpr std::string_view wrapper = "module.";
    std::string_view name = entry.name;
    if (name.starts_with(wrapper)) name.remove_prefix(wrapper.size());
    const auto dot = name.rfind('.');
    const std::string_view last = dot == std::string_view::npos ? name : name.substr(dot + 1);
    if (last == "num_batches_tracked" || last == "position_ids") found.ignored.push_back(entry.name);
    else entries.emplace_back(std::string(name), &entry);
  }
  std::sort(entries.begin(), entries.end());
  for (std::size_t i = 1; i < entries.size(); ++i)
    if (entries[i].first == entries[i - 1].first)
      throw DataError(str(path, ": found '", entries[i].first, "' with and without 'module.', needed it once; remove one"));

  std::optional<Json> extents;
  if (const std::string* text = file.find_metadata("espalier.extents")) {
    extents = Json::parse(*text, str(path, ": espalier.extents"));
    if (!extents->is_object()) throw DataError(str(path, ": espalier.extents: found no JSON object, needed paths and counts; save the file again"));
  }
  M loaded = detail::with_members(b, net, file, entries, extents ? &*extents : nullptr, "", "");
  if (input) {
    try {
      dry_run<B>(loaded, *input);
    } catch (const ShapeError& e) {
      throw DataError(str(path, ": its layers do not fit each other for an input of shape ", *input, ": ", e.what()));
    }
  }
  net = std::move(loaded);
  for (const auto& pair : file.metadata())
    if (pair.first != "espalier.extents") found.metadata.push_back(pair);
  return found;
}

}  // namespace espalier
