// SPDX-License-Identifier: Apache-2.0
// Makes gzip streams for tests.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <span>
#include <vector>

namespace espalier::test {

inline std::vector<std::byte> gzip(std::span<const std::byte> input) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::vector<std::byte> out(deflateBound(&stream, input.size()));
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(input.data()));
  stream.avail_in = static_cast<uInt>(input.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

}  // namespace espalier::test
