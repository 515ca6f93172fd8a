// SPDX-License-Identifier: Apache-2.0
// Writes safetensors files, byte for byte as the format's reference implementation does: element types
// in descending rank, then names; the header padded with spaces to a multiple of 8 bytes; the metadata
// key "format" that loaders of PyTorch models insist on.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <espalier/error.hpp>
#include <espalier/io/atomic_file.hpp>
#include <espalier/io/checked.hpp>
#include <espalier/io/detail/json_string.hpp>
#include <espalier/io/dtype.hpp>
#include <espalier/io/json.hpp>
#include <espalier/io/safetensors.hpp>

namespace espalier {

/// Collects tensors and metadata, then writes them at once. What is added is copied.
class SafetensorsWriter {
 public:
  SafetensorsWriter() = default;

  /// Starts with everything a file holds, its metadata included, so that it is written as it was.
  static SafetensorsWriter from(const SafetensorsFile& file) {
    SafetensorsWriter writer;
    writer.metadata_ = file.metadata();
    for (const TensorEntry& entry : file.entries()) writer.add_bytes(entry.name, entry.dtype, entry.shape, entry.bytes);
    return writer;
  }

  /// **Throws** ShapeError if shape and number of values differ; DataError for a name that is taken,
  /// empty, reserved or not UTF-8.
  void add(std::string_view name, std::span<const std::int64_t> shape, std::span<const float> values) {
    add_values(name, Dtype::f32, shape, values);
  }
  void add(std::string_view name, std::span<const std::int64_t> shape, std::span<const double> values) {
    add_values(name, Dtype::f64, shape, values);
  }
  void add(std::string_view name, std::span<const std::int64_t> shape, std::span<const std::int64_t> values) {
    add_values(name, Dtype::i64, shape, values);
  }
  void add(std::string_view name, std::span<const std::int64_t> shape, std::span<const std::int32_t> values) {
    add_values(name, Dtype::i32, shape, values);
  }
  void add(std::string_view name, std::span<const std::int64_t> shape, std::span<const std::uint8_t> values) {
    add_values(name, Dtype::u8, shape, values);
  }
  void add(std::string_view name, std::span<const std::int64_t> shape, std::span<const bool> values) {
    static_assert(sizeof(bool) == 1);
    add_values(name, Dtype::boolean, shape, values);
  }
  /// Elements of any type as they lie in memory.
  void add_bytes(std::string_view name, Dtype dtype, std::span<const std::int64_t> shape,
                 std::span<const std::byte> bytes) {
    CheckedSize size = dtype_bytes(dtype);
    for (const std::int64_t d : shape) size = size * d;
    if (size.overflowed() || size.value() != bytes.size()) {
      throw ShapeError(str("safetensors tensor '", name, "': found ", bytes.size() / dtype_bytes(dtype),
                           " values, its shape ", printed(shape),
                           " needs another number; pass the shape of the values"));
    }
    const SafetensorsLimits limits;
    if (name.empty() || name == "__metadata__" || name.size() > limits.name_bytes ||
        name.find('\0') != std::string_view::npos || shape.size() > limits.rank) {
      throw DataError(str("safetensors tensor '", name.substr(0, 80), "' of rank ", shape.size(),
                          ": needed a name of 1 to ", limits.name_bytes,
                          " bytes that is not '__metadata__', and at most ", limits.rank,
                          " dimensions; rename or reshape it"));
    }
    tensors_.push_back({std::string(name), dtype, {shape.begin(), shape.end()}, {bytes.begin(), bytes.end()}});
  }

  /// Sets a metadata text. The key "format" is there from the start with the value "pt".
  void metadata(std::string_view key, std::string_view value) {
    for (auto& pair : metadata_) {
      if (pair.first == key) return static_cast<void>(pair.second = value);
    }
    metadata_.push_back({std::string(key), std::string(value)});
  }

  std::vector<std::byte> bytes() const {
    const auto [header, order] = layout();
    std::vector<std::byte> out;
    for (const auto chunk : chunks(header, order)) out.insert(out.end(), chunk.begin(), chunk.end());
    return out;
  }
  /// Writes the file wholly or not at all. **Throws** IoError; the previous content is then intact.
  void save(const std::string& path) const {
    const auto [header, order] = layout();
    write_file_atomically(path, std::span<const std::span<const std::byte>>(chunks(header, order)));
  }

 private:
  struct Tensor {
    std::string name;
    Dtype dtype;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> bytes;
  };
  using Order = std::vector<const Tensor*>;

  template <class T>
  void add_values(std::string_view name, Dtype dtype, std::span<const std::int64_t> shape, std::span<const T> values) {
    add_bytes(name, dtype, shape, std::as_bytes(values));
  }
  static std::string printed(std::span<const std::int64_t> shape) {
    std::string out = "[";
    for (const std::int64_t d : shape) out += str(out.size() > 1 ? "," : "", d);
    return out + "]";
  }

  // The length, the header and its padding as one string; and the tensors in the order of their bytes.
  std::pair<std::string, Order> layout() const {
    Order order;
    for (const Tensor& tensor : tensors_) order.push_back(&tensor);
    std::sort(order.begin(), order.end(), [](const Tensor* a, const Tensor* b) {
      return a->dtype != b->dtype ? a->dtype > b->dtype : a->name < b->name;
    });
    refuse_repeated(order);

    std::string header(8, '\0');
    header += '{';
    if (!metadata_.empty()) {
      header += "\"__metadata__\":{";
      for (const auto& pair : metadata_) {
        if (&pair != metadata_.data()) header += ',';
        detail::append_json_string(header, pair.first);
        header += ':';
        detail::append_json_string(header, pair.second);
      }
      header += '}';
    }
    std::size_t offset = 0;
    for (const Tensor* tensor : order) {
      if (header.size() > 9) header += ',';
      detail::append_json_string(header, tensor->name);
      header += str(":{\"dtype\":\"", dtype_name(tensor->dtype), "\",\"shape\":", printed(tensor->shape),
                    ",\"data_offsets\":[", offset, ",", offset + tensor->bytes.size(), "]}");
      offset += tensor->bytes.size();
    }
    header += '}';
    header.resize((header.size() + 7) / 8 * 8, ' ');
    const std::uint64_t length = header.size() - 8;
    if (length > SafetensorsLimits().header_bytes) {
      throw DataError(str("safetensors: found a header of ", length, " bytes, limit ", SafetensorsLimits().header_bytes,
                          "; shorten the metadata"));
    }
    std::memcpy(header.data(), &length, 8);  // little-endian, as io/dtype.hpp has asserted
    return {std::move(header), std::move(order)};
  }
  static void refuse_repeated(const Order& order) {
    std::vector<std::string_view> names;
    for (const Tensor* tensor : order) names.push_back(tensor->name);
    std::sort(names.begin(), names.end());
    if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end()) {
      throw DataError(str("safetensors: found the tensor name '", *twice, "' twice, needed it once; rename one"));
    }
  }
  static std::vector<std::span<const std::byte>> chunks(const std::string& header, const Order& order) {
    std::vector<std::span<const std::byte>> out = {std::as_bytes(std::span(header.data(), header.size()))};
    for (const Tensor* tensor : order) out.push_back(tensor->bytes);
    return out;
  }

  std::vector<Tensor> tensors_;
  std::vector<std::pair<std::string, std::string>> metadata_ = {{"format", "pt"}};
};

}  // namespace espalier
