// SPDX-License-Identifier: Apache-2.0
// Reads a whole file into memory, and explains every way in which that can fail. Files are copied,
// never mapped: a file that shrinks under a map kills the process, a short read is an error.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <espalier/error.hpp>

namespace espalier {

namespace detail {

/// A file descriptor that closes itself; close() reports what the destructor must swallow.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&&) = delete;
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  /// 0, or the error number. A close that was interrupted has closed: POSIX leaves no better reading.
  int close() {
    const int result = ::close(std::exchange(fd_, -1));
    return result == 0 || errno == EINTR ? 0 : errno;
  }

 private:
  int fd_;
};

inline std::string error_text(int number) {
  switch (number) {  // strerror is not safe beside other threads
    case ENOENT: return "no such file or folder";
    case EACCES: return "permission denied";
    case EISDIR: return "it is a folder";
    case ENOTDIR: return "a part of its path is not a folder";
    case ELOOP: return "its symbolic links form a loop";
    case ENOSPC: return "the file system is full";
    case EDQUOT: return "the disk quota is used up";
    case EFBIG: return "it would exceed the size limit for files";
    case EROFS: return "the file system is read-only";
    case EIO: return "the device reported an input/output error";
    case EMFILE: return "too many files are open";
    case ENAMETOOLONG: return "its name is too long";
    default: return str("system error ", number);
  }
}

inline bool starts_with(std::span<const std::byte> bytes, std::string_view prefix) {
  return bytes.size() >= prefix.size() && std::memcmp(bytes.data(), prefix.data(), prefix.size()) == 0;
}

}  // namespace detail

/// True if the bytes start like a gzip stream (RFC 1952).
inline bool is_gzip(std::span<const std::byte> bytes) { return detail::starts_with(bytes, "\x1f\x8b"); }

/// Explains files that are not what their name says: a Git LFS pointer, a web page, an empty file.
/// **Throws** DataError; `needed` names the format in the message ("a safetensors file").
inline void refuse_stub(std::span<const std::byte> bytes, std::string_view where, std::string_view needed) {
  if (bytes.empty()) {
    throw DataError(str(where, ": found an empty file, needed ", needed, "; fetch it again"));
  }
  if (detail::starts_with(bytes, "version https://git-lfs")) {
    throw DataError(str(where, ": found a Git LFS pointer (", bytes.size(), " bytes), needed ", needed,
                        "; run 'git lfs pull' in that folder"));
  }
  std::string head;
  for (const std::byte b : bytes.first(std::min<std::size_t>(bytes.size(), 64))) {
    const char c = static_cast<char>(b);
    if (!head.empty() || (c != ' ' && c != '\n' && c != '\r' && c != '\t')) {
      head += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    }
  }
  if (head.starts_with("<!doctype html") || head.starts_with("<html")) {
    throw DataError(str(where, ": found an HTML page, needed ", needed,
                        "; the download saved an error or log-in page: fetch the file itself"));
  }
}

/// Something that grows, a pipe or a terminal cannot be read as a file; nor can more than this.
struct ReadLimits {
  std::uint64_t bytes = std::numeric_limits<std::uint64_t>::max();
};

/// The whole content of a regular file.
/// **Throws** IoError naming path and cause; OutOfMemory naming the size.
inline std::vector<std::byte> read_file(const std::string& path, ReadLimits limits = {}) {
  const auto fail = [&](std::string_view found, std::string_view remedy) {
    throw IoError(str(path, ": ", found, ", needed a readable file; ", remedy));
  };
  // Without O_NONBLOCK, opening a pipe that nobody writes to would wait for ever.
  detail::FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.open()) fail(detail::error_text(errno), "check the path");
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) fail(detail::error_text(errno), "check the path");
  if (S_ISDIR(info.st_mode)) fail("found a folder", "name a file in it");
  if (!S_ISREG(info.st_mode)) fail("found a pipe, socket or device", "copy its content into a file first");

  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size > limits.bytes) {
    fail(str("found ", size, " bytes, limit ", limits.bytes, " (ReadLimits::bytes)"),
         "raise the limit if you trust the file");
  }
  std::vector<std::byte> bytes;
  try {
    bytes.resize(static_cast<std::size_t>(size));
  } catch (const std::exception&) {
    throw OutOfMemory(
        str(path, ": found no memory for its ", size, " bytes; close other programs or use a larger machine"));
  }
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(detail::error_text(errno), "check the device");
    if (n == 0)
      fail(str("it shrank from ", size, " to ", done, " bytes while being read"), "wait until its writer is done");
    done += static_cast<std::size_t>(n);
  }
  return bytes;
}

}  // namespace espalier
