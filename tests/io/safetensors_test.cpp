// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "common/skip.hpp"
#include <espalier/io/safetensors.hpp>
#include <espalier/io/safetensors_write.hpp>
#include "io/golden/safetensors_golden.hpp"

namespace safetensors_test {

using espalier::DataError;
using espalier::Dtype;
using espalier::SafetensorsFile;
using espalier::SafetensorsWriter;
using Bytes = std::vector<std::byte>;
using Shape = std::vector<std::int64_t>;

namespace {

template <std::size_t N>
Bytes golden(const unsigned char (&data)[N]) {
  Bytes bytes(N);
  std::memcpy(bytes.data(), data, N);
  return bytes;
}

// A file with this header and this many zero bytes of data; `length` overrides the declared length.
Bytes file(std::string_view header, std::size_t data, std::uint64_t length = ~std::uint64_t{0}) {
  if (length == ~std::uint64_t{0}) length = header.size();
  Bytes bytes(8 + header.size() + data);
  std::memcpy(bytes.data(), &length, 8);
  if (!header.empty()) std::memcpy(bytes.data() + 8, header.data(), header.size());
  return bytes;
}

std::string refusal(Bytes bytes) {
  try {
    SafetensorsFile::parse(std::move(bytes), "m.safetensors");
  } catch (const DataError& e) {
    CHECK(std::string(e.what()).find("m.safetensors: ") == 0);
    return e.what();
  }
  return "accepted";
}
std::string refusal(std::string_view header, std::size_t data) { return refusal(file(header, data)); }

#define REFUSED(cause, ...) CHECK_MESSAGE(refusal(__VA_ARGS__).find(cause) != std::string::npos, refusal(__VA_ARGS__))

// One tensor named a of four bytes with the given fields.
std::string tensor(std::string_view fields) { return espalier::str("{\"a\":{", fields, "}}"); }

template <class T>
std::vector<T> list(std::initializer_list<T> values) { return values; }

}  // namespace

TEST_CASE("every element type of a file of the reference implementation is read exactly") {
  const auto f = SafetensorsFile::parse(golden(golden_mixed));
  CHECK(f.entries().size() == 11);
  CHECK(*f.find_metadata("format") == "pt");
  CHECK(f.get("b.weight").shape == Shape{2, 3});
  CHECK(f.floats("b.weight") == list<float>({0.0f / 3, 1.0f / 3, 2.0f / 3, 1.0f, 4.0f / 3, 5.0f / 3}));
  const auto a = f.floats("a.weight");
  CHECK((std::signbit(a[0]) && a[0] == 0));
  CHECK(a[1] == 1e-42f);
  CHECK(f.doubles("double")[0] == 0.1);
  CHECK(f.non_finite("double") == 1);
  CHECK(f.non_finite("long") == 0);
  CHECK(f.floats("half") == list<float>({0x1.554p-2f, 0x1p-24f, -65504.0f}));
  CHECK(f.floats("brain") == list<float>({1.0f, -3.140625f}));
  CHECK(f.ints("long") == list<std::int64_t>({-(std::int64_t{1} << 40)}));
  CHECK(f.get("long").shape.empty());
  CHECK(f.ints("int") == list<std::int64_t>({7, -8}));
  CHECK(f.ints("byte") == list<std::int64_t>({0, 128, 255}));
  CHECK(f.ints("bool") == list<std::int64_t>({1}));
  CHECK(f.floats("empty").empty());
  CHECK(f.ints("quote\" tab\t \xC3\xA9\x01 \xF0\x9F\x8C\xB3") == list<std::int64_t>({1, 2}));
  CHECK(f.find("absent") == nullptr);
  CHECK_THROWS_WITH_AS(f.floats("absent"), doctest::Contains("no tensor 'absent'"), DataError);
  CHECK_THROWS_WITH_AS(f.floats("int"), doctest::Contains("holds I32"), DataError);
  CHECK_THROWS_AS(f.ints("half"), DataError);
}

TEST_CASE("all 65536 half-precision numbers are converted as IEEE 754 says") {
  for (std::uint32_t h = 0; h < 0x10000; ++h) {
    const float x = espalier::detail::from_half(static_cast<std::uint16_t>(h));
    const int exponent = static_cast<int>(h >> 10 & 31), fraction = static_cast<int>(h & 1023);
    if (exponent == 31) {
      REQUIRE((fraction != 0 ? std::isnan(x) : std::isinf(x)));
    } else {
      REQUIRE(std::abs(x) ==
              (exponent != 0 ? std::ldexp(1024.0 + fraction, exponent - 25) : std::ldexp(fraction, -24)));
    }
    REQUIRE(std::signbit(x) == (h >= 0x8000));
  }
}

TEST_CASE("what the reference implementation wrote is written again byte for byte") {
  for (const Bytes& bytes :
       {golden(golden_mixed), golden(golden_no_metadata), golden(golden_no_tensors), golden(golden_only_metadata)}) {
    CHECK(SafetensorsWriter::from(SafetensorsFile::parse(bytes)).bytes() == bytes);
  }
  SafetensorsWriter again;  // the same, built by hand in another order
  const auto f = SafetensorsFile::parse(golden(golden_mixed));
  for (auto e = f.entries().rbegin(); e != f.entries().rend(); ++e)
    again.add_bytes(e->name, e->dtype, e->shape, e->bytes);
  CHECK(again.bytes() == golden(golden_mixed));
}

TEST_CASE("values survive writing and reading") {
  SafetensorsWriter w;
  w.add("f", Shape{2}, list<float>({1.5f, -2}));
  w.add("d", Shape{1}, list<double>({0.1}));
  w.add("l", Shape{1}, list<std::int64_t>({INT64_MIN}));
  w.add("i", Shape{}, list<std::int32_t>({-3}));
  w.add("u", Shape{0, 4}, std::span<const std::uint8_t>());
  const bool flags[] = {true, false};
  w.add("b", Shape{2}, std::span<const bool>(flags));
  w.metadata("state", R"({"epoch":3})");
  w.metadata("format", "np");
  const auto f = SafetensorsFile::parse(w.bytes());
  CHECK(f.floats("f") == list<float>({1.5f, -2}));
  CHECK(f.floats("d") == list<float>({0.1f}));
  CHECK(f.ints("l") == list<std::int64_t>({INT64_MIN}));
  CHECK(f.ints("i") == list<std::int64_t>({-3}));
  CHECK(f.get("u").shape == Shape{0, 4});
  CHECK(f.ints("b") == list<std::int64_t>({1, 0}));
  CHECK(*f.find_metadata("state") == R"({"epoch":3})");
  CHECK(*f.find_metadata("format") == "np");
  const SafetensorsFile copy = f;  // shares the bytes
  CHECK(copy.floats("f") == f.floats("f"));
}

TEST_CASE("the writer refuses what it could not read back") {
  SafetensorsWriter w;
  CHECK_THROWS_AS(w.add("a", Shape{3}, list<float>({1, 2})), espalier::ShapeError);
  CHECK_THROWS_AS(w.add("a", Shape{-1}, std::span<const float>()), espalier::ShapeError);
  CHECK_THROWS_AS(w.add("a", Shape{INT64_MAX, 4, 2}, std::span<const float>()), espalier::ShapeError);
  CHECK_THROWS_AS(w.add("", Shape{}, list<float>({1})), DataError);
  CHECK_THROWS_AS(w.add("__metadata__", Shape{}, list<float>({1})), DataError);
  CHECK_THROWS_AS(w.add("r", Shape(9, 1), list<float>({1})), DataError);
  w.add("a", Shape{}, list<float>({1}));
  w.add("a", Shape{}, list<double>({1}));
  CHECK_THROWS_WITH_AS(w.bytes(), doctest::Contains("'a' twice"), DataError);
  SafetensorsWriter odd;
  odd.add("\xFF", Shape{}, list<float>({1}));
  CHECK_THROWS_AS(odd.bytes(), DataError);
}

TEST_CASE("unusual but valid files are accepted") {
  CHECK(refusal("{}", 0) == "accepted");
  CHECK(refusal("  \n{}   ", 0) == "accepted");
  CHECK(refusal(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4) == "accepted");
  CHECK(refusal(R"({"a":{"dtype":"F32","shape":[2,0],"data_offsets":[0,0]}})", 0) == "accepted");
  // In the order of names, so that the second is not aligned; and an empty tensor in the middle.
  const auto f = SafetensorsFile::parse(file(
      R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"e":{"dtype":"I64","shape":[0],"data_offsets":[1,1]},"b":{"data_offsets":[1,9],"shape":[1],"dtype":"F64"}})",
      9));
  CHECK(f.doubles("b") == list<double>({0}));
  CHECK(f.metadata().empty());
  const auto warned = SafetensorsFile::parse(file(
      tensor(R"("dtype":"U8","extra":{"x":[1,{"dtype":null}],"y":"z"},"more":1,"shape":[],"data_offsets":[0,1])"), 1));
  CHECK(warned.warnings().size() == 2);
  CHECK(warned.warnings()[0].find("'extra'") != std::string::npos);
}

