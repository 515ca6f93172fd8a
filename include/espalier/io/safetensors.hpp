// SPDX-License-Identifier: Apache-2.0
// Reads safetensors files, whose whole point is that a hostile file can do nothing: every size is
// checked against the real length before anything is allocated, and no byte may belong to two tensors
// or to none. Stricter than the format's reference reader: repeated names are refused.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <espalier/error.hpp>
#include <espalier/io/checked.hpp>
#include <espalier/io/detail/safetensors_header.hpp>
#include <espalier/io/dtype.hpp>
#include <espalier/io/json_reader.hpp>
#include <espalier/io/read_file.hpp>

namespace espalier {

/// The content of a safetensors file. Copies share the bytes.
class SafetensorsFile {
 public:
  /// **Throws** IoError if the file cannot be read; DataError, naming tensor and cause, if any rule of
  /// the format is broken.
  static SafetensorsFile read(const std::string& path, const SafetensorsLimits& limits = {}) {
    return parse(read_file(path), path, limits);
  }
  static SafetensorsFile parse(std::vector<std::byte> bytes, const std::string& where = "bytes",
                               const SafetensorsLimits& limits = {}) {
    return with_memory(where, bytes.size(), [&] {
      SafetensorsFile file;
      file.where_ = where;
      file.bytes_ = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
      file.validate(limits);
      return file;
    });
  }

  /// In the order of their bytes in the file.
  const std::vector<TensorEntry>& entries() const { return entries_; }
  /// Pairs of text in the order of the file.
  const std::vector<std::pair<std::string, std::string>>& metadata() const { return metadata_; }
  /// Keys the format does not know, which were ignored.
  const std::vector<std::string>& warnings() const { return warnings_; }
  const std::string& where() const { return where_; }

  /// The tensor of that name, or nullptr.
  const TensorEntry* find(std::string_view name) const {
    const auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                                     [&](std::size_t i, std::string_view n) { return entries_[i].name < n; });
    return at != by_name_.end() && entries_[*at].name == name ? &entries_[*at] : nullptr;
  }
  /// The metadata value of that key, or nullptr.
  const std::string* find_metadata(std::string_view key) const {
    for (const auto& pair : metadata_) {
      if (pair.first == key) return &pair.second;
    }
    return nullptr;
  }

  /// The elements of F32, F16, BF16 (exactly) or F64 (rounded). **Throws** DataError if there is no such tensor or it
  /// holds integers.
  std::vector<float> floats(std::string_view name) const { return real<float>(name); }
  std::vector<double> doubles(std::string_view name) const { return real<double>(name); }
  /// The elements of I64, I32, U8 or BOOL. **Throws** DataError if there is no such tensor or it holds other numbers.
  std::vector<std::int64_t> ints(std::string_view name) const {
    const TensorEntry& entry = get(name);
    switch (entry.dtype) {
      case Dtype::i64: return converted<std::int64_t, std::int64_t>(entry, [](std::int64_t x) { return x; });
      case Dtype::i32: return converted<std::int64_t, std::int32_t>(entry, [](std::int32_t x) { return x; });
      case Dtype::u8: return converted<std::int64_t, std::uint8_t>(entry, [](std::uint8_t x) { return x; });
      case Dtype::boolean: return converted<std::int64_t, std::uint8_t>(entry, [](std::uint8_t x) { return x != 0; });
      default: wrong_dtype(entry, "I64, I32, U8 or BOOL");
    }
  }
  /// How many elements are NaN or infinite; 0 for integers.
  std::size_t non_finite(std::string_view name) const {
    const TensorEntry& entry = get(name);
    if (!is_real(entry.dtype)) return 0;
    std::size_t found = 0;
    for (const double x : doubles(name)) found += std::isfinite(x) ? 0u : 1u;
    return found;
  }
  /// **Throws** DataError if there is no such tensor.
  const TensorEntry& get(std::string_view name) const {
    if (const TensorEntry* entry = find(name)) return *entry;
    throw DataError(str(where_, ": found no tensor '", name, "' among its ", entries_.size(),
                        "; check that the file belongs to this architecture"));
  }

 private:
  static bool is_real(Dtype d) { return d == Dtype::f16 || d == Dtype::bf16 || d == Dtype::f32 || d == Dtype::f64; }
  [[noreturn]] void wrong_dtype(const TensorEntry& entry, std::string_view needed) const {
    throw DataError(str(where_, ": tensor '", entry.name, "' holds ", dtype_name(entry.dtype), ", needed ", needed,
                        "; convert it before saving"));
  }

  // memcpy, because nothing promises that an element is aligned.
  template <class To, class From, class Convert>
  static std::vector<To> converted(const TensorEntry& entry, Convert convert) {
    auto out = with_memory(entry.name, entry.count() * sizeof(To), [&] { return std::vector<To>(entry.count()); });
    if constexpr (std::is_same_v<To, From>) {
      if (!out.empty()) std::memcpy(out.data(), entry.bytes.data(), entry.bytes.size());
    } else {
      for (std::size_t i = 0; i < out.size(); ++i) {
        From x;
        std::memcpy(&x, entry.bytes.data() + i * sizeof x, sizeof x);
        out[i] = convert(x);
      }
    }
    return out;
  }
  template <class To>
  std::vector<To> real(std::string_view name) const {
    const TensorEntry& entry = get(name);
    switch (entry.dtype) {
      case Dtype::f32: return converted<To, float>(entry, [](float x) { return static_cast<To>(x); });
      case Dtype::f64: return converted<To, double>(entry, [](double x) { return static_cast<To>(x); });
      case Dtype::f16:
        return converted<To, std::uint16_t>(entry, [](std::uint16_t x) { return To{detail::from_half(x)}; });
      case Dtype::bf16:
        return converted<To, std::uint16_t>(
            entry, [](std::uint16_t x) { return To{std::bit_cast<float>(std::uint32_t{x} << 16)}; });
      default: wrong_dtype(entry, "F32, F64, F16 or BF16");
    }
  }

