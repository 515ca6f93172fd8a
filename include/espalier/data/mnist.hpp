// SPDX-License-Identifier: Apache-2.0
// MNIST and Fashion-MNIST: 60,000 training and 10,000 test images of 28 x 28, one channel, ten classes,
// in four IDX files of the same names. Needs zlib.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <espalier/data/dataset.hpp>
#include <espalier/data/folder.hpp>
#include <espalier/data/idx_gz.hpp>
#include <espalier/error.hpp>

namespace espalier::data {

namespace detail {

struct IdxCollection {
  std::string_view name;
  std::string_view remedy;
  std::optional<bool> balanced{};  // 6,000 training images in each class: Fashion-MNIST is, MNIST is not
  std::vector<std::string> class_names{};
};

inline IdxCollection mnist_collection() {
  return {
      "MNIST",
      "put the official files train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and "
      "t10k-labels-idx1-ubyte.gz into one folder and name it with --data",
      false,
      {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}};
}
inline IdxCollection fashion_mnist_collection() {
  return {
      "Fashion-MNIST",
      "on Debian run 'apt install dataset-fashion-mnist'; elsewhere put the official files train-images-idx3-ubyte.gz, "
      "train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz into one folder and name it "
      "with --data",
      true,
      {"t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"}};
}

inline std::string idx_path(const std::string& folder, std::string_view part, std::string_view what,
                            const IdxCollection& collection) {
  for (const char dot : {'-', '.'}) {
    for (const std::string_view suffix : {"", ".gz"}) {
      const std::string path = str(folder, "/", part, what.substr(0, 7), dot, what.substr(8), "-ubyte", suffix);
      if (exists(path)) return path;
    }
  }
  throw IoError(str(folder, ": found no ", part, what, "-ubyte, with or without .gz, needed the IDX files of ",
                    collection.name, "; ", collection.remedy));
}

inline ImageSet idx_part(const std::string& folder, std::string_view part, std::string_view label,
                         const IdxCollection& collection) {
  ImageSet set = image_set(read_idx(idx_path(folder, part, "-images-idx3", collection)),
                           read_idx(idx_path(folder, part, "-labels-idx1", collection)), 10);
  set.name = str(collection.name, " ", label);
  set.source = folder;
  set.class_names = collection.class_names;
  return set;
}

inline std::string idx_folder(const std::string& option) {
  return folder_holding(option, {"", "mnist", "fashion-mnist", "MNIST/raw", "FashionMNIST/raw"},
                        {"train-images-idx3-ubyte.gz", "train-images-idx3-ubyte", "train-images.idx3-ubyte.gz",
                         "train-images.idx3-ubyte"});
}

inline bool is_balanced(const ImageSet& set) {
  const auto counts = set.class_counts();
  return std::all_of(counts.begin(), counts.end(), [&](Index n) { return n == counts[0]; });
}

inline TrainTest idx_collection(const std::string& option, const IdxCollection& collection) {
  const std::string folder = idx_folder(option);
  TrainTest sets{idx_part(folder, "train", "train", collection), idx_part(folder, "t10k", "test", collection)};
  if (sets.train.shape() != sets.test.shape()) {
    throw DataError(str(folder, ": training images are ", sets.train.h, " x ", sets.train.w, ", test images ",
                        sets.test.h, " x ", sets.test.w, ", needed one size; the files do not belong together"));
  }
  if (sets.train.count == 60000 && collection.balanced && is_balanced(sets.train) != *collection.balanced) {
    throw DataError(str(folder, ": found ", sets.train.class_counts()[0], " training images of class 0, needed ",
                        *collection.balanced ? 6000 : 5923, " for ", collection.name,
                        "; these files, of the same names, are of another data set: name the right folder"));
  }
  return sets;
}

}  // namespace detail

/// Reads the handwritten digits from a folder, or from its subfolder mnist or MNIST/raw.
/// **Throws** IoError or DataError naming file, cause and remedy.
/// **Paper** LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.
inline TrainTest mnist(const std::string& folder) { return detail::idx_collection(folder, detail::mnist_collection()); }

/// Reads the pictures of clothes from a folder, or from its subfolder fashion-mnist or FashionMNIST/raw.
/// **Throws** IoError or DataError naming file, cause and remedy.
/// **Paper** Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
/// algorithms", 2017.
inline TrainTest fashion_mnist(const std::string& folder) {
  return detail::idx_collection(folder, detail::fashion_mnist_collection());
}

/// Reads whichever of the two the folder holds. Their files have the same names; the labels tell them apart: of 60,000,
/// Fashion-MNIST has 6,000 of each class, MNIST 5,923 of the first. The set's name says which it is, or "IDX images".
/// **Throws** IoError or DataError naming file, cause and remedy.
inline TrainTest mnist_or_fashion_mnist(const std::string& folder) {
  TrainTest sets = detail::idx_collection(folder, {.name = "IDX images", .remedy = detail::mnist_collection().remedy});
  if (sets.train.count != 60000) return sets;
  if (detail::is_balanced(sets.train)) return fashion_mnist(folder);
  return sets.train.class_counts()[0] == 5923 ? mnist(folder) : sets;
}

/// The folder that --data names, else the one of Debian's package. **Throws** IoError with the remedy.
inline Folder find_fashion_mnist(const std::string& option) {
  return find_data(option, {{"/usr/share/datasets/fashion-mnist", "Debian package dataset-fashion-mnist"}},
                   detail::fashion_mnist_collection().remedy);
}
inline Folder find_mnist(const std::string& option) { return find_data(option, {}, detail::mnist_collection().remedy); }

}  // namespace espalier::data