TEST_CASE("a file that is something else says what it is") {
  const auto text = [](std::string_view s) {
    Bytes b(s.size());
    if (!s.empty()) std::memcpy(b.data(), s.data(), s.size());
    return b;
  };
  REFUSED("empty file", text(""));
  for (std::size_t n = 1; n < 8; ++n) REFUSED("the header's length", Bytes(n));
  REFUSED("JSON", Bytes(8));
  REFUSED("Git LFS pointer", text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"));
  REFUSED("git lfs pull", text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"));
  REFUSED("HTML page", text("\n <!DOCTYPE html><html>"));
  REFUSED("zip archive, as torch.save writes", text("PK\x03\x04 and so on"));
  REFUSED("Python pickle", text("\x80\x02\x8a\x0al"));
  REFUSED("safetensors.torch.save_file", text("\x80\x02\x8a\x0al"));
  Bytes noise(1024);
  std::uint32_t state = 1;
  for (auto& b : noise) b = static_cast<std::byte>((state = state * 1664525 + 1013904223) >> 24);
  CHECK(refusal(noise) != "accepted");
}

TEST_CASE("a declared length is checked against the cap and the file before it is used") {
  REFUSED("JSON", file("", 0, 0));
  REFUSED("JSON", file("{", 0));
  REFUSED("the header", file("{}", 0, 3));
  REFUSED("limit 100000000", file("{}", 0, std::uint64_t{1} << 63));
  REFUSED("limit 100000000", file("{}", 0, ~std::uint64_t{0} - 1));
  REFUSED("limit 100000000", file("{}", 0, 100'000'001));
  REFUSED("cut short", file("{}", 0, 100'000'000));
}

TEST_CASE("a header that is not the JSON it must be is refused") {
  REFUSED("JSON, byte 0", "\xFF{}", 0);
  REFUSED("UTF-8", "{\"\xC3\":1}", 0);
  REFUSED("JSON", "hello", 0);
  REFUSED("an array at the top", "[]", 0);
  REFUSED("a number at the top", "1", 0);
  REFUSED("JSON", "{},", 0);
  REFUSED("JSON", R"({"__metadata__":{},})", 0);
  REFUSED("JsonLimits::depth", std::string("{\"a\":{\"x\":") + std::string(1000000, '['), 0);
  REFUSED("'__metadata__' twice", R"({"__metadata__":{},"__metadata__":{}})", 0);
  REFUSED("metadata 'k': found a number", R"({"__metadata__":{"k":1}})", 0);
  REFUSED("metadata 'k': found an object", R"({"__metadata__":{"k":{}}})", 0);
  REFUSED("metadata key 'k' twice", R"({"__metadata__":{"k":"1","k":"2"}})", 0);
  REFUSED("does not belong", R"({"__metadata__":"k"})", 0);
  REFUSED("does not belong", R"({"a":[1]})", 0);
  REFUSED("does not belong", R"({"a":null})", 0);
}

TEST_CASE("a tensor's own fields are checked one by one") {
  const auto one = [](std::string_view fields) { return refusal(tensor(fields), 4); };
  CHECK(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])") == "accepted");
  const std::pair<const char*, const char*> cases[] = {
      {R"("dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4])", "found dtype 'F8_E4M3'"},
      {R"("dtype":"F4","shape":[3],"data_offsets":[0,4])", "found dtype 'F4'"},
      {R"("dtype":"f32","shape":[1],"data_offsets":[0,4])", "found dtype 'f32'"},
      {R"("dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4])", "'dtype' twice"},
      {R"("dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4])", "'shape' twice"},
      {R"("dtype":1,"shape":[1],"data_offsets":[0,4])", "does not belong"},
      {R"("dtype":"F32","shape":1,"data_offsets":[0,4])", "does not belong"},
      {R"("dtype":"F32","shape":["1"],"data_offsets":[0,4])", "does not belong"},
      {R"("dtype":"F32","shape":[[1]],"data_offsets":[0,4])", "does not belong"},
      {R"("dtype":"F32","shape":{},"data_offsets":[0,4])", "does not belong"},
      {R"("shape":[1],"data_offsets":[0,4])", "one of them is missing"},
      {R"("dtype":"F32","data_offsets":[0,4])", "one of them is missing"},
      {R"("dtype":"F32","shape":[1])", "one of them is missing"},
      {R"("dtype":"F32","shape":[1],"data_offsets":[0])", "found 1 data_offsets"},
      {R"("dtype":"F32","shape":[1],"data_offsets":[0,4,4])", "more than two"},
      {R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])", "found -1 in 'shape'"},
      {R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])", "found 1.0 in 'shape'"},
      {R"("dtype":"F32","shape":[1e0],"data_offsets":[0,4])", "found 1e0 in 'shape'"},
      {R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4])", "found 9223372036854775808"},
      {R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])", "overflows"},
      {R"("dtype":"F32","shape":[4611686018427387904,1],"data_offsets":[0,0])", "overflows"},
      {R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4])", "SafetensorsLimits::rank"},
      {R"("dtype":"F32","shape":[1],"data_offsets":[4,0])", "backwards"},
      {R"("dtype":"F32","shape":[2],"data_offsets":[0,4])", "needs 8 bytes"},
      {R"("dtype":"F32","shape":[2],"data_offsets":[0,8])", "cut short"},
      {R"("dtype":"F32","shape":[1],"data_offsets":[4,8])", "hole"},
      {R"("dtype":"U8","shape":[3],"data_offsets":[0,3])", "1 bytes after the last tensor"},
      {R"("dtype":"U8","shape":[3],"data_offsets":[1,4])", "hole"},
      {R"("dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,0])", "found 18446744073709551612"},
  };
  for (const auto& c : cases) {
    const std::string fields = c.first, cause = c.second;
    CAPTURE(fields);
    const std::string message = one(fields);
    CHECK_MESSAGE(message.find(cause) != std::string::npos, message);
  }
  CHECK(refusal(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), 3) != "accepted");
  CHECK(refusal(tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), 5) != "accepted");
}

