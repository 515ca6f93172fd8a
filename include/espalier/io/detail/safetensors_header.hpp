// SPDX-License-Identifier: Apache-2.0
// The JSON header of a safetensors file, checked event by event: which keys, of which kinds, how often
// and how many. Whether offsets and sizes fit together is the business of io/safetensors.hpp.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <espalier/error.hpp>
#include <espalier/io/dtype.hpp>

namespace espalier {

/// What a file may declare before it is refused; each is named in the message that refuses it.
struct SafetensorsLimits {
  std::uint64_t header_bytes = 100'000'000;  // the format's own cap
  std::size_t name_bytes = 4096;
  std::size_t tensors = 100'000;
  std::size_t rank = 8;
};

/// One tensor of a file: row-major, at no particular alignment.
struct TensorEntry {
  std::string name;
  Dtype dtype = Dtype::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;

  std::size_t count() const { return bytes.size() / dtype_bytes(dtype); }
};

namespace detail {

/// Builds the entries of a header out of JSON events. Offsets are checked later, all together.
class SafetensorsHeader {
 public:
  struct Tensor {
    TensorEntry entry;
    std::uint64_t begin = 0, end = 0;
  };
  std::vector<Tensor> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;
  std::vector<std::string> warnings;

  SafetensorsHeader(std::string_view where, const SafetensorsLimits& limits) : where_(where), limits_(limits) {}

  void begin_object() {
    if (skipping_ != 0) return static_cast<void>(++skipping_);
    if (place_ == Place::start) {
      place_ = Place::top;
    } else if (place_ == Place::top && name_ == "__metadata__") {
      if (std::exchange(metadata_seen_, true)) fail("found '__metadata__' twice, needed it at most once");
      place_ = Place::metadata;
    } else if (place_ == Place::top) {
      begin_tensor();
    } else {
      value("an object");
    }
  }
  void end_object() {
    if (skipping_ != 0) return static_cast<void>(--skipping_);
    if (place_ == Place::tensor) end_tensor();
    place_ = Place::top;
  }
  void key(std::string_view k) {
    if (skipping_ != 0) return;
    if (place_ == Place::tensor) {
      field_ = k == "dtype" ? dtype : k == "shape" ? shape : k == "data_offsets" ? offsets : unknown;
      if (field_ == unknown) return warnings.push_back(str("tensor '", name_, "': ignored the unknown key '", k, "'"));
      if ((seen_ & field_) != 0) fail(str("tensor '", name_, "': found '", k, "' twice, needed it once"));
      seen_ |= field_;
    } else {
      name_ = k;
    }
  }
  void begin_array() {
    if (skipping_ != 0) return static_cast<void>(++skipping_);
    if (place_ == Place::tensor && (field_ == shape || field_ == offsets)) {
      place_ = Place::numbers;
    } else {
      value("an array");
    }
  }
  void end_array() {
    if (skipping_ != 0) return static_cast<void>(--skipping_);
    place_ = Place::tensor;
  }
  void string(std::string_view s) {
    if (skipping_ != 0) return;
    if (place_ == Place::metadata) {
      if (s.size() > limits_.header_bytes) fail("a metadata value is too long");
      metadata.push_back({name_, std::string(s)});
    } else if (place_ == Place::tensor && field_ == dtype) {
      set_dtype(s);
    } else {
      value("a string");
    }
  }
  void number(std::string_view text) {
    if (skipping_ != 0) return;
    if (place_ != Place::numbers) return value("a number");
    std::uint64_t n = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc() || end != text.data() + text.size() || n > INT64_MAX) {
      fail(str("tensor '", name_, "': found ", text.substr(0, 40), " in '", field_ == shape ? "shape" : "data_offsets",
               "', needed whole numbers from 0 to 2^63 - 1 in plain digits"));
    }
    Tensor& tensor = tensors.back();
    if (field_ == shape) {
      if (tensor.entry.shape.size() == limits_.rank) {
        fail(str("tensor '", name_, "': found more than ", limits_.rank, " dimensions (SafetensorsLimits::rank)"));
      }
      tensor.entry.shape.push_back(static_cast<std::int64_t>(n));
    } else {
      if (offsets_found_ == 2) fail(str("tensor '", name_, "': found more than two data_offsets"));
      (offsets_found_++ == 0 ? tensor.begin : tensor.end) = n;
    }
  }
  void boolean(bool) { value("true or false"); }
  void null() { value("null"); }

  [[noreturn]] void fail(std::string_view what) const {
    throw DataError(
        str(where_, ": safetensors header: ", what, "; the file is damaged or hostile: write it again with save_file"));
  }

 private:
  enum class Place { start, top, metadata, tensor, numbers };
  enum Field : unsigned { unknown = 0, dtype = 1, shape = 2, offsets = 4 };

  void begin_tensor() {
    if (name_.empty()) fail("found a tensor with an empty name, needed a name");
    if (name_.size() > limits_.name_bytes)
      fail(str("found a name of ", name_.size(), " bytes, limit ", limits_.name_bytes,
               " (SafetensorsLimits::name_bytes)"));
    if (name_.find('\0') != std::string::npos) fail("found a tensor name that holds a NUL, needed text");
    if (tensors.size() == limits_.tensors)
      fail(str("found more than ", limits_.tensors, " tensors (SafetensorsLimits::tensors)"));
    tensors.push_back(Tensor());
    tensors.back().entry.name = name_;
    place_ = Place::tensor;
    seen_ = 0;
    offsets_found_ = 0;
  }
  void end_tensor() {
    if (seen_ != (dtype | shape | offsets))
      fail(str("tensor '", name_, "': needed dtype, shape and data_offsets, one of them is missing"));
    if (offsets_found_ != 2) fail(str("tensor '", name_, "': found ", offsets_found_, " data_offsets, needed two"));
  }
  void set_dtype(std::string_view s) {
    for (std::size_t i = 0; i < dtype_names.size(); ++i) {
      if (dtype_names[i].name == s) return static_cast<void>(tensors.back().entry.dtype = static_cast<Dtype>(i));
    }
    throw DataError(str(where_, ": tensor '", name_, "': found dtype '", s.substr(0, 40),
                        "', needed one of F32, F64, F16, BF16, I64, I32, U8, BOOL; convert it before saving"));
  }
  // A value where none of its kind belongs. Under an unknown key anything goes, nested or not.
  void value(std::string_view kind) {
    if (skipping_ != 0) return;
    if (place_ == Place::tensor && field_ == unknown) {
      skipping_ = kind == "an object" || kind == "an array" ? 1 : 0;
    } else if (place_ == Place::start) {
      fail(str("found ", kind, " at the top, needed an object"));
    } else if (place_ == Place::metadata) {
      fail(str("metadata '", name_, "': found ", kind, ", needed a string"));
    } else {
      fail(str("tensor '", name_, "': found ", kind, " where it does not belong"));
    }
  }

  std::string_view where_;
  const SafetensorsLimits& limits_;
  Place place_ = Place::start;
  Field field_ = unknown;
  unsigned seen_ = 0;
  int offsets_found_ = 0;
  std::size_t skipping_ = 0;  // containers open below an unknown key
  bool metadata_seen_ = false;
  std::string name_;
};

}  // namespace detail

}  // namespace espalier
