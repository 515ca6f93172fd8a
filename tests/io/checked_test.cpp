// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstdint>

#include <espalier/io/checked.hpp>
#include "io/scratch.hpp"

namespace checked_test {

using espalier::CheckedSize;
using espalier::Cursor;
using espalier::DataError;

TEST_CASE("sums, products and alignment overflow visibly and for good") {
  const std::uint64_t most = ~std::uint64_t{0};
  CHECK((CheckedSize(most) + 0).value() == most);
  CHECK((CheckedSize(most) + 1).overflowed());
  CHECK((CheckedSize(1u << 31) * (1u << 31) * 4).overflowed());
  CHECK((CheckedSize(1u << 31) * (1u << 31) * 3).value() == std::uint64_t{3} << 62);
  CHECK((CheckedSize(most) * 2 * 0).overflowed());
  CHECK((CheckedSize(0) * most).value() == 0);
  CHECK(CheckedSize(-1).overflowed());
  CHECK(CheckedSize(13).aligned(8).value() == 16);
  CHECK(CheckedSize(16).aligned(8).value() == 16);
  CHECK(CheckedSize(most).aligned(8).overflowed());
  CHECK(CheckedSize(255).to<std::uint8_t>() == 255);
  CHECK_THROWS_AS(CheckedSize(256).to<std::uint8_t>(), DataError);
  CHECK_THROWS_AS((CheckedSize(most) + 1).value(), DataError);
}

TEST_CASE("a cursor reads little and big endian and never leaves its bytes") {
  const auto bytes = espalier::test::bytes_of("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11");
  Cursor cursor(bytes, "f.bin");
  CHECK(cursor.u8("a") == 0x01);
  CHECK(cursor.u16_le("b") == 0x0302);
  CHECK(cursor.u32_le("c") == 0x07060504);
  CHECK(cursor.u32_be("d") == 0x08090a0b);
  CHECK(cursor.offset() == 11);
  CHECK_REFUSED(DataError, "f.bin: at offset 11, count: needs 8 bytes, 6 are left of 17", cursor.u64_le("count"));
  CHECK_REFUSED(DataError, "6 are left", cursor.take(~std::uint64_t{0}, "x"));
  CHECK(cursor.offset() == 11);
  CHECK_REFUSED(DataError, "found 6 bytes after the end", cursor.expect_end());
  CHECK(cursor.take(6, "rest").size() == 6);
  cursor.expect_end();
  CHECK_THROWS_AS(cursor.u8("z"), DataError);
}

}  // namespace checked_test
