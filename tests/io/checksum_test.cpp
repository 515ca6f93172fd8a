// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <set>
#include <string>
#include <vector>

#include <espalier/io/checksum.hpp>

using namespace espalier;

namespace checksum_test {

namespace {

std::vector<std::byte> some_bytes(std::size_t n) {
  std::vector<std::byte> bytes(n);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(i * i + 7 * i);
  return bytes;
}

}  // namespace

TEST_CASE("a checksum does not depend on the portions its bytes come in") {
  const auto bytes = some_bytes(61);
  const std::string whole = checksum(bytes);
  CHECK(whole.size() == 16);
  for (std::size_t portion = 1; portion < 20; ++portion) {
    Checksum sum;
    for (std::size_t at = 0; at < bytes.size(); at += portion)
      sum.add(std::span(bytes).subspan(at, std::min(portion, bytes.size() - at)));
    CHECK(sum.text() == whole);
  }
}

TEST_CASE("every flip of one bit and every other length gives another checksum") {
  auto bytes = some_bytes(40);
  std::set<std::string> seen{checksum(bytes)};
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    seen.insert(checksum(bytes));
    bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
  }
  for (std::size_t n = 0; n < 40; ++n) seen.insert(checksum(std::span(bytes).first(n)));
  CHECK(seen.size() == 1 + 320 + 40);
  CHECK(checksum(std::vector<std::byte>(8)) != checksum(std::vector<std::byte>(16)));
}

TEST_CASE("a checksum is the same in every build, and in another program") {
  CHECK(checksum({}) == "a706dd2f4d197e6f");
  CHECK(checksum(some_bytes(61)) == "6058036fdd4d3c5a");
}

}  // namespace checksum_test
