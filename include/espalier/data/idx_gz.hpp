// SPDX-License-Identifier: Apache-2.0
// Reads IDX files whether compressed or not: the first bytes decide, not the name. What a compressed
// file may unpack to is bounded by its own header. Needs zlib.
#pragma once

#include <string>

#include <espalier/data/idx.hpp>
#include <espalier/io/gzip.hpp>
#include <espalier/io/read_file.hpp>

namespace espalier::data {

/// **Throws** IoError if the file cannot be read, DataError if it is not one IDX file of bytes.
inline IdxArray read_idx(const std::string& path) {
  const auto bytes = read_file(path);
  if (!is_gzip(bytes)) return parse_idx(bytes, path);
  const IdxHeader header = parse_idx_header(gunzip_front(bytes, IdxHeader::max_bytes, path), path);
  return parse_idx(gunzip(bytes, header.file_bytes, path), path);
}

}  // namespace espalier::data
