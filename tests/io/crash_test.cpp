// SPDX-License-Identifier: Apache-2.0
// Kills or fails an atomic write at every one of its system calls. The executable's own write, fsync and
// so on come before the C library's, count, and act at the chosen one.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <espalier/io/atomic_file.hpp>
#include "io/scratch.hpp"

namespace {

enum class Fault { none, kill_before, kill_after, fail, half };
Fault fault = Fault::none;
int calls_left = -1;  // until the fault; below 0 for never
int calls_seen = 0;
int fault_errno = 0;
unsigned long blocks_free = 1000;

template <class Call>
long counted(Call call) {
  if (fault == Fault::none) return call();
  ++calls_seen;
  if (--calls_left != 0) return call();
  if (fault == Fault::kill_before) ::_exit(9);
  if (fault == Fault::fail) {
    errno = fault_errno;
    return -1;
  }
  const long result = call();
  if (fault == Fault::kill_after) ::_exit(9);
  return result;
}

}  // namespace

extern "C" {
ssize_t write(int fd, const void* data, std::size_t size) {
  if (fault == Fault::half && size > 1) size /= 2;  // short writes are legal
  return counted([&] { return ::syscall(SYS_write, fd, data, size); });
}
int fsync(int fd) {
  return static_cast<int>(counted([&] { return ::syscall(SYS_fsync, fd); }));
}
int statvfs(const char*, struct statvfs* space) noexcept {
  *space = {};
  space->f_frsize = 4096;
  space->f_blocks = 1'000'000;
  space->f_bavail = blocks_free;
  return 0;
}
int rename(const char* from, const char* to) noexcept {
  return static_cast<int>(counted([&] { return ::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0); }));
}
}

using espalier::IoError;
using espalier::read_file;
using espalier::write_file_atomically;
using espalier::test::bytes_of;
using espalier::test::ScratchFolder;

namespace {

const std::string old_text(5000, 'o'), new_text(9000, 'n');

void write_new(const std::string& path) {
  const auto bytes = std::as_bytes(std::span(new_text.data(), new_text.size()));
  const std::span<const std::byte> chunks[] = {bytes.first(4000), bytes.subspan(4000, 1), bytes.subspan(4001)};
  write_file_atomically(path, std::span<const std::span<const std::byte>>(chunks));
}

void arm(Fault f, int at, int number = 0) {
  fault = f;
  calls_left = at;
  calls_seen = 0;
  fault_errno = number;
}

}  // namespace

TEST_CASE("killed before or after any of its calls, a write leaves the old or the new content") {
  arm(Fault::kill_after, -1);
  const ScratchFolder counting;
  write_new(counting / "a");
  const int calls = calls_seen;
  arm(Fault::none, -1);
  CHECK(calls == 6);  // three writes, fsync, rename, fsync of the folder

  int new_found = 0;
  for (const Fault kind : {Fault::kill_before, Fault::kill_after}) {
    for (int k = 1; k <= calls; ++k) {
      CAPTURE(k);
      const ScratchFolder folder;
      const std::string path = folder.file("a", bytes_of(old_text));
      const pid_t child = ::fork();
      if (child == 0) {
        arm(kind, k);
        write_new(path);
        ::_exit(0);
      }
      int status = 0;
      ::waitpid(child, &status, 0);
      CHECK(WEXITSTATUS(status) == 9);
      const auto content = read_file(path);
      const bool is_new = content == bytes_of(new_text);
      CHECK((is_new || content == bytes_of(old_text)));
      new_found += is_new ? 1 : 0;
      write_new(path);  // what the dead writer left does not disturb the next
      CHECK(read_file(path) == bytes_of(new_text));
    }
  }
  CHECK(new_found == 3);  // after the rename, and around the fsync of the folder
}

TEST_CASE("failing at any of its calls, a write says why, keeps the old content and leaves nothing behind") {
  const int numbers[] = {ENOSPC, EIO, EDQUOT};
  for (const int number : numbers) {
    for (int k = 1; k <= 5; ++k) {
      CAPTURE(k);
      const ScratchFolder folder;
      const std::string path = folder.file("a", bytes_of(old_text));
      std::string message;
      arm(Fault::fail, k, number);
      try {
        write_new(path);
      } catch (const IoError& e) {
        message = e.what();
      }
      arm(Fault::none, -1);
      CHECK(message.find(path + ": ") == 0);
      CHECK(message.find(espalier::detail::error_text(number)) != std::string::npos);
      CHECK(message.find("is intact") != std::string::npos);
      CHECK(read_file(path) == bytes_of(old_text));
      CHECK(folder.entries() == 1);
    }
  }
}

TEST_CASE("a file system that cannot rename is explained") {
  for (const int number : {ENOSYS, EPERM, EXDEV}) {
    const ScratchFolder folder;
    std::string message;
    arm(Fault::fail, 5, number);
    try {
      write_new(folder / "a");
    } catch (const IoError& e) {
      message = e.what();
    }
    arm(Fault::none, -1);
    CHECK(message.find("cannot rename, so a file cannot be replaced safely") != std::string::npos);
    CHECK(message.find("local disk") != std::string::npos);
    CHECK(folder.entries() == 0);
  }
}

TEST_CASE("interrupted and short writes are continued") {
  const ScratchFolder folder;
  arm(Fault::fail, 1, EINTR);
  write_new(folder / "a");
  arm(Fault::half, -1);
  write_new(folder / "b");
  arm(Fault::none, -1);
  CHECK(read_file(folder / "a") == bytes_of(new_text));
  CHECK(read_file(folder / "b") == bytes_of(new_text));
}

TEST_CASE("a folder that cannot be flushed is reported, but the file is there") {
  const ScratchFolder folder;
  std::string message;
  arm(Fault::fail, 6, EIO);
  try {
    write_new(folder / "a");
  } catch (const IoError& e) {
    message = e.what();
  }
  arm(Fault::fail, 6, EINVAL);  // some file systems have no such notion
  write_new(folder / "b");
  arm(Fault::none, -1);
  CHECK(message.find("its folder cannot be flushed") != std::string::npos);
  CHECK(read_file(folder / "a") == bytes_of(new_text));
  CHECK(read_file(folder / "b") == bytes_of(new_text));
}

TEST_CASE("too little space is told before anything is written") {
  const ScratchFolder folder;
  blocks_free = 2;  // 8192 bytes
  const std::string message = espalier::test::message_of<IoError>([&] { write_new(folder / "a"); });
  blocks_free = 1000;
  CHECK(message.find("no space: need 9000 bytes, 8192 bytes free in " + folder.path()) != std::string::npos);
  CHECK(folder.entries() == 0);
}
