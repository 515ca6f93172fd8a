// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "io/gzip_maker.hpp"
#include "io/scratch.hpp"
#include "common/skip.hpp"
#include <espalier/data/mnist.hpp>

using espalier::DataError;
using espalier::Index;
using espalier::IoError;
using espalier::test::Bytes;
using espalier::test::ScratchFolder;
using namespace espalier::data;

namespace {

Bytes idx(std::vector<std::uint32_t> extents, unsigned value) {
  Bytes out = {std::byte{0}, std::byte{0}, std::byte{8}, static_cast<std::byte>(extents.size())};
  std::size_t n = 1;
  for (const std::uint32_t e : extents) {
    for (const int shift : {24, 16, 8, 0}) out.push_back(static_cast<std::byte>(e >> shift));
    n *= e;
  }
  out.resize(out.size() + n, static_cast<std::byte>(value));
  return out;
}

std::pair<double, double> mean_and_deviation(const ImageSet& set) {
  double sum = 0, squares = 0;
  for (const std::uint8_t p : set.pixels) {
    sum += p / 255.0;
    squares += p / 255.0 * (p / 255.0);
  }
  const auto n = static_cast<double>(set.pixels.size());
  return {sum / n, std::sqrt(squares / n - sum / n * (sum / n))};
}

}  // namespace

TEST_CASE("the four files are found plain or packed, dashed or dotted") {
  const ScratchFolder folder;
  folder.file("train-images-idx3-ubyte.gz", espalier::test::gzip(idx({3, 2, 2}, 9)));
  folder.file("train-labels.idx1-ubyte", idx({3}, 1));
  folder.file("t10k-images.idx3-ubyte.gz", idx({1, 2, 2}, 8));  // plain, in spite of its name
  CHECK_REFUSED(IoError,
                "found no t10k-labels-idx1-ubyte, with or without .gz, needed the IDX files of Fashion-MNIST; on "
                "Debian run 'apt install",
                fashion_mnist(folder.path()));
  folder.file("t10k-labels-idx1-ubyte", espalier::test::gzip(idx({1}, 4)));  // packed, in spite of its name
  const TrainTest sets = fashion_mnist(folder.path());
  CHECK(sets.train.count == 3);
  CHECK(sets.train.pixels == std::vector<std::uint8_t>(12, 9));
  CHECK(mnist_or_fashion_mnist(folder.path()).train.name == "IDX images train");  // three images are of neither
  CHECK(sets.test.labels == std::vector<std::int32_t>{4});
  CHECK(sets.train.name == "Fashion-MNIST train");
  CHECK(sets.test.source == folder.path());
  CHECK(sets.test.class_names[9] == "ankle boot");
  folder.file("t10k-images.idx3-ubyte.gz", idx({1, 2, 3}, 8));
  CHECK_REFUSED(DataError, "needed one size", fashion_mnist(folder.path()));
}

TEST_CASE("a packed file that holds more than its header says is refused") {
  const ScratchFolder folder;
  Bytes long_tail = idx({10}, 0);
  long_tail.resize(20'000'000);
  CHECK_REFUSED(DataError, "more than the 18 bytes", read_idx(folder.file("a", espalier::test::gzip(long_tail))));
  CHECK_REFUSED(DataError, "needs 10 bytes, 9 are left",
                read_idx(folder.file("b", espalier::test::gzip(std::span(long_tail).first(17)))));
  CHECK_REFUSED(DataError, "the magic number",
                read_idx(folder.file("c", espalier::test::gzip(std::span(long_tail).first(2)))));
  Bytes cut = espalier::test::gzip(idx({1000}, 3));
  cut.resize(cut.size() - 9);
  CHECK_REFUSED(DataError, "cut short", read_idx(folder.file("d", cut)));
  CHECK_REFUSED(IoError, "no such file", read_idx(folder / "absent"));
}

TEST_CASE("--data wins over the package's folder, and the choice can be printed") {
  const ScratchFolder folder;
  const Folder chosen = find_fashion_mnist(folder.path());
  CHECK(chosen.path == folder.path());
  CHECK(chosen.reason == "--data");
  CHECK_REFUSED(IoError, "found nothing, needed a folder", find_fashion_mnist(folder / "absent"));
  CHECK_REFUSED(IoError, "found a file, needed a folder", find_fashion_mnist(folder.file("f", {})));
  CHECK_REFUSED(IoError, "found no folder, needed one", find_mnist(""));
  CHECK_REFUSED(IoError, "found no folder among /nowhere/else, needed one that holds the data set; do this",
                find_data("", {{"/nowhere/else", "r"}}, "do this"));
  CHECK(find_data("", {{"/nowhere/else", "r"}, {folder.path(), "second"}}, "").reason == "second");
}

TEST_CASE("the real MNIST has the class counts, mean and deviation that are published") {
  const auto folder = espalier::test::data_folder("mnist");
  if (!folder) return;
  const TrainTest sets = mnist(*folder);
  CHECK(sets.train.count == 60000);
  CHECK(sets.train.shape() == ImageShape{28, 28, 1});
  CHECK(sets.train.class_counts() == std::vector<Index>{5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949});
  CHECK(sets.test.class_counts() == std::vector<Index>{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009});
  const auto [mean, deviation] = mean_and_deviation(sets.train);
  CHECK(std::abs(mean - 0.13066) < 5e-6);
  CHECK(std::abs(deviation - 0.30811) < 5e-6);
  CHECK(mnist(folder->parent_path()).test == mnist(*folder).test);
  CHECK(mnist_or_fashion_mnist(*folder).train == sets.train);
  CHECK_REFUSED(DataError, "another data set", fashion_mnist(*folder));
}

TEST_CASE("the real Fashion-MNIST of the Debian package is balanced and has its known mean") {
  Folder folder;
  try {
    folder = find_fashion_mnist("");
  } catch (const IoError& e) {
    espalier::test::skip(e.what());
    return;
  }
  const TrainTest sets = fashion_mnist(folder.path);
  CHECK(sets.train.count == 60000);
  CHECK(sets.test.count == 10000);
  CHECK(sets.train.class_counts() == std::vector<Index>(10, 6000));
  CHECK(sets.test.class_counts() == std::vector<Index>(10, 1000));
  const auto [mean, deviation] = mean_and_deviation(sets.train);
  CHECK(std::abs(mean - 0.2860) < 5e-5);
  CHECK(std::abs(deviation - 0.3530) < 5e-5);
  CHECK_REFUSED(DataError, "another data set", mnist(folder.path));
}