TEST_CASE("tensors must tile the data, and names must be distinct and sane") {
  const auto two = [](std::string_view second, std::size_t data, std::string_view name = "b") {
    return refusal(espalier::str(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},")", name,
                                 R"(":{"dtype":"U8","shape":[2],"data_offsets":)", second, "}}"),
                   data);
  };
  CHECK(two("[2,4]", 4) == "accepted");
  CHECK(two("[1,3]", 3).find("overlap") != std::string::npos);
  CHECK(two("[0,2]", 2).find("overlap") != std::string::npos);
  CHECK(two("[3,5]", 5).find("hole") != std::string::npos);
  CHECK(two("[2,4]", 4, "a").find("'a' twice") != std::string::npos);
  CHECK(two("[0,2]", 2, "a") != "accepted");
  CHECK(two("[2,4]", 4, "\\u0061").find("'a' twice") != std::string::npos);
  CHECK(two("[2,4]", 4, "").find("empty name") != std::string::npos);
  CHECK(two("[2,4]", 4, "\\u0000").find("NUL") != std::string::npos);
  CHECK(two("[2,4]", 4, "\\ud800").find("surrogate") != std::string::npos);
  CHECK(two("[2,4]", 4, std::string(1 << 20, 'n')).find("SafetensorsLimits::name_bytes") != std::string::npos);
  espalier::SafetensorsLimits limits;
  limits.tensors = 10;
  CHECK_THROWS_WITH_AS(SafetensorsFile::parse(golden(golden_mixed), "g", limits),
                       doctest::Contains("SafetensorsLimits::tensors"), DataError);
}

