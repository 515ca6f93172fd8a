// SPDX-License-Identifier: Apache-2.0
// How a test case says that it cannot run here. A program all of whose cases say so exits 77, which Meson
// counts as skipped rather than passed.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace espalier::test {

/// Prints "SKIP: <reason>". The caller returns from its test case afterwards.
void skip(std::string_view reason);

/// The folder `name` below the one that the environment variable ESPALIER_DATA names; empty, and said so, if there is none.
inline std::optional<std::filesystem::path> data_folder(std::string_view name) {
  const char* root = std::getenv("ESPALIER_DATA");
  if (root == nullptr) {
    skip("ESPALIER_DATA is not set; it should name the folder that holds '" + std::string{name} + "'");
    return std::nullopt;
  }
  auto folder = std::filesystem::path{root} / name;
  if (!std::filesystem::is_directory(folder)) {
    skip("ESPALIER_DATA holds no folder '" + std::string{name} + "'");
    return std::nullopt;
  }
  return folder;
}

/// The committed answers of other programs, tests/golden; empty, and said so, when started outside `meson test`.
inline std::optional<std::filesystem::path> golden_folder() {
  if (const char* folder = std::getenv("ESPALIER_GOLDEN")) return std::filesystem::path{folder};
  skip("ESPALIER_GOLDEN is not set; it should name tests/golden");
  return std::nullopt;
}

/// The folder of Debian's package dataset-fashion-mnist; empty, and said so, where it is not installed.
inline std::optional<std::filesystem::path> fashion_mnist_folder() {
  if (const char* folder = std::getenv("ESPALIER_FASHION_MNIST")) return std::filesystem::path{folder};
  skip("ESPALIER_FASHION_MNIST is not set; install dataset-fashion-mnist and configure the build again");
  return std::nullopt;
}

}  // namespace espalier::test
