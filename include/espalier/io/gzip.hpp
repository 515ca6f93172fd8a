// SPDX-License-Identifier: Apache-2.0
// Unpacks gzip streams whose size is known or bounded: a few bytes that unpack to gigabytes stop at the
// bound. The only header that includes zlib; link with -lz.
#pragma once

#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <espalier/error.hpp>
#include <espalier/io/checked.hpp>
#include <espalier/io/read_file.hpp>

namespace espalier {

namespace detail {

/// Owns zlib's state; one gzip member after another.
class Inflater {
 public:
  Inflater(std::span<const std::byte> input, std::string_view where) : input_(input), where_(where) {
    if (!is_gzip(input)) fail("found no gzip magic number");
    if (inflateInit2(&stream_, 15 + 16) != Z_OK) throw OutOfMemory(str(where_, ": no memory to start zlib"));
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater() { inflateEnd(&stream_); }

  bool finished() const { return finished_; }

  /// Fills the front of `out`; less than all of it only if the last member has ended.
  std::size_t read(std::span<std::byte> out) {
    std::size_t written = 0;
    while (written < out.size() && !finished_) {
      const std::size_t in = std::min(input_.size() - used_, largest), room = std::min(out.size() - written, largest);
      stream_.next_in =
          reinterpret_cast<Bytef*>(const_cast<std::byte*>(input_.data() + used_));  // zlib does not write to it
      stream_.avail_in = static_cast<uInt>(in);
      stream_.next_out = reinterpret_cast<Bytef*>(out.data() + written);
      stream_.avail_out = static_cast<uInt>(room);
      const int status = inflate(&stream_, Z_NO_FLUSH);
      used_ += in - stream_.avail_in;
      written += room - stream_.avail_out;
      if (status == Z_STREAM_END) {
        next_member();
      } else if (status == Z_MEM_ERROR) {
        throw OutOfMemory(str(where_, ": no memory for zlib's window"));
      } else if (status == Z_BUF_ERROR || (status == Z_OK && stream_.avail_out != 0 && used_ == input_.size())) {
        fail("the stream is cut short");
      } else if (status != Z_OK) {
        fail(stream_.msg != nullptr ? std::string_view(stream_.msg) : "the stream is damaged");
      }
    }
    return written;
  }

 private:
  static constexpr std::size_t largest = std::numeric_limits<uInt>::max();

  void next_member() {
    const auto rest = input_.subspan(used_);
    if (rest.empty()) {
      finished_ = true;
    } else if (is_gzip(rest)) {
      inflateReset(&stream_);
    } else {
      fail(str("found ", rest.size(), " bytes after the end of the stream"));
    }
  }
  [[noreturn]] void fail(std::string_view found) const {
    throw DataError(str(where_, ": gzip, at byte ", used_, " of ", input_.size(), ": ", found,
                        ", needed a whole gzip file; fetch it again"));
  }

  std::span<const std::byte> input_;
  std::string_view where_;
  std::size_t used_ = 0;
  bool finished_ = false;
  z_stream stream_{};
};

}  // namespace detail

/// Unpacks all members of a gzip file, checksums verified.
/// **Throws** DataError if the input is no gzip, cut short, damaged or followed by anything else, or if
/// it unpacks to more than `max_output` bytes.
inline std::vector<std::byte> gunzip(std::span<const std::byte> input, std::uint64_t max_output,
                                     std::string_view where = "gzip stream") {
  detail::Inflater inflater(input, where);
  std::vector<std::byte> out;
  std::size_t size = 0;
  // One byte more than allowed tells a full stream from one that goes on.
  const std::size_t bound = max_output < SIZE_MAX ? static_cast<std::size_t>(max_output) + 1 : SIZE_MAX;
  while (!inflater.finished()) {
    if (size == bound) {
      throw DataError(str(where, ": gzip: unpacks to more than the ", max_output,
                          " bytes needed; the file is damaged or hostile: fetch it again"));
    }
    if (size == out.size()) {
      const std::size_t wanted = std::max(out.size() * 2, std::max<std::size_t>(input.size(), 65536) * 4);
      with_memory(where, wanted, [&] { out.resize(std::min(bound, wanted)); });
    }
    size += inflater.read(std::span(out).subspan(size));
  }
  out.resize(size);
  if (size > max_output) {
    throw DataError(str(where, ": gzip: unpacks to ", size, " bytes, needed at most ", max_output,
                        "; the file is damaged or hostile: fetch it again"));
  }
  return out;
}

/// The first `count` bytes of what a gzip file unpacks to, or all if it holds less; the rest is not looked at.
inline std::vector<std::byte> gunzip_front(std::span<const std::byte> input, std::size_t count,
                                           std::string_view where = "gzip stream") {
  detail::Inflater inflater(input, where);
  std::vector<std::byte> out(count);
  out.resize(inflater.read(out));
  return out;
}

}  // namespace espalier
