// SPDX-License-Identifier: Apache-2.0
// The fuzz target, compiled as every test is and given small valid files and mutations of them: the same ones each time.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>

#include <espalier/tensor/rng.hpp>

#include "fuzz_readers.cpp"
#include "gzip_maker.hpp"
#include "scratch.hpp"

using namespace espalier;
using namespace espalier::test;

namespace {

struct Reader {
  const char* name;
  void (*read)(std::span<const std::byte>);
  std::vector<Bytes> files;
};

Bytes idx_file(std::vector<std::uint8_t> extents) {
  std::string text{"\0\0\x08", 3};
  text += static_cast<char>(extents.size());
  std::size_t count = 1;
  for (const std::uint8_t extent : extents) text += std::string(3, '\0') + static_cast<char>(extent), count *= extent;
  for (std::size_t i = 0; i < count; ++i) text += static_cast<char>(i * 37);
  return bytes_of(text);
}

Bytes cifar_file(std::size_t records) {
  Bytes bytes(records * 3073);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i % 3073 == 0 ? i / 3073 % 10 : i % 251);
  return bytes;
}

Bytes safetensors_file(bool with_metadata) {
  SafetensorsWriter writer;
  if (with_metadata) writer.metadata("note", "\xC3\xA4");
  writer.add("conv.weight", std::vector<Index>{2, 1, 1, 2}, std::vector<float>{1, -2, 0.5F, 4});
  writer.add("steps", std::vector<Index>{}, std::vector<std::int64_t>{7});
  return writer.bytes();
}

// In the order of the target's first byte.
std::array<Reader, 5> readers() {
  const Bytes text = bytes_of(R"({"a": [1, -2.5e3, true, null, "\u00e4\n"], "b": {"c": {}, "d": []}, "e": 9007199254740993})");
  Bytes zeros = test::gzip(Bytes(4000)), two = test::gzip(text);
  two.insert(two.end(), zeros.begin(), zeros.end());
  return {{{"safetensors", safetensors, {safetensors_file(false), safetensors_file(true)}},
           {"json", json, {text, bytes_of("[]"), bytes_of(" -0.0 ")}},
           {"idx", idx, {idx_file({3}), idx_file({2, 3, 4})}},
           {"gzip", gzip, {test::gzip(text), zeros, two}},
           {"cifar", cifar, {cifar_file(1), cifar_file(2)}}}};
}

// One to four changes, of the kinds that readers trip over: bits, extreme bytes, lengths, pieces lost, doubled or taken from elsewhere.
Bytes mutated(Bytes bytes, const Bytes& other, Rng& rng) {
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(rng.below(static_cast<std::uint32_t>(std::max<std::size_t>(n, 1)))); };
  const auto at = [](Bytes& b, std::size_t i) { return b.begin() + static_cast<std::ptrdiff_t>(i); };
  for (std::size_t changes = 1 + below(4); changes > 0; --changes) {
    // Mostly near the beginning, where files say what they are.
    const std::size_t place = below(rng.bernoulli(0.5) ? std::min<std::size_t>(bytes.size(), 16) : bytes.size());
    const std::size_t length = std::min(1 + below(8), bytes.size() - place);
    switch (below(bytes.empty() ? 1 : 8)) {
      case 0: bytes.insert(at(bytes, place), 1 + below(8), static_cast<std::byte>(rng.below(256))); break;
      case 1: bytes[place] ^= static_cast<std::byte>(1U << below(8)); break;
      case 2: bytes[place] = std::array{std::byte{0}, std::byte{0x7F}, std::byte{0x80}, std::byte{0xFF}}[below(4)]; break;
      case 3: bytes[place] = static_cast<std::byte>("0123456789-.eE\"\\{}[],: "[below(23)]); break;
      case 4: bytes.erase(at(bytes, place), at(bytes, place + length)); break;
      case 5: bytes.resize(place); break;
      case 6: {
        const Bytes piece(at(bytes, place), at(bytes, place + length));
        bytes.insert(at(bytes, place), piece.begin(), piece.end());
        break;
      }
      default: {
        const std::size_t from = below(other.size());
        bytes.resize(place);
        bytes.insert(bytes.end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
      }
    }
  }
  return bytes;
}

}  // namespace

TEST_CASE("every reader takes the valid files that the mutations start from") {
  for (const auto& reader : readers())
    for (std::size_t i = 0; i < reader.files.size(); ++i) {
      CAPTURE(reader.name);
      CAPTURE(i);
      CHECK_NOTHROW(reader.read(reader.files[i]));
    }
}

TEST_CASE("a mutated file is refused with one of our errors, or can be written and read again") {
  const auto all = readers();
  for (std::size_t kind = 0; kind < all.size(); ++kind) {
    CAPTURE(all[kind].name);
    int refused = 0, accepted = 0;
    Rng rng = Rng(1).split(all[kind].name);
    const auto& files = all[kind].files;
    for (int mutation = 0; mutation < 10'000; ++mutation) {
      CAPTURE(mutation);
      const auto any = [&] { return files[rng.below(static_cast<std::uint32_t>(files.size()))]; };
      const Bytes start = any(), input = mutated(start, any(), rng);
      try {
        all[kind].read(input);
        ++accepted;
      } catch (const Error&) {
        ++refused;
      }
    }
    CHECK(accepted > 50);
    CHECK(refused > 5000);
  }
}

TEST_CASE("the fuzz target chooses the reader by the first byte, and lets no refusal out") {
  CHECK(LLVMFuzzerTestOneInput(nullptr, 0) == 0);
  const auto all = readers();
  for (std::uint8_t kind = 0; kind < 5; ++kind)
    for (const Bytes& file : all[kind].files)
      for (const std::size_t size : {file.size(), file.size() / 2}) {
        std::vector<std::uint8_t> input{kind};
        for (std::size_t i = 0; i < size; ++i) input.push_back(static_cast<std::uint8_t>(file[i]));
        CHECK(LLVMFuzzerTestOneInput(input.data(), input.size()) == 0);
      }
}
