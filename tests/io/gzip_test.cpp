// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "io/gzip_maker.hpp"
#include "io/scratch.hpp"
#include <espalier/io/gzip.hpp>

using espalier::DataError;
using espalier::gunzip;
using espalier::gunzip_front;
using espalier::test::Bytes;
using espalier::test::bytes_of;
using espalier::test::gzip;

namespace {

Bytes joined(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

TEST_CASE("what was packed is unpacked, however the bound lies") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{1000}, std::size_t{3'000'000}}) {
    Bytes content(size);
    std::uint32_t state = 7;
    for (auto& b : content) b = static_cast<std::byte>((state = state * 1664525 + 1013904223) >> 28);
    const Bytes packed = gzip(content);
    CHECK(gunzip(packed, size) == content);
    CHECK(gunzip(packed, size + 1) == content);
    CHECK(gunzip(packed, ~std::uint64_t{0}) == content);
    if (size > 0) CHECK_REFUSED(DataError, "unpacks to", gunzip(packed, size - 1));
    CHECK(gunzip_front(packed, 10) ==
          Bytes(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(size, 10))));
  }
}

TEST_CASE("two members are one file, and count together against the bound") {
  const Bytes two = joined(gzip(bytes_of("first ")), gzip(bytes_of("second")));
  CHECK(gunzip(two, 12) == bytes_of("first second"));
  CHECK_REFUSED(DataError, "unpacks to", gunzip(two, 11));
  CHECK_REFUSED(DataError, "unpacks to", gunzip(two, 6));
  CHECK(gunzip_front(two, 8) == bytes_of("first se"));
}

TEST_CASE("a stream that is cut short, changed or followed by anything is refused") {
  const Bytes packed = gzip(bytes_of("some text that is long enough to have a body, a body, a body"));
  for (std::size_t n = 0; n < packed.size(); ++n) {
    CAPTURE(n);
    CHECK_THROWS_AS(gunzip(std::span(packed).first(n), 1000), DataError);
  }
  CHECK_REFUSED(DataError, "cut short", gunzip(std::span(packed).first(packed.size() - 1), 1000, "x.gz"));
  CHECK_REFUSED(DataError, "4 bytes after the end", gunzip(joined(packed, bytes_of("tail")), 1000));
  CHECK_REFUSED(DataError, "1 bytes after the end", gunzip(joined(packed, Bytes(1)), 1000));
  CHECK_REFUSED(DataError, "no gzip magic number", gunzip(bytes_of("plain text"), 1000, "x.gz"));
  int refused = 0;
  for (std::size_t bit = 0; bit < packed.size() * 8; ++bit) {
    Bytes flipped = packed;
    flipped[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    try {
      const Bytes unpacked = gunzip(flipped, 1000);
      CHECK(unpacked == bytes_of("some text that is long enough to have a body, a body, a body"));
    } catch (const DataError&) {
      ++refused;
    }
  }
  CHECK(refused > 300);  // the checksum sees all but the free fields of the header
}

TEST_CASE("a small file that unpacks to much stops at the bound") {
  Bytes bomb = gzip(Bytes(50'000'000));
  CHECK(bomb.size() < 60'000);
  CHECK_REFUSED(DataError, "more than the 10 bytes", gunzip(bomb, 10, "bomb.gz"));
}