  void validate(const SafetensorsLimits& limits) {
    const std::span<const std::byte> all(*bytes_);
    refuse_stub(all, where_, "a safetensors file");
    const bool zip = detail::starts_with(all, "PK\x03\x04"),
               pickle = detail::starts_with(all, "\x80\x02") || detail::starts_with(all, "\x80\x04");
    if (zip || pickle) {
      throw DataError(str(where_, ": found a ", zip ? "zip archive, as torch.save writes" : "Python pickle",
                          ", needed a safetensors file; in Python: "
                          "safetensors.torch.save_file(torch.load(path, weights_only=True), 'model.safetensors')"));
    }
    Cursor cursor(all, where_);
    const std::uint64_t header_size = cursor.u64_le("the header's length");
    if (header_size > limits.header_bytes) {
      cursor.fail("the header's length",
                  str("found ", header_size, " bytes, limit ", limits.header_bytes,
                      " (SafetensorsLimits::header_bytes); this is no safetensors file, or a hostile one"));
    }
    const auto header_bytes = cursor.take(header_size, "the header");
    const std::string_view text(reinterpret_cast<const char*>(header_bytes.data()), header_bytes.size());
    detail::SafetensorsHeader header(where_, limits);
    read_json(text, header, where_, {.depth = 16, .string_bytes = static_cast<std::size_t>(header_size)});
    place(header, all.subspan(cursor.offset()));
    warnings_ = std::move(header.warnings);
    metadata_ = std::move(header.metadata);
    std::vector<std::string_view> keys;
    for (const auto& pair : metadata_) keys.push_back(pair.first);
    std::sort(keys.begin(), keys.end());
    if (const auto twice = std::adjacent_find(keys.begin(), keys.end()); twice != keys.end()) {
      header.fail(str("found the metadata key '", *twice, "' twice, needed it once"));
    }
  }

  // Gives each tensor its bytes: sizes must match shapes, and the tensors must tile the data.
  void place(detail::SafetensorsHeader& header, std::span<const std::byte> data) {
    auto& tensors = header.tensors;
    std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
      return std::pair(a.begin, a.end) != std::pair(b.begin, b.end)
                 ? std::pair(a.begin, a.end) < std::pair(b.begin, b.end)
                 : a.entry.name < b.entry.name;
    });
    std::uint64_t position = 0;
    for (auto& tensor : tensors) {
      const auto fail = [&](std::string_view what) { header.fail(str("tensor '", tensor.entry.name, "': ", what)); };
      CheckedSize size = dtype_bytes(tensor.entry.dtype);
      for (const std::int64_t d : tensor.entry.shape) size = size * d;
      if (size.overflowed()) fail("the product of its shape overflows 64 bits");
      if (tensor.end < tensor.begin) fail(str("data_offsets [", tensor.begin, ", ", tensor.end, "] run backwards"));
      if (tensor.end - tensor.begin != size.value()) {
        fail(str("its shape needs ", size.value(), " bytes, its data_offsets hold ", tensor.end - tensor.begin));
      }
      if (tensor.begin != position) {
        fail(str("starts at ", tensor.begin, " where ", position,
                 " was needed: ", tensor.begin < position ? "tensors overlap" : "a hole in the data"));
      }
      if (tensor.end > data.size())
        fail(str("ends at ", tensor.end, " of ", data.size(), " data bytes: the file is cut short"));
      tensor.entry.bytes = data.subspan(static_cast<std::size_t>(tensor.begin), static_cast<std::size_t>(size.value()));
      position = tensor.end;
    }
    if (position != data.size())
      header.fail(str("found ", data.size() - position, " bytes after the last tensor, needed none"));

    for (auto& tensor : tensors) entries_.push_back(std::move(tensor.entry));
    for (std::size_t i = 0; i < entries_.size(); ++i) by_name_.push_back(i);
    std::sort(by_name_.begin(), by_name_.end(),
              [&](std::size_t a, std::size_t b) { return entries_[a].name < entries_[b].name; });
    for (std::size_t i = 1; i < by_name_.size(); ++i) {
      if (entries_[by_name_[i]].name == entries_[by_name_[i - 1]].name) {
        header.fail(str("found the tensor name '", entries_[by_name_[i]].name, "' twice, needed it once"));
      }
    }
  }

  std::string where_;
  std::shared_ptr<const std::vector<std::byte>> bytes_;  // entries_ point into it
  std::vector<TensorEntry> entries_;
  std::vector<std::size_t> by_name_;
  std::vector<std::pair<std::string, std::string>> metadata_;
  std::vector<std::string> warnings_;
};

}  // namespace espalier
