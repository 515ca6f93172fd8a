// SPDX-License-Identifier: Apache-2.0
// Masks as small files of their own, apart from the weights: 1 bit a weight, one safetensors file.
#pragma once

#include <string>

#include <espalier/config.hpp>
#include <espalier/io/detail/mask_tensors.hpp>
#include <espalier/io/safetensors_write.hpp>
#include <espalier/io/weights.hpp>

namespace espalier {

/// Writes the file wholly or not at all: tensors "<path>.mask" of U8, eight weights a byte, lowest bit first.
/// Throws IoError; DataError for metadata that would replace a key of ours.
inline void save_mask(const Mask& mask, const std::string& path, const Metadata& metadata = {}) {
  SafetensorsWriter writer;
  for (const auto& [key, value] : metadata) {
    if (key == "format" || key.starts_with("espalier."))
      throw DataError(str(path, ": found the metadata key '", key, "', which is ours; needed another; rename it"));
    writer.metadata(key, value);
  }
  writer.metadata("espalier.version", ESPALIER_VERSION);
  struct Named {
    SafetensorsWriter& to;
    void add(const std::string& name, std::span<const Index> shape, std::span<const std::uint8_t> bytes) { to.add(name + ".mask", shape, bytes); }
  } named{writer};
  writer.metadata("espalier.mask", detail::add_mask(named, mask, "").dump());
  writer.save(path);
}

/// Reads what save_mask wrote, or the masks of a network pruned by torch.nn.utils.prune: tensors
/// "<layer>.weight_mask" of zeros and ones become the masks of "<layer>.weight", and other tensors are ignored.
/// Throws IoError; DataError if the file holds neither, or a mask that is not of zeros and ones.
inline Mask load_mask(const std::string& path) {
  const SafetensorsFile file = SafetensorsFile::read(path);
  if (const std::string* text = file.find_metadata("espalier.mask")) {
    Json parts = Json::parse(*text, str(path, ": espalier.mask"));
    return detail::mask_from(file, parts, "", ".mask");
  }
  std::vector<MaskPart> parts;
  for (const TensorEntry& entry : file.entries()) {
    constexpr std::string_view ending = "_mask";
    if (!entry.name.ends_with(ending)) continue;
    const bool real = entry.dtype == Dtype::f32 || entry.dtype == Dtype::f16 || entry.dtype == Dtype::bf16 || entry.dtype == Dtype::f64;
    std::vector<float> values;
    if (real) values = file.floats(entry.name);
    else for (const std::int64_t v : file.ints(entry.name)) values.push_back(static_cast<float>(v));
    const std::vector<Index> extents(entry.shape.begin(), entry.shape.end());
    MaskPart part = MaskPart::ones(entry.name.substr(0, entry.name.size() - ending.size()), Shape(std::span<const Index>(extents)));
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (values[i] != 0 && values[i] != 1)
        throw DataError(str(path, ": tensor '", entry.name, "' holds ", values[i], " at ", i, ", needed zeros and ones; is it a mask?"));
      if (values[i] == 0) part.kill(static_cast<Index>(i));
    }
    parts.push_back(std::move(part));
  }
  if (parts.empty())
    throw DataError(str(path, ": found no mask: neither the metadata 'espalier.mask' nor tensors named '..._mask'; needed a file of save_mask or of torch.nn.utils.prune"));
  return Mask(std::move(parts));
}

}  // namespace espalier
