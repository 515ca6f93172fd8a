// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <csignal>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include <espalier/io/atomic_file.hpp>
#include <espalier/io/read_file.hpp>
#include "io/scratch.hpp"

using espalier::DataError;
using espalier::IoError;
using espalier::read_file;
using espalier::refuse_stub;
using espalier::write_file_atomically;
using espalier::test::Bytes;
using espalier::test::bytes_of;
using espalier::test::ScratchFolder;

TEST_CASE("a file is written, replaced and read back, and nothing else is left in the folder") {
  const ScratchFolder folder;
  const std::string path = folder / "a";
  write_file_atomically(path, "first");
  CHECK(read_file(path) == bytes_of("first"));
  write_file_atomically(path, std::string(3'000'000, 'x'));
  CHECK(read_file(path).size() == 3'000'000);
  write_file_atomically(path, "");
  CHECK(read_file(path).empty());
  const std::span<const std::byte> none,
      parts[] = {std::as_bytes(std::span("ab", 2)), none, std::as_bytes(std::span("c", 1))};
  write_file_atomically(path, std::span<const std::span<const std::byte>>(parts));
  CHECK(read_file(path) == bytes_of("abc"));
  CHECK(folder.entries() == 1);
}

TEST_CASE("permissions of a replaced file are kept, and a symbolic link is replaced, not followed") {
  const ScratchFolder folder;
  const std::string path = folder.file("a", bytes_of("old"));
  ::chmod(path.c_str(), 0640);
  write_file_atomically(path, "new");
  struct stat info {};
  ::stat(path.c_str(), &info);
  CHECK((info.st_mode & 0777) == 0640);
  std::filesystem::create_symlink(path, folder / "link");
  write_file_atomically(folder / "link", "other");
  CHECK(read_file(path) == bytes_of("new"));
  CHECK_FALSE(std::filesystem::is_symlink(folder / "link"));
}

TEST_CASE("a failure leaves the old content and no temporary file, and says so") {
  const ScratchFolder folder;
  CHECK_REFUSED(IoError, "no such file or folder; create it first", write_file_atomically(folder / "absent/a", "x"));
  CHECK_REFUSED(IoError, "it is a folder", write_file_atomically(folder.path(), "x"));
  CHECK_REFUSED(IoError, "a part of its path is not a folder", write_file_atomically(folder.file("f", {}) + "/a", "x"));
  const std::string path = folder.file("a", bytes_of("old"));

  // In a child, so that the limit on file sizes does not outlive the test.
  const pid_t child = ::fork();
  if (child == 0) {
    std::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit { 1000, 1000 };
    ::setrlimit(RLIMIT_FSIZE, &limit);
    int status = 1;
    try {
      write_file_atomically(path, std::string(5000, 'x'));
    } catch (const IoError& e) {
      const std::string message = e.what();
      const bool explained = message.find("size limit") != std::string::npos &&
                             message.find("A file that was there before is intact") != std::string::npos;
      status = explained ? 0 : 2;
    } catch (...) {
      status = 3;
    }
    ::_exit(status);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(read_file(path) == bytes_of("old"));
  CHECK(folder.entries() == 2);
}

TEST_CASE("the temporary file of a killed writer does not stop the next one") {
  const ScratchFolder folder;
  folder.file(espalier::str("a.", static_cast<long>(::getpid()), ".0.tmp"), bytes_of("torn"));
  write_file_atomically(folder / "a", "whole");
  CHECK(read_file(folder / "a") == bytes_of("whole"));
}

TEST_CASE("what cannot be read is named with its cause") {
  const ScratchFolder folder;
  CHECK_REFUSED(IoError, "no such file or folder, needed a readable file", read_file(folder / "absent"));
  CHECK_REFUSED(IoError, "found a folder", read_file(folder.path()));
  ::mkfifo((folder / "pipe").c_str(), 0600);
  CHECK_REFUSED(IoError, "found a pipe", read_file(folder / "pipe"));
  CHECK_REFUSED(IoError, "found a pipe, socket or device", read_file("/dev/null"));
  std::filesystem::create_symlink("loop", folder / "loop");
  CHECK_REFUSED(IoError, "form a loop", read_file(folder / "loop"));
  const std::string path = folder.file("a", bytes_of("12345"));
  CHECK_REFUSED(IoError, "found 5 bytes, limit 4 (ReadLimits::bytes)", read_file(path, {.bytes = 4}));
  CHECK(read_file(path, {.bytes = 5}).size() == 5);
  if (::geteuid() != 0) {
    ::chmod(path.c_str(), 0);
    CHECK_REFUSED(IoError, "permission denied", read_file(path));
  }
}

TEST_CASE("stand-ins for files are recognised, and real content is let through") {
  const auto check = [](std::string_view content) { refuse_stub(bytes_of(content), "m", "a safetensors file"); };
  CHECK_REFUSED(DataError, "m: found an empty file, needed a safetensors file", check(""));
  CHECK_REFUSED(DataError, "Git LFS pointer (35 bytes)", check("version https://git-lfs.github.com/"));
  CHECK_REFUSED(DataError, "HTML page", check("\r\n\t<!DocType HTML>"));
  CHECK_REFUSED(DataError, "HTML page", check("<html lang=en>"));
  check("<h");
  check("version 1");
  check(std::string(100, ' '));
  CHECK(espalier::is_gzip(bytes_of("\x1f\x8b\x08")));
  CHECK_FALSE(espalier::is_gzip(bytes_of("\x1f")));
}
