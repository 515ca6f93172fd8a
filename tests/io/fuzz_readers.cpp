// SPDX-License-Identifier: Apache-2.0
// A libFuzzer target for every reader of bytes: the first byte of the input chooses one. A reader may
// refuse with one of our errors; what it accepts must survive being written and read again.
//
//   clang++ -std=c++20 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Iinclude
//           tests/io/fuzz_readers.cpp -lz -o fuzz_readers && ./fuzz_readers -max_total_time=60 -rss_limit_mb=512
//
// The test io/fuzz_replay includes this file, so that it compiles, and gives it small files and mutations of them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <espalier/data/cifar.hpp>
#include <espalier/data/idx.hpp>
#include <espalier/io/gzip.hpp>
#include <espalier/io/json.hpp>
#include <espalier/io/safetensors_write.hpp>

namespace {

void require(bool law) {
  if (!law) std::abort();
}

void safetensors(std::span<const std::byte> bytes) {
  const auto file = espalier::SafetensorsFile::parse({bytes.begin(), bytes.end()});
  std::size_t total = 0;
  for (const auto& entry : file.entries()) {
    total += entry.bytes.size();
    require(file.find(entry.name) == &entry);
    static_cast<void>(file.non_finite(entry.name));
  }
  require(total <= bytes.size());
  const auto again = espalier::SafetensorsWriter::from(file).bytes();
  const auto reread = espalier::SafetensorsFile::parse(again);
  require(espalier::SafetensorsWriter::from(reread).bytes() == again);
  require(reread.metadata() == file.metadata() && reread.entries().size() == file.entries().size());
}

void json(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto value = espalier::Json::parse(text);
  require(espalier::Json::parse(value.dump()) == value);
  require(espalier::Json::parse(value.dump(2)).dump() == value.dump());
}

void idx(std::span<const std::byte> bytes) {
  const auto array = espalier::data::parse_idx(bytes, "fuzz");
  require(array.values.size() < bytes.size());
}

void gzip(std::span<const std::byte> bytes) {
  const auto front = espalier::gunzip_front(bytes, 100);
  const auto all = espalier::gunzip(bytes, 1 << 20);
  require(all.size() <= 1 << 20 && std::equal(front.begin(), front.end(), all.begin()));
}

void cifar(std::span<const std::byte> bytes) {
  espalier::data::ImageSet set{0, 32, 32, 3, {}, {}, 10, "", "", {}};
  espalier::data::append_cifar(bytes, espalier::data::cifar10_format, "fuzz", set);
  require(static_cast<std::size_t>(set.count) * 3073 == bytes.size() && set.class_counts().size() == 10);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  try {
    switch (data[0] % 5) {
      case 0: safetensors(bytes); break;
      case 1: json(bytes); break;
      case 2: idx(bytes); break;
      case 3: gzip(bytes); break;
      default: cifar(bytes);
    }
  } catch (const espalier::Error&) {
  }
  return 0;
}
