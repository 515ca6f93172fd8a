// SPDX-License-Identifier: Apache-2.0
// Where data sets lie: what the user said, or else the folders that a distribution's package would
// use. The choice is returned so that it can be printed. Nothing is ever fetched.
#pragma once

#include <sys/stat.h>

#include <initializer_list>
#include <string>
#include <string_view>

#include <espalier/error.hpp>

namespace espalier::data {

/// A folder and the reason it was chosen.
struct Folder {
  std::string path;
  std::string reason;  // "--data", "Debian package dataset-fashion-mnist"
};

namespace detail {

inline bool is_folder(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}
inline bool exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

/// The first of `subfolders` of `folder` that holds one of `files`; `folder` itself if none does.
inline std::string folder_holding(const std::string& folder, std::initializer_list<std::string_view> subfolders,
                                  std::initializer_list<std::string_view> files) {
  for (const std::string_view sub : subfolders) {
    const std::string candidate = sub.empty() ? folder : str(folder, "/", sub);
    for (const std::string_view file : files) {
      if (exists(str(candidate, "/", file))) return candidate;
    }
  }
  return folder;
}

}  // namespace detail

/// The folder the user named in `option`, or, if that is empty, the first candidate that exists.
/// **Throws** IoError if there is none; `remedy` ends its message.
inline Folder find_data(const std::string& option, std::initializer_list<Folder> candidates, std::string_view remedy) {
  if (!option.empty()) {
    if (detail::is_folder(option)) return {option, "--data"};
    throw IoError(
        str(option, ": found ", detail::exists(option) ? "a file" : "nothing", ", needed a folder of data; ", remedy));
  }
  std::string tried;
  for (const Folder& candidate : candidates) {
    if (detail::is_folder(candidate.path)) return candidate;
    tried += str(tried.empty() ? "" : ", ", candidate.path);
  }
  throw IoError(str("data: found no folder", tried.empty() ? "" : " among ", tried,
                    ", needed one that holds the data set; ", remedy));
}

}  // namespace espalier::data
