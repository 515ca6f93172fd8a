// SPDX-License-Identifier: Apache-2.0
// The IDX format of MNIST and its descendants: 00 00 <type> <rank>, the extents as big-endian 32-bit
// numbers, then the values. Only bytes are read, which is all those data sets hold. Compressed files
// are the business of data/idx_gz.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <espalier/data/dataset.hpp>
#include <espalier/error.hpp>
#include <espalier/io/checked.hpp>
#include <espalier/io/read_file.hpp>

namespace espalier::data {

/// An array of bytes as an IDX file holds it, row-major.
struct IdxArray {
  std::vector<Index> shape;  // 1 to 4 extents
  std::vector<std::uint8_t> values;
  std::string where;  // the file, for messages
};

/// What an IDX file says of itself.
struct IdxHeader {
  std::vector<Index> shape;
  std::uint64_t file_bytes = 0;  // of header and values together
  static constexpr std::size_t max_bytes = 4 + 4 * 4;
};

namespace detail {

inline IdxHeader idx_header(Cursor& cursor) {
  const std::uint32_t magic = cursor.u32_be("the magic number");
  const std::uint32_t type = magic >> 8 & 0xFF, rank = magic & 0xFF;
  if (magic >> 16 != 0) {
    cursor.fail("the magic number", str("found ", magic, ", needed 00 00 08 <rank>; this is no IDX file"));
  }
  if (type != 0x08) cursor.fail("the type", str("found ", type, ", needed 8 (unsigned bytes); convert the file"));
  if (rank < 1 || rank > 4)
    cursor.fail("the rank", str("found ", rank, ", needed 1 to 4; the file is damaged: fetch it again"));
  IdxHeader header;
  CheckedSize size = 1;
  for (std::uint32_t d = 0; d < rank; ++d) {
    const std::uint32_t extent = cursor.u32_be(str("extent ", d));
    header.shape.push_back(extent);
    size = size * extent;
  }
  size = size + cursor.offset();
  if (size.overflowed())
    cursor.fail("the extents", "their product overflows 64 bits; the file is damaged: fetch it again");
  header.file_bytes = size.value();
  return header;
}

}  // namespace detail

/// The header of an IDX file, given at least its first bytes. **Throws** DataError.
inline IdxHeader parse_idx_header(std::span<const std::byte> bytes, const std::string& where) {
  Cursor cursor(bytes, where);
  return detail::idx_header(cursor);
}

/// **Throws** DataError naming offset and field if the bytes are not exactly one IDX file of bytes.
inline IdxArray parse_idx(std::span<const std::byte> bytes, const std::string& where) {
  return with_memory(where, bytes.size(), [&] {
    refuse_stub(bytes, where, "an IDX file");
    if (is_gzip(bytes)) {
      throw DataError(str(where, ": found gzip, needed plain IDX; unpack it with gunzip, or read it with "
                                 "data/idx_gz.hpp"));
    }
    Cursor cursor(bytes, where);
    IdxHeader header = detail::idx_header(cursor);
    const auto values = cursor.take(header.file_bytes - cursor.offset(), "the values");
    cursor.expect_end();
    IdxArray array{std::move(header.shape), std::vector<std::uint8_t>(values.size()), where};
    if (!values.empty()) std::memcpy(array.values.data(), values.data(), values.size());
    return array;
  });
}

/// Joins images [N, H, W] or [N, H, W, C] and labels [N]. The name, source and class names are the caller's to set.
/// **Throws** DataError if ranks or counts differ or a label is not below `classes`.
inline ImageSet image_set(IdxArray images, const IdxArray& labels, int classes) {
  if (images.shape.size() < 3)
    throw DataError(str(images.where, ": found rank ", images.shape.size(),
                        ", needed images of rank 3 or 4; were images and labels swapped?"));
  if (labels.shape.size() != 1)
    throw DataError(str(labels.where, ": found rank ", labels.shape.size(),
                        ", needed labels of rank 1; were images and labels swapped?"));
  if (images.shape[0] != labels.shape[0]) {
    throw DataError(str(images.where, ": found ", images.shape[0], " images, but ", labels.shape[0], " labels in ",
                        labels.where, ", needed as many; the files do not belong together"));
  }
  if (std::find(images.shape.begin(), images.shape.end(), 0) != images.shape.end())
    throw DataError(str(images.where, ": found no images, needed at least one; fetch it again"));
  ImageSet set;
  set.count = images.shape[0];
  set.h = images.shape[1];
  set.w = images.shape[2];
  set.c = images.shape.size() == 4 ? images.shape[3] : 1;
  set.classes = classes;
  for (std::size_t i = 0; i < labels.values.size(); ++i) {
    if (labels.values[i] >= classes) {
      throw DataError(str(labels.where, ": label ", i, ", byte ", 8 + i, ": found ", static_cast<int>(labels.values[i]),
                          ", needed less than ", classes, "; the file is damaged or of another data set"));
    }
  }
  set.labels.assign(labels.values.begin(), labels.values.end());
  set.pixels = std::move(images.values);
  return set;
}

}  // namespace espalier::data
