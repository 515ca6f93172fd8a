// SPDX-License-Identifier: Apache-2.0
// Every allocation of a reader fails in turn: each time the error is ours and nothing leaks (the
// sanitizer's leak check sees to that), and the reader works again afterwards.
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include <espalier/data/cifar.hpp>
#include <espalier/data/idx.hpp>
#include <espalier/io/json.hpp>
#include <espalier/io/safetensors.hpp>
#include "io/golden/safetensors_golden.hpp"
#include "io/scratch.hpp"

namespace {
int allocations_left = -1;  // until one fails; below 0 for never
}

// Not inlined, lest the compiler see malloc beside delete and warn.
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (allocations_left >= 0 && allocations_left-- == 0) throw std::bad_alloc();
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

// How many allocations `read` needs, each of which has failed once with OutOfMemory.
template <class F>
int fail_each(F read) {
  for (int n = 0;; ++n) {
    bool refused = false, ours = true;
    allocations_left = n;
    try {
      read();
    } catch (const espalier::OutOfMemory&) {
      refused = true;
    } catch (...) {
      ours = false;
    }
    const bool reached = allocations_left < 0;
    allocations_left = -1;
    REQUIRE(ours);
    if (!reached) return n;
    CHECK(refused);
  }
}

}  // namespace

TEST_CASE("a reader that runs out of memory says so, whichever allocation fails") {
  std::vector<std::byte> golden(sizeof golden_mixed);
  std::memcpy(golden.data(), golden_mixed, golden.size());
  const auto file = espalier::SafetensorsFile::parse(golden);
  const std::vector<std::byte> record(3073);
  const auto idx = espalier::test::bytes_of(std::string_view("\0\0\x08\x01\0\0\0\x02zz", 10));
  const std::string where = "a name that is too long to be kept inside a string";

  std::vector<std::vector<std::byte>> copies(1000, golden);
  std::size_t used = 0;
  CHECK(fail_each([&] { espalier::SafetensorsFile::parse(std::move(copies.at(used++)), where); }) > 20);
  CHECK(fail_each([&] { static_cast<void>(file.floats("b.weight")); }) == 1);
  CHECK(fail_each([&] { static_cast<void>(file.ints("long")); }) == 1);
  const std::string_view text = R"({"a long name of a member":[1,2,{"b":"another long text, it is"}]})";
  CHECK(fail_each([&] { espalier::Json::parse(text); }) > 5);
  CHECK(fail_each([&] {
          espalier::data::ImageSet set{0, 32, 32, 3, {}, {}, 10, "", "", {}};
          espalier::data::append_cifar(record, espalier::data::cifar10_format, where, set);
        }) >= 2);
  CHECK(fail_each([&] { espalier::data::parse_idx(idx, where); }) >= 3);
}
