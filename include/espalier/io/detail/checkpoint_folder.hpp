// SPDX-License-Identifier: Apache-2.0
// The folder that checkpoints live in: ckpt.<step>.safetensors, the newest named by `latest`.
#pragma once

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include <espalier/backend/geometry.hpp>
#include <espalier/io/atomic_file.hpp>

namespace espalier::detail {

struct CheckpointName {
  Index step = 0;
  std::string path;
};

inline std::string checkpoint_name(Index step) { return str("ckpt.", step, ".safetensors"); }

/// The number that `text` is wholly, or -1.
inline Index whole_number(std::string_view text) {
  Index number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && number >= 0 ? number : -1;
}

/// f(name) for everything in a folder; nothing if there is no folder.
template <class F>
void for_each_name(const std::string& folder, F f) {
  DIR* open = ::opendir(folder.c_str());
  if (open == nullptr) {
    if (errno == ENOENT) return;
    throw IoError(str(folder, ": cannot list: ", error_text(errno), "; check the folder and its permissions"));
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(open)) names.emplace_back(entry->d_name);
  ::closedir(open);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) f(std::string_view(name));
}

/// The checkpoints of a folder, newest first.
inline std::vector<CheckpointName> checkpoints_in(const std::string& folder) {
  constexpr std::string_view before = "ckpt.", after = ".safetensors";
  std::vector<CheckpointName> found;
  for_each_name(folder, [&](std::string_view name) {
    if (name.size() <= before.size() + after.size() || !name.starts_with(before) || !name.ends_with(after)) return;
    const Index step = whole_number(name.substr(before.size(), name.size() - before.size() - after.size()));
    if (step >= 0) found.push_back({step, str(folder, '/', name)});
  });
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return found;
}

/// Makes a folder and those above it.
inline void make_folder(const std::string& folder) {
  for (std::size_t end = 0; end != std::string::npos;) {
    end = folder.find('/', end + 1);
    const std::string part = folder.substr(0, end);
    if (::mkdir(part.c_str(), 0777) != 0 && errno != EEXIST && errno != EISDIR)
      throw IoError(str(part, ": cannot make the folder: ", error_text(errno), "; name one that can be written"));
  }
}

/// Removes what writers that were killed left behind: ckpt.*.<process>.<n>.tmp of processes that are gone.
inline void remove_leftovers(const std::string& folder) {
  for_each_name(folder, [&](std::string_view name) {
    if (!name.ends_with(".tmp") || !(name.starts_with("ckpt.") || name.starts_with("latest."))) return;
    std::string_view rest = name.substr(0, name.size() - 4);
    rest = rest.substr(0, rest.rfind('.'));
    const Index process = whole_number(rest.substr(rest.rfind('.') + 1));
    if (process > 0 && process != ::getpid() && ::kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH) ::unlink(str(folder, '/', name).c_str());
  });
}

}  // namespace espalier::detail
