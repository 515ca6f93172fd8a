// SPDX-License-Identifier: Apache-2.0
// CIFAR-10 and CIFAR-100 in their binary version: records of one or two labels and three colour planes
// of 32 x 32. The planes are interleaved on reading, because activations are channels-last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <espalier/data/dataset.hpp>
#include <espalier/data/folder.hpp>
#include <espalier/error.hpp>
#include <espalier/io/checked.hpp>
#include <espalier/io/read_file.hpp>

namespace espalier::data {

/// How the two collections differ.
struct CifarFormat {
  std::string_view name;
  std::size_t label_bytes;  // of which the last is the class that is used
  int classes;
  std::string_view archive;  // the official file to get
  std::string_view folder;   // what it unpacks to
  std::string_view names_file;
};
inline constexpr CifarFormat cifar10_format = {
    "CIFAR-10", 1, 10, "cifar-10-binary.tar.gz", "cifar-10-batches-bin", "batches.meta.txt"};
inline constexpr CifarFormat cifar100_format = {
    "CIFAR-100", 2, 100, "cifar-100-binary.tar.gz", "cifar-100-binary", "fine_label_names.txt"};

namespace detail {

inline void append_cifar_records(std::span<const std::byte> bytes, const CifarFormat& format, const std::string& where,
                                 ImageSet& set) {
  constexpr std::size_t plane = 32 * 32;
  const std::size_t record = format.label_bytes + 3 * plane;
  const auto byte = [&](std::size_t i) { return std::to_integer<std::uint8_t>(bytes[i]); };
  refuse_stub(bytes, where, str("a binary batch of ", format.name));
  if (bytes.size() > 1 && byte(0) == 0x80 && byte(1) >= 2 && byte(1) <= 5) {
    throw DataError(
        str(where, ": found a Python pickle, needed the binary version; unpack ", format.archive, " instead"));
  }
  if (is_gzip(bytes)) {
    throw DataError(str(where, ": found gzip, needed an unpacked binary batch; unpack ", format.archive, " first"));
  }
  if (bytes.size() % record != 0) {
    throw DataError(str(where, ": found ", bytes.size(), " bytes, needed a multiple of ", record,
                        ", the size of a record of ", format.name,
                        "; the file is cut short or of another data set: unpack ", format.archive, " again"));
  }
  const std::size_t count = bytes.size() / record;
  for (std::size_t i = 0; i < count; ++i) {
    const int label = byte(i * record + format.label_bytes - 1);
    if (label >= format.classes) {
      throw DataError(str(where, ": at offset ", i * record + format.label_bytes - 1, ", the label of record ", i,
                          ": found ", label, ", needed less than ", format.classes, "; the file is damaged: unpack ",
                          format.archive, " again"));
    }
  }
  const std::size_t first = set.pixels.size();
  set.labels.reserve(set.labels.size() + count);
  set.pixels.resize(first + count * 3 * plane);
  for (std::size_t i = 0; i < count; ++i) {
    const auto image = bytes.subspan(i * record + format.label_bytes, 3 * plane);
    std::uint8_t* out = set.pixels.data() + first + i * 3 * plane;
    for (std::size_t p = 0; p < plane; ++p) {
      for (std::size_t c = 0; c < 3; ++c) out[p * 3 + c] = std::to_integer<std::uint8_t>(image[c * plane + p]);
    }
    set.labels.push_back(byte(i * record + format.label_bytes - 1));
  }
  set.count += static_cast<Index>(count);
}

}  // namespace detail

/// Appends the records of one file to `set`.
/// **Throws** DataError, before anything is appended, if the bytes are not whole records or a label is too large.
inline void append_cifar(std::span<const std::byte> bytes, const CifarFormat& format, const std::string& where,
                         ImageSet& set) {
  with_memory(where, bytes.size(), [&] { detail::append_cifar_records(bytes, format, where, set); });
}

namespace detail {

/// The lines of the file of class names; none if there is no such file.
inline std::vector<std::string> cifar_class_names(const std::string& folder, const CifarFormat& format) {
  const std::string path = str(folder, "/", format.names_file);
  std::vector<std::string> names;
  if (!exists(path)) return names;
  std::string line;
  for (const std::byte b : read_file(path, {.bytes = 1 << 16})) {
    const char c = static_cast<char>(b);
    if (c != '\n' && c != '\r') {
      line += c;
    } else if (!line.empty()) {
      names.push_back(line);
      line.clear();
    }
  }
  if (!line.empty()) names.push_back(line);
  if (names.size() != static_cast<std::size_t>(format.classes)) {
    throw DataError(str(path, ": found ", names.size(), " class names, needed ", format.classes, "; unpack ",
                        format.archive, " again"));
  }
  return names;
}

[[noreturn]] inline void cifar_missing(const std::string& folder, std::string_view file, const CifarFormat& format) {
  const std::string base = str(folder, "/", file.substr(0, file.rfind('.')));
  const std::string where = str(folder, ": found no ", file);
  if (exists(base + ".med.xz")) {
    throw IoError(str(where, ", only ", file.substr(0, file.rfind('.')),
                      ".med.xz, needed the unpacked batches; build the med2bin.cpp beside it and run 'xz -dc ",
                      file.substr(0, file.rfind('.')), ".med.xz | ./med2bin > ", file, "' for each batch"));
  }
  if (exists(base)) {
    throw IoError(str(where, ", but ", base, ", which is of the Python version, needed the binary version of ",
                      format.name, "; unpack ", format.archive));
  }
  if (exists(str(folder, "/", format.archive))) {
    throw IoError(
        str(where, ", but ", format.archive, ", needed it unpacked; run 'tar xf ", format.archive, "' in that folder"));
  }
  throw IoError(str(where, ", needed the binary version of ", format.name, "; unpack the official ", format.archive,
                    " and name its folder ", format.folder, " with --data"));
}

inline ImageSet cifar_part(const std::string& option, const CifarFormat& format, std::string_view part,
                           std::initializer_list<std::string_view> files) {
  const std::string folder = folder_holding(option, {"", format.folder}, files);
  ImageSet set;
  set.h = set.w = 32;
  set.c = 3;
  set.classes = format.classes;
  set.name = str(format.name, " ", part);
  set.source = folder;
  set.class_names = cifar_class_names(folder, format);
  for (const std::string_view file : files) {
    const std::string path = str(folder, "/", file);
    if (!exists(path)) cifar_missing(folder, file, format);
    const auto bytes = read_file(path);
    with_memory(path, bytes.size() * files.size(), [&] { set.pixels.reserve(bytes.size() * files.size()); });
    append_cifar(bytes, format, path, set);
  }
  return set;
}

}  // namespace detail

/// Read CIFAR-10 or CIFAR-100 (its 100 fine labels) from a folder, or from the subfolder the official
/// archive unpacks to. **Throws** IoError or DataError naming file, cause and remedy.
/// **Paper** Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
inline ImageSet cifar10_train(const std::string& folder) {
  return detail::cifar_part(
      folder, cifar10_format, "train",
      {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"});
}
inline ImageSet cifar10_test(const std::string& folder) {
  return detail::cifar_part(folder, cifar10_format, "test", {"test_batch.bin"});
}
inline TrainTest cifar10(const std::string& folder) { return {cifar10_train(folder), cifar10_test(folder)}; }
inline ImageSet cifar100_train(const std::string& folder) {
  return detail::cifar_part(folder, cifar100_format, "train", {"train.bin"});
}
inline ImageSet cifar100_test(const std::string& folder) {
  return detail::cifar_part(folder, cifar100_format, "test", {"test.bin"});
}
inline TrainTest cifar100(const std::string& folder) { return {cifar100_train(folder), cifar100_test(folder)}; }

/// The folder that --data names. **Throws** IoError with the remedy.
inline Folder find_cifar10(const std::string& option) {
  return find_data(option, {},
                   "unpack the official cifar-10-binary.tar.gz and name its folder cifar-10-batches-bin with --data");
}

}  // namespace espalier::data
