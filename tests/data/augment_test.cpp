// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <vector>

#include <espalier/data/augment.hpp>
#include "io/scratch.hpp"

using espalier::Index;
using espalier::PolicyError;
using namespace espalier::data;

namespace {

// A table that shows the bytes themselves, black as 0.
const PixelTable bytes_as_they_are(Normalise{{0, 0}, {1.0f / 255, 1.0f / 255}});

std::vector<int> placed(const std::vector<std::uint8_t>& image, ImageShape shape, Placement place) {
  std::vector<float> out(image.size());
  bytes_as_they_are.apply(image, shape, place, out);
  std::vector<int> rounded;
  for (const float x : out) rounded.push_back(static_cast<int>(std::lround(x)));
  return rounded;
}

}  // namespace

TEST_CASE("channels are normalised with their own constants") {
  const PixelTable table(Normalise{{0.5f, 0.25f}, {0.5f, 0.125f}});
  std::vector<float> out(4);
  table.apply(std::vector<std::uint8_t>{0, 0, 255, 51}, {1, 2, 2}, {}, out);
  CHECK(out[0] == -1.0f);
  CHECK(out[1] == -2.0f);
  CHECK(out[2] == 1.0f);
  CHECK(out[3] == doctest::Approx((0.2 - 0.25) / 0.125));
}

TEST_CASE("a window moves over a black frame, and a flip mirrors what it shows") {
  const std::vector<std::uint8_t> image = {1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60};  // 2 x 3, two channels
  const ImageShape shape{2, 3, 2};
  CHECK(placed(image, shape, {}) == std::vector<int>{1, 10, 2, 20, 3, 30, 4, 40, 5, 50, 6, 60});
  CHECK(placed(image, shape, {0, 0, true}) == std::vector<int>{3, 30, 2, 20, 1, 10, 6, 60, 5, 50, 4, 40});
  CHECK(placed(image, shape, {1, 0, false}) == std::vector<int>{4, 40, 5, 50, 6, 60, 0, 0, 0, 0, 0, 0});
  CHECK(placed(image, shape, {-1, 1, false}) == std::vector<int>{0, 0, 0, 0, 0, 0, 2, 20, 3, 30, 0, 0});
  CHECK(placed(image, shape, {0, 1, true}) == std::vector<int>{2, 20, 1, 10, 0, 0, 5, 50, 4, 40, 0, 0});
  CHECK(placed(image, shape, {5, 0, false}) == std::vector<int>(12, 0));
}

TEST_CASE("every placement of images of one to four channels is what its definition says") {
  espalier::Rng rng(3);
  for (const Index channels : {1, 2, 3, 4}) {
    const ImageShape shape{4, 5, channels};
    const auto n = static_cast<std::size_t>(channels);
    const PixelTable table(Normalise{std::vector<float>(n, 0.1f), {0.2f, 0.3f, 0.4f, 0.5f}});
    std::vector<std::uint8_t> image(static_cast<std::size_t>(shape.size()));
    for (auto& p : image) p = static_cast<std::uint8_t>(1 + rng.below(255));
    for (Index dy = -6; dy <= 6; ++dy) {
      for (Index dx = -7; dx <= 7; ++dx) {
        for (const bool flipped : {false, true}) {
          std::vector<float> out(image.size(), 99.0f);
          table.apply(image, shape, {dy, dx, flipped}, out);
          for (Index y = 0; y < 4; ++y) {
            for (Index x = 0; x < 5; ++x) {
              for (Index c = 0; c < channels; ++c) {
                const Index from_y = y + dy, from_x = flipped ? 4 - (x + dx) : x + dx;
                const bool inside = from_y >= 0 && from_y < 4 && from_x >= 0 && from_x < 5;
                const double byte = inside ? image[static_cast<std::size_t>((from_y * 5 + from_x) * channels + c)] : 0;
                const double deviation =
                    double{std::vector<float>{0.2f, 0.3f, 0.4f, 0.5f}[static_cast<std::size_t>(c)]};
                REQUIRE(out[static_cast<std::size_t>((y * 5 + x) * channels + c)] ==
                        static_cast<float>((byte / 255 - double{0.1f}) / deviation));
              }
            }
          }
        }
      }
    }
  }
}

TEST_CASE("offsets cover the frame evenly and half of the images are flipped") {
  const Augment augment{.pad = 4, .flip = 0.5};
  std::array<int, 81> cells{};
  int flips = 0;
  const int n = 81000;
  for (int i = 0; i < n; ++i) {
    const Placement p = placement(augment, 99, static_cast<std::uint64_t>(i));
    REQUIRE(std::abs(p.dy) <= 4);
    REQUIRE(std::abs(p.dx) <= 4);
    ++cells[static_cast<std::size_t>((p.dy + 4) * 9 + p.dx + 4)];
    flips += p.flipped ? 1 : 0;
  }
  double chi2 = 0;
  for (const int c : cells) chi2 += (c - 1000.0) * (c - 1000.0) / 1000.0;
  CHECK(chi2 < 124.8);  // 80 degrees of freedom, p = 0.001
  CHECK(std::abs(flips - n / 2) < 712);
  CHECK(placement({}, 99, 5) == Placement{});
  CHECK(placement({.pad = 0, .flip = 1}, 99, 5) == Placement{0, 0, true});
  CHECK(placement(augment, 99, 5) == placement(augment, 99, 5));
}

TEST_CASE("measured channels are the mean and deviation of the pixels") {
  ImageSet set{2, 1, 1, 2, {0, 7, 255, 7}, {0, 0}, 1, "", "", {}};
  const Normalise n = measured_channels(set);
  CHECK(n.mean[0] == 0.5f);
  CHECK(n.std[0] == 0.5f);
  CHECK(n.std[1] == 1.0f);
}

TEST_CASE("settings out of range are named") {
  CHECK_REFUSED(PolicyError, "found 1 means and 1 deviations, needed 3", mnist_channels().validate(3));
  CHECK_REFUSED(PolicyError, "deviation 0", (Normalise{{0}, {0}}.validate(1)));
  CHECK_REFUSED(PolicyError, "nan", (Normalise{{std::nanf("")}, {1}}.validate(1)));
  cifar10_channels().validate(3);
  CHECK_REFUSED(PolicyError, "Augment::pad: found -1", (Augment{.pad = -1}.validate()));
  CHECK_REFUSED(PolicyError, "Augment::flip: found 1.5", (Augment{.flip = 1.5}.validate()));
}
