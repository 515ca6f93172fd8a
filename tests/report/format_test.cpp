// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <clocale>
#include <cstdint>
#include <limits>
#include <string>

#include "espalier/report/format.hpp"

using namespace espalier;

namespace format_test {

namespace {
constexpr double nan_value = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();
}  // namespace

TEST_CASE("counts are grouped by thousands, the extremes included") {
  CHECK(format_count(0) == "0");
  CHECK(format_count(999) == "999");
  CHECK(format_count(1000) == "1,000");
  CHECK(format_count(999999) == "999,999");
  CHECK(format_count(1000000) == "1,000,000");
  CHECK(format_count(14987722) == "14,987,722");
  CHECK(format_count(-1) == "-1");
  CHECK(format_count(-999) == "-999");
  CHECK(format_count(-1000) == "-1,000");
  CHECK(format_count(std::numeric_limits<std::int64_t>::max()) == "9,223,372,036,854,775,807");
  CHECK(format_count(std::numeric_limits<std::int64_t>::min()) == "-9,223,372,036,854,775,808");
}

TEST_CASE("SI suffixes change where rounding reaches the next one") {
  CHECK(format_si(0) == "0");
  CHECK(format_si(-0.0) == "0");
  CHECK(format_si(999) == "999");
  CHECK(format_si(1000) == "1.0 k");
  CHECK(format_si(999900) == "999.9 k");
  CHECK(format_si(999949) == "999.9 k");
  CHECK(format_si(999951) == "1.0 M");
  CHECK(format_si(999999) == "1.0 M");
  CHECK(format_si(313463808) == "313.5 M");
  CHECK(format_si(-313463808) == "-313.5 M");
  CHECK(format_si(313463808, 2) == "313.46 M");
  CHECK(format_si(313463808, 0) == "313 M");
  CHECK(format_si(999.96) == "1.0 k");
  CHECK(format_si(0.04) == "0.0");
  CHECK(format_si(-0.04) == "0.0");
  CHECK(format_si(0.26) == "0.3");
  CHECK(format_si(2e18) == "2000.0 P");
  CHECK(format_si(nan_value) == "nan");
  CHECK(format_si(-infinity) == "-inf");
}

TEST_CASE("bytes have three significant digits and units of 1024") {
  CHECK(format_bytes(0) == "0 B");
  CHECK(format_bytes(1023) == "1023 B");
  CHECK(format_bytes(1024) == "1.00 KiB");
  CHECK(format_bytes(1363149) == "1.30 MiB");
  CHECK(format_bytes(10 * 1024 - 1) == "10.0 KiB");
  CHECK(format_bytes(100 * 1024) == "100 KiB");
  CHECK(format_bytes(1023 * 1024) == "1023 KiB");
  CHECK(format_bytes(1024 * 1024 - 1) == "1.00 MiB");
  CHECK(format_bytes(59950888) == "57.2 MiB");
  CHECK(format_bytes(std::uint64_t{1} << 40) == "1.00 TiB");
  CHECK(format_bytes(std::numeric_limits<std::uint64_t>::max()) == "16.0 EiB");
}

TEST_CASE("seconds choose the unit in which they are read") {
  CHECK(format_seconds(0) == "0 s");
  CHECK(format_seconds(0.0123) == "12.3 ms");
  CHECK(format_seconds(0.00999) == "9.99 ms");
  CHECK(format_seconds(0.9994) == "999 ms");
  CHECK(format_seconds(0.9996) == "1.00 s");
  CHECK(format_seconds(1.234) == "1.23 s");
  CHECK(format_seconds(12.345) == "12.3 s");
  CHECK(format_seconds(4321) == "4321 s");
  CHECK(format_seconds(0.0000123) == "12.3 us");
  CHECK(format_seconds(0.00099949) == "999 us");
  CHECK(format_seconds(0.00099999) == "1.00 ms");
  CHECK(format_seconds(2.5e-9) == "2.50 ns");
  CHECK(format_seconds(1e-12) == "0.00 ns");
  CHECK(format_seconds(-0.5) == "-500 ms");
  CHECK(format_seconds(nan_value) == "nan s");
}

TEST_CASE("durations are clocks to the nearest second") {
  CHECK(format_clock(0) == "0:00");
  CHECK(format_clock(14) == "0:14");
  CHECK(format_clock(59.4) == "0:59");
  CHECK(format_clock(59.6) == "1:00");
  CHECK(format_clock(61) == "1:01");
  CHECK(format_clock(3599.4) == "59:59");
  CHECK(format_clock(3599.5) == "1:00:00");
  CHECK(format_clock(3723) == "1:02:03");
  CHECK(format_clock(360000) == "100:00:00");
  CHECK(format_clock(-0.2) == "0:00");
  CHECK(format_clock(-5) == "-0:05");
  CHECK(format_clock(nan_value) == "-:--");
  CHECK(format_clock(infinity) == "-:--");
  CHECK(format_clock(1e300) == "-:--");
}

TEST_CASE("percentages and differences in points keep their sign and lose a minus zero") {
  CHECK(format_percent(0.862) == "86.2%");
  CHECK(format_percent(1) == "100.0%");
  CHECK(format_percent(0.99949) == "99.9%");
  CHECK(format_percent(-0.64, 0) == "-64%");
  CHECK(format_percent(nan_value) == "nan%");
  CHECK(format_points(-0.008) == "-0.8");
  CHECK(format_points(0.004) == "+0.4");
  CHECK(format_points(0) == "0.0");
  CHECK(format_points(-0.0004) == "0.0");
  CHECK(format_points(0.0004) == "0.0");
  CHECK(format_points(0.0006) == "+0.1");
  CHECK(format_fixed(-0.0001, 3) == "0.000");
  CHECK(format_fixed(0.41249, 3) == "0.412");
  CHECK(format_fixed(2.5, 0) == "2");
  CHECK(format_fixed(1e300, 0).size() == 301);
  CHECK(format_fixed(infinity, 2) == "inf");
}

TEST_CASE("a locale with decimal commas changes nothing") {
  const std::string before = std::setlocale(LC_ALL, nullptr);
  for (const char* name : {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "C.UTF-8"}) {
    if (std::setlocale(LC_ALL, name) == nullptr) continue;
    CHECK(format_percent(0.862) == "86.2%");
    CHECK(format_si(1234567.0) == "1.2 M");
  }
  std::setlocale(LC_ALL, before.c_str());
}

}  // namespace format_test
