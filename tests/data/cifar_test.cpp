// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "io/scratch.hpp"
#include "common/skip.hpp"
#include <espalier/data/cifar.hpp>

using espalier::DataError;
using espalier::Index;
using espalier::IoError;
using espalier::test::Bytes;
using espalier::test::bytes_of;
using espalier::test::ScratchFolder;
using namespace espalier::data;

namespace {

// Records whose values tell where they were: red 1, green 2, blue 3, the first pixel +10.
Bytes records(std::vector<std::vector<unsigned>> labels) {
  Bytes out;
  for (const auto& label : labels) {
    for (const unsigned l : label) out.push_back(static_cast<std::byte>(l));
    for (unsigned c = 1; c <= 3; ++c) {
      out.push_back(static_cast<std::byte>(c + 10));
      out.resize(out.size() + 1023, static_cast<std::byte>(c));
    }
  }
  return out;
}

ImageSet parsed(const Bytes& bytes, const CifarFormat& format = cifar10_format) {
  ImageSet set{0, 32, 32, 3, {}, {}, format.classes, "", "", {}};
  append_cifar(bytes, format, "batch.bin", set);
  return set;
}

}  // namespace

TEST_CASE("planes become interleaved channels, and the fine label is the class of CIFAR-100") {
  const ImageSet ten = parsed(records({{3}, {9}}));
  CHECK(ten.count == 2);
  CHECK(ten.labels == std::vector<std::int32_t>{3, 9});
  CHECK(std::vector<std::uint8_t>(ten.pixels.begin(), ten.pixels.begin() + 6) ==
        std::vector<std::uint8_t>{11, 12, 13, 1, 2, 3});
  CHECK(ten.image(1)[3071] == 3);
  const ImageSet hundred = parsed(records({{19, 99}}), cifar100_format);
  CHECK(hundred.labels == std::vector<std::int32_t>{99});
  CHECK(hundred.image(0)[2] == 13);
}

TEST_CASE("a damaged batch is refused whole, with its cause") {
  const Bytes good = records({{3}, {9}});
  CHECK_REFUSED(DataError, "empty file", parsed({}));
  CHECK_REFUSED(DataError, "needed a multiple of 3073", parsed(Bytes(good.begin(), good.end() - 1)));
  CHECK_REFUSED(DataError, "needed a multiple of 3074", parsed(good, cifar100_format));
  CHECK_REFUSED(DataError, "at offset 3073, the label of record 1: found 10, needed less than 10",
                parsed(records({{3}, {10}})));
  CHECK_REFUSED(DataError, "the label of record 0: found 100", parsed(records({{1, 100}}), cifar100_format));
  CHECK_REFUSED(DataError, "Python pickle, needed the binary version; unpack cifar-10-binary.tar.gz",
                parsed(bytes_of("\x80\x02}q\x01U\x0b")));
  CHECK_REFUSED(DataError, "found gzip", parsed(bytes_of("\x1f\x8b\x08")));
  CHECK_REFUSED(DataError, "HTML page", parsed(bytes_of("<!DOCTYPE HTML>")));
  ImageSet set = parsed(good);
  const ImageSet before = set;
  CHECK_THROWS_AS(append_cifar(records({{1}, {77}}), cifar10_format, "b", set), DataError);
  CHECK(set == before);
}

TEST_CASE("a folder without the binary files says what it holds instead") {
  const ScratchFolder folder;
  CHECK_REFUSED(
      IoError,
      "found no test_batch.bin, needed the binary version of CIFAR-10; unpack the official cifar-10-binary.tar.gz",
      cifar10_test(folder.path()));
  folder.file("cifar-10-binary.tar.gz", bytes_of("x"));
  CHECK_REFUSED(IoError, "tar xf", cifar10_test(folder.path()));
  folder.file("test_batch", bytes_of("\x80\x02"));
  CHECK_REFUSED(IoError, "Python version", cifar10_test(folder.path()));
  folder.file("test_batch.med.xz", bytes_of("x"));
  CHECK_REFUSED(IoError, "xz -dc test_batch.med.xz | ./med2bin > test_batch.bin", cifar10_test(folder.path()));
  folder.file("cifar-10-batches-bin/test_batch.bin", records({{0}, {1}, {2}}));
  folder.file("cifar-10-batches-bin/batches.meta.txt", bytes_of("a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n"));
  const ImageSet set = cifar10_test(folder.path());
  CHECK(set.count == 3);
  CHECK(set.source == folder / "cifar-10-batches-bin");
  CHECK(set.name == "CIFAR-10 test");
  CHECK(set.class_names.at(9) == "j");
  folder.file("cifar-10-batches-bin/batches.meta.txt", bytes_of("a\nb\n"));
  CHECK_REFUSED(DataError, "found 2 class names, needed 10", cifar10_test(folder.path()));
  folder.file("train.bin", records({{0, 1}}));
  folder.file("test.bin", records({{0, 2}}));
  CHECK(cifar100(folder.path()).test.labels == std::vector<std::int32_t>{2});
}

TEST_CASE("the real CIFAR-10 has the class counts, means and deviations that are published") {
  const char* unpacked = std::getenv("ESPALIER_CIFAR10");
  if (unpacked == nullptr) {
    espalier::test::skip("ESPALIER_CIFAR10 is not set; it should name the folder of the unpacked CIFAR-10 batches");
    return;
  }
  const TrainTest sets = cifar10(unpacked);
  CHECK(sets.train.count == 50000);
  CHECK(sets.train.class_counts() == std::vector<Index>(10, 5000));
  CHECK(sets.test.class_counts() == std::vector<Index>(10, 1000));
  CHECK(subset(sets.train, 20000, 10000).class_counts() ==
        std::vector<Index>{994, 1042, 965, 997, 990, 1029, 978, 1015, 961, 1029});
  CHECK(sets.train.class_names.at(9) == "truck");
  const double means[] = {0.4914, 0.4822, 0.4465}, deviations[] = {0.2470, 0.2435, 0.2616};
  for (std::size_t c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (std::size_t i = c; i < sets.train.pixels.size(); i += 3) {
      const double p = sets.train.pixels[i] / 255.0;
      sum += p;
      squares += p * p;
    }
    const double n = 50000.0 * 1024, mean = sum / n;
    CHECK(std::abs(mean - means[c]) < 1e-4);
    CHECK(std::abs(std::sqrt(squares / n - mean * mean) - deviations[c]) < 1e-4);
  }
}
