// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "io/scratch.hpp"
#include <espalier/data/idx.hpp>

using espalier::DataError;
using espalier::test::Bytes;
using espalier::test::bytes_of;
using namespace espalier::data;

namespace {

Bytes idx(std::vector<unsigned> head, std::vector<std::uint32_t> extents, std::size_t values) {
  Bytes out;
  for (const unsigned b : head) out.push_back(static_cast<std::byte>(b));
  for (const std::uint32_t e : extents) {
    for (const int shift : {24, 16, 8, 0}) out.push_back(static_cast<std::byte>(e >> shift));
  }
  for (std::size_t i = 0; i < values; ++i) out.push_back(static_cast<std::byte>(i));
  return out;
}

IdxArray parsed(const Bytes& bytes) { return parse_idx(bytes, "x-ubyte"); }

}  // namespace

TEST_CASE("extents and values are read as they stand") {
  const auto images = parsed(idx({0, 0, 8, 3}, {2, 1, 3}, 6));
  CHECK(images.shape == std::vector<espalier::Index>{2, 1, 3});
  CHECK(images.values == std::vector<std::uint8_t>{0, 1, 2, 3, 4, 5});
  const auto labels = parsed(idx({0, 0, 8, 1}, {2}, 2));
  const ImageSet set = image_set(images, labels, 2);
  CHECK(set.count == 2);
  CHECK(set.shape() == ImageShape{1, 3, 1});
  CHECK(set.image(1)[0] == 3);
  CHECK(set.labels == std::vector<std::int32_t>{0, 1});
  CHECK(image_set(parsed(idx({0, 0, 8, 4}, {2, 1, 1, 3}, 6)), labels, 2).shape() == ImageShape{1, 1, 3});
}

TEST_CASE("a damaged IDX file is refused with offset and field") {
  CHECK_REFUSED(DataError, "empty file", parsed({}));
  CHECK_REFUSED(DataError, "Git LFS pointer", parsed(bytes_of("version https://git-lfs.github.com/spec/v1")));
  CHECK_REFUSED(DataError, "HTML page", parsed(bytes_of("<html><body>404</body></html>")));
  CHECK_REFUSED(DataError, "found gzip", parsed(bytes_of("\x1f\x8b\x08 and so on")));
  CHECK_REFUSED(DataError, "no IDX file", parsed(bytes_of("plain text of some kind")));
  for (const unsigned type : {0u, 7u, 9u, 0x0Eu, 0xFFu})
    CHECK_REFUSED(DataError, "the type", parsed(idx({0, 0, type, 1}, {1}, 1)));
  for (const unsigned rank : {0u, 5u, 255u})
    CHECK_REFUSED(DataError, "the rank", parsed(idx({0, 0, 8, rank}, std::vector<std::uint32_t>(rank, 1), 1)));
  const std::uint32_t most = 0xFFFFFFFF;
  CHECK_REFUSED(DataError, "overflows", parsed(idx({0, 0, 8, 3}, {most, most, most}, 6)));
  CHECK_REFUSED(DataError, "at offset 16, the values: needs 18446744065119617025 bytes",
                parsed(idx({0, 0, 8, 3}, {most, most, 1}, 6)));
  CHECK_REFUSED(DataError, "1 bytes after the end", parsed(idx({0, 0, 8, 3}, {2, 1, 3}, 7)));
  const Bytes whole = idx({0, 0, 8, 3}, {2, 1, 3}, 6);
  for (std::size_t n = 0; n < whole.size(); ++n) {
    CAPTURE(n);
    CHECK_THROWS_AS(parsed(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n))), DataError);
  }
  for (std::size_t bit = 0; bit < 16 * 8; ++bit) {
    Bytes flipped = whole;
    flipped[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    CAPTURE(bit);
    CHECK_THROWS_AS(parsed(flipped), DataError);
  }
}

TEST_CASE("images and labels must belong together") {
  const auto images = parsed(idx({0, 0, 8, 3}, {2, 1, 3}, 6));
  CHECK_REFUSED(DataError, "but 3 labels", image_set(images, parsed(idx({0, 0, 8, 1}, {3}, 3)), 10));
  CHECK_REFUSED(DataError, "swapped", image_set(parsed(idx({0, 0, 8, 1}, {2}, 2)), images, 10));
  CHECK_REFUSED(DataError, "swapped", image_set(images, images, 10));
  CHECK_REFUSED(DataError, "label 1, byte 9: found 1, needed less than 1",
                image_set(images, parsed(idx({0, 0, 8, 1}, {2}, 2)), 1));
  CHECK_REFUSED(DataError, "no images",
                image_set(parsed(idx({0, 0, 8, 3}, {0, 28, 28}, 0)), parsed(idx({0, 0, 8, 1}, {0}, 0)), 10));
}
