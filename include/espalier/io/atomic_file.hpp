// SPDX-License-Identifier: Apache-2.0
// Writes a whole file so that, whenever the machine stops, the path holds the old content or the new
// and never a part: a temporary file beside it, fsync, rename, fsync of the folder. Pillai et al.,
// "All file systems are not created equal", OSDI 2014, shows why each step is there.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include <espalier/error.hpp>
#include <espalier/io/read_file.hpp>

namespace espalier {

namespace detail {

/// The folder part of a path; "." if it has none.
inline std::string folder_of(const std::string& path) {
  const auto slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// Removes a file unless told that it has been renamed.
struct TemporaryFile {
  std::string path;
  bool kept = false;
  explicit TemporaryFile(std::string p) : path(std::move(p)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!kept) ::unlink(path.c_str());
  }
};

inline std::string in_units(std::uint64_t bytes) {
  if (bytes < 10'000) return str(bytes, " bytes");
  if (bytes < 10'000'000) return str(bytes / 1000, " kB");
  return str(bytes / 1'000'000, " MB");
}

}  // namespace detail

/// Replaces the content of `path` by the concatenation of `chunks`, wholly or not at all. An existing
/// file keeps its permissions; a symbolic link is replaced, not followed.
/// **Throws** IoError with the cause; the previous content is then intact and no temporary file is left.
inline void write_file_atomically(const std::string& path, std::span<const std::span<const std::byte>> chunks) {
  const auto fail = [&](std::string_view what, int number, std::string_view remedy) {
    throw IoError(str(path, ": ", what, ": ", detail::error_text(number), "; ", remedy,
                      ". A file that was there before is intact"));
  };
  const std::string folder = detail::folder_of(path);
  std::uint64_t size = 0;
  for (const auto chunk : chunks) size += chunk.size();

  struct statvfs space {};
  if (::statvfs(folder.c_str(), &space) != 0) fail(str("cannot use folder ", folder), errno, "create it first");
  const std::uint64_t free_bytes = std::uint64_t{space.f_bavail} * space.f_frsize;
  if (space.f_blocks != 0 && free_bytes < size) {  // some network file systems report no blocks at all
    throw IoError(str(path, ": no space: need ", detail::in_units(size), ", ", detail::in_units(free_bytes),
                      " free in ", folder, "; free some or write elsewhere. A file that was there before is intact"));
  }
  struct stat old {};
  const bool replaces = ::stat(path.c_str(), &old) == 0;
  if (replaces && S_ISDIR(old.st_mode)) fail("cannot write", EISDIR, "name a file in it");
  const mode_t mode = replaces ? old.st_mode & 0777 : 0666;

  // The process id keeps two writers apart; a left-over of a killed one is passed over.
  std::string name;
  int fd = -1;
  for (int attempt = 0; attempt < 100 && fd < 0; ++attempt) {
    name = str(path, ".", static_cast<long>(::getpid()), ".", attempt, ".tmp");
    fd = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0 && errno != EEXIST) fail(str("cannot create ", name), errno, "check the folder and its permissions");
  }
  if (fd < 0) fail(str("cannot create ", name), EEXIST, "remove the old .tmp files beside it");
  detail::FileDescriptor file(fd);
  detail::TemporaryFile temporary(name);
  if (replaces) static_cast<void>(::fchmod(fd, mode));  // the umask has narrowed it; refusal is harmless

  for (auto chunk : chunks) {
    while (!chunk.empty()) {
      const ssize_t n = ::write(fd, chunk.data(), chunk.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail("cannot write", errno, str("it needs ", detail::in_units(size)));
      chunk = chunk.subspan(static_cast<std::size_t>(n));
    }
  }
  if (::fsync(fd) != 0) fail("cannot flush to the device", errno, "check the device");
  if (const int number = file.close()) fail("cannot close", number, "check the device");

  if (::rename(name.c_str(), path.c_str()) != 0) {
    const int number = errno;
    if (number == ENOSYS || number == EPERM || number == EXDEV || number == EOPNOTSUPP) {
      fail("this file system cannot rename, so a file cannot be replaced safely", number,
           "write to a local disk and copy the result");
    }
    fail("cannot rename the finished file", number, "check the folder and its permissions");
  }
  temporary.kept = true;

  // Without this, a power cut could bring the old name back. Some file systems refuse to sync folders.
  detail::FileDescriptor parent(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent.open() && ::fsync(parent.get()) != 0 && errno != EINVAL && errno != ENOSYS && errno != EROFS) {
    throw IoError(str(path, ": written, but its folder cannot be flushed: ", detail::error_text(errno),
                      "; check the device before trusting the file after a power cut"));
  }
}

inline void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  write_file_atomically(path, std::span<const std::span<const std::byte>>(&bytes, 1));
}
inline void write_file_atomically(const std::string& path, std::string_view text) {
  write_file_atomically(path, std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace espalier
