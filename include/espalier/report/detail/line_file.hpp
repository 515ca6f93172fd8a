// SPDX-License-Identifier: Apache-2.0
// A text file that grows by whole lines, each handed to the system at once: after a kill, every line that was
// written is there, and at most the last one is cut short. Resuming removes what is past a step, atomically.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "espalier/error.hpp"
#include "espalier/io/atomic_file.hpp"
#include "espalier/io/read_file.hpp"

namespace espalier {

/// What to do where a file is there already.
enum class Existing { refuse, replace };

namespace detail {

class LineFile {
 public:
  /// An empty file. Throws IoError where it cannot be made, or exists and may not be replaced.
  static LineFile create(std::string path, Existing existing) {
    if (existing == Existing::replace) write_file_atomically(path, std::string_view());
    const int flags = existing == Existing::refuse ? O_CREAT | O_EXCL : 0;
    return LineFile(std::move(path), flags);
  }
  /// A file that is there.
  static LineFile append(std::string path) { return LineFile(std::move(path), 0); }

  /// Adds one line, which must not contain a line end.
  void line(std::string text) {
    text += '\n';
    for (std::string_view rest = text; !rest.empty();) {
      const ssize_t written = ::write(file_.get(), rest.data(), rest.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0)
        throw IoError(str(path_, ": a line could not be added: ", error_text(errno), "; room for ", text.size(),
                          " bytes is needed. Free some and resume."));
      rest.remove_prefix(static_cast<std::size_t>(written));
    }
  }

  /// Waits until all lines are on the device: a power cut then leaves them there. Call with a checkpoint.
  void sync() {
    if (::fsync(file_.get()) != 0 && errno != EINVAL && errno != EROFS) {
      throw IoError(str(path_, ": the lines could not be flushed to the device: ", error_text(errno),
                        "; a working device is needed. Check it and resume."));
    }
  }

  const std::string& path() const { return path_; }

 private:
  LineFile(std::string path, int flags)
      : path_(std::move(path)), file_(::open(path_.c_str(), flags | O_WRONLY | O_APPEND | O_CLOEXEC, 0666)) {
    if (file_.open()) return;
    if (errno == EEXIST)
      throw IoError(str(path_,
                        ": found a file of an earlier run; a new one is needed. Resume that run, choose another "
                        "folder, or allow it to be replaced."));
    throw IoError(str(path_, ": cannot be opened for writing: ", error_text(errno),
                      "; a writable file is needed. Check the path and its permissions."));
  }

  std::string path_;
  FileDescriptor file_;
};

/// The complete lines of a file, without their ends. A last line without an end was cut short and is left out.
inline std::vector<std::string> complete_lines(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path);
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<std::string> lines;
  for (std::size_t end; (end = text.find('\n')) != std::string_view::npos; text.remove_prefix(end + 1))
    lines.emplace_back(text.substr(0, end));
  return lines;
}

/// Rewrites the file to its header and to those complete lines whose step is at most `step`.
/// `step_of(line, number)` reads a line's step and throws for a line that is damaged; lines count from 1.
template <class StepOf>
void keep_lines_until(const std::string& path, const std::vector<std::string>& lines, std::int64_t step,
                      StepOf&& step_of) {
  std::string kept = lines.front() + '\n';
  for (std::size_t i = 1; i < lines.size(); ++i) {
    if (step_of(lines[i], i + 1) <= step) kept += lines[i] + '\n';
  }
  write_file_atomically(path, kept);
}

}  // namespace detail
}  // namespace espalier
