// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <filesystem>

#include <espalier/backend/reference.hpp>
#include <espalier/io/mask.hpp>
#include <espalier/models/convnet.hpp>

#include "scratch.hpp"

using namespace espalier;

namespace mask_test {

using espalier::test::ScratchFolder;

namespace {

Mask some_mask() {
  MaskPart a = MaskPart::ones("conv.weight", {5, 3, 3, 3}), b = MaskPart::ones("fc.weight", {10, 7});
  for (Index i = 0; i < a.weights(); i += 3) a.kill(i);
  b.kill(69);
  return Mask({a, b});
}

}  // namespace

TEST_CASE("a mask file gives the same mask back, in one bit a weight") {
  const ScratchFolder folder;
  const Mask mask = some_mask();
  save_mask(mask, folder / "m.safetensors", {{"round", "3"}});
  CHECK(load_mask(folder / "m.safetensors") == mask);
  const SafetensorsFile file = SafetensorsFile::read(folder / "m.safetensors");
  CHECK(file.get("conv.weight.mask").bytes.size() == 17);  // 135 weights
  CHECK(file.get("fc.weight.mask").bytes.size() == 9);     // 70 weights
  CHECK(*file.find_metadata("round") == "3");
  // weight 0 is the lowest bit of byte 0: weights 0, 3, 6 are dead, 1, 2, 4, 5, 7 live
  CHECK(std::to_integer<int>(file.get("conv.weight.mask").bytes[0]) == 0b10110110);
}

TEST_CASE("masks of torch.nn.utils.prune are read under their parameter's name") {
  const ScratchFolder folder;
  SafetensorsWriter writer;
  const std::vector<Index> shape{2, 4};
  // pytorch, test/nn/test_pruning.py: [[1,2,3,4],[-4,-3,-2,-1]] without its two smallest
  writer.add("fc.weight_mask", std::span<const Index>(shape), std::span<const float>(std::vector<float>{0, 1, 1, 1, 1, 1, 1, 0}));
  writer.add("fc.weight_orig", std::span<const Index>(shape), std::span<const float>(std::vector<float>{1, 2, 3, 4, -4, -3, -2, -1}));
  writer.save(folder / "torch.safetensors");
  const Mask mask = load_mask(folder / "torch.safetensors");
  REQUIRE(mask.parts().size() == 1);
  CHECK(mask.parts()[0].path == "fc.weight");
  CHECK(mask.survivors() == 6);
  CHECK_FALSE(mask.parts()[0].alive(0));
  CHECK_FALSE(mask.parts()[0].alive(7));
}

TEST_CASE("a file without masks, or with a mask that is none, is refused with a sentence") {
  const ScratchFolder folder;
  SafetensorsWriter none;
  const std::vector<Index> shape{2};
  none.add("w", std::span<const Index>(shape), std::span<const float>(std::vector<float>{1, 2}));
  none.save(folder / "none.safetensors");
  CHECK_THROWS_WITH_AS(load_mask(folder / "none.safetensors"), doctest::Contains("found no mask"), DataError);

  SafetensorsWriter half;
  half.add("w_mask", std::span<const Index>(shape), std::span<const float>(std::vector<float>{1, 0.5f}));
  half.save(folder / "half.safetensors");
  CHECK_THROWS_WITH_AS(load_mask(folder / "half.safetensors"), doctest::Contains("0.5 at 1"), DataError);

  // A byte more, a byte less, or bits behind the last weight: the shape in the metadata decides.
  for (const std::vector<std::uint8_t>& bytes : {std::vector<std::uint8_t>{}, std::vector<std::uint8_t>{3, 0}, std::vector<std::uint8_t>{7}}) {
    SafetensorsWriter wrong;
    const std::vector<Index> extent{static_cast<Index>(bytes.size())};
    wrong.add("w.mask", std::span<const Index>(extent), std::span<const std::uint8_t>(bytes));
    wrong.metadata("espalier.mask", R"([{"path":"w","shape":[2]}])");
    wrong.save(folder / "wrong.safetensors");
    CHECK_THROWS_AS(load_mask(folder / "wrong.safetensors"), DataError);
  }
}

}  // namespace mask_test
