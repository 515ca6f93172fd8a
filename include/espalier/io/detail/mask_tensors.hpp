// SPDX-License-Identifier: Apache-2.0
// Masks as tensors of a safetensors file: the bits of a part as U8, eight weights a byte, lowest bit
// first; paths and shapes beside them as JSON, in the mask's order.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <espalier/io/json.hpp>
#include <espalier/io/safetensors.hpp>
#include <espalier/nn/mask.hpp>

namespace espalier::detail {

/// Adds each part under prefix + path, and returns what the reader needs besides.
template <class Writer>
Json add_mask(Writer& writer, const Mask& mask, std::string_view prefix) {
  Json parts = Json::array();
  for (const MaskPart& part : mask.parts()) {
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>((part.weights() + 7) / 8));
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(part.words[i / 8] >> i % 8 * 8 & 0xFF);
    const std::vector<Index> extent{static_cast<Index>(bytes.size())};
    writer.add(str(prefix, part.path), std::span<const Index>(extent), std::span<const std::uint8_t>(bytes));
    Json entry = Json::object();
    entry["path"] = part.path;
    Json& shape = entry["shape"] = Json::array();
    for (const Index n : part.shape.extents()) shape.push_back(n);
    parts.push_back(std::move(entry));
  }
  return parts;
}

/// The inverse. Throws DataError if bits and shapes do not fit.
inline Mask mask_from(const SafetensorsFile& file, const Json& parts, std::string_view prefix, std::string_view suffix = "") {
  std::vector<MaskPart> out;
  for (const Json& entry : parts.items()) {
    const std::string& path = entry.at("path").as_string();
    std::vector<Index> extents;
    for (const Json& n : entry.at("shape").items()) extents.push_back(n.as_int());
    try {
      MaskPart part = MaskPart::ones(path, Shape(std::span<const Index>(extents)));
      const TensorEntry& tensor = file.get(str(prefix, path, suffix));
      const auto needed = static_cast<std::size_t>((part.weights() + 7) / 8);
      if (tensor.dtype != Dtype::u8 || tensor.bytes.size() != needed)
        throw DataError(str(file.where(), ": the mask of '", path, "' holds ", tensor.bytes.size(), " bytes of ", dtype_name(tensor.dtype), ", needed ", needed,
                            " of U8 for shape ", part.shape, "; the file is damaged"));
      std::fill(part.words.begin(), part.words.end(), 0);
      for (std::size_t i = 0; i < needed; ++i) part.words[i / 8] |= std::uint64_t{std::to_integer<std::uint8_t>(tensor.bytes[i])} << i % 8 * 8;
      out.push_back(std::move(part));
    } catch (const ShapeError& e) {
      throw DataError(str(file.where(), ": the mask of '", path, "': ", e.what(), "; the file is damaged"));
    }
  }
  try {
    return Mask(std::move(out));
  } catch (const StaleState& e) {
    throw DataError(str(file.where(), ": ", e.what(), "; the file is damaged"));
  }
}

}  // namespace espalier::detail