TEST_CASE("no truncation of a file is accepted") {
  const Bytes whole = golden(golden_mixed);
  for (std::size_t n = 0; n < whole.size(); ++n) {
    CAPTURE(n);
    CHECK(refusal(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n))) != "accepted");
  }
}

TEST_CASE("every single-bit flip of a header is refused or leaves a file that can be written and read") {
  const Bytes whole = golden(golden_mixed);
  std::size_t refused = 0, accepted = 0;
  for (std::size_t bit = 0; bit < (whole.size() - 100) * 8; ++bit) {
    Bytes flipped = whole;
    flipped[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    try {
      const auto f = SafetensorsFile::parse(flipped);
      const Bytes again = SafetensorsWriter::from(f).bytes();
      REQUIRE(SafetensorsFile::parse(again).entries().size() == f.entries().size());
      ++accepted;
    } catch (const espalier::Error&) {
      ++refused;
    }
  }
  CHECK(refused > 4 * accepted / 5);
  CHECK(accepted > 100);  // letters of names may change without harm
}

TEST_CASE("the published ResNets and the encoder are read whole") {
  const auto folder = espalier::test::data_folder("models");
  if (!folder) return;
  const auto resnet20 = SafetensorsFile::read(*folder / "resnet20-12fca82f.safetensors");
  const auto resnet56 = SafetensorsFile::read(*folder / "resnet56-4bfd9763.safetensors");
  const auto weights = [](const SafetensorsFile& f) {
    std::size_t n = 0;
    for (const auto& e : f.entries()) {
      if (e.name.find("running_") == std::string::npos && e.name.find("num_batches") == std::string::npos)
        n += e.count();
      CHECK(f.non_finite(e.name) == 0);
    }
    return n;
  };
  CHECK(weights(resnet20) == 269722);
  CHECK(weights(resnet56) == 853018);
  CHECK(*resnet56.find_metadata("best_prec1") == "93.62");
  CHECK(resnet56.get("conv1.weight").shape == Shape{16, 3, 3, 3});
  const auto bert = SafetensorsFile::read(*folder / "bert-tiny-sst2-encoder-only.safetensors");
  CHECK(bert.get("bert.encoder.layer.0.attention.self.query.weight").shape == Shape{128, 128});
  for (const auto* f : {&resnet20, &resnet56, &bert}) {
    const auto again = SafetensorsFile::parse(SafetensorsWriter::from(*f).bytes());
    for (const auto& e : f->entries()) REQUIRE(again.floats(e.name) == f->floats(e.name));
  }
}

}  // namespace safetensors_test
