// SPDX-License-Identifier: Apache-2.0
// From bytes to what a network is fed: normalised channels, and for training a random crop and flip.
// What happens to an image is a function of (seed, epoch, index of the image), not of the order or the
// thread in which images are made.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <espalier/data/dataset.hpp>
#include <espalier/error.hpp>
#include <espalier/tensor/rng.hpp>

namespace espalier::data {

/// y = (x / 255 - mean[c]) / std[c] for each channel c.
struct Normalise {
  std::vector<float> mean;  // one a channel, of pixels in 0 ... 1
  std::vector<float> std;   // one a channel, above 0
  bool operator==(const Normalise&) const = default;

  /// **Throws** PolicyError unless there is one finite mean and one positive deviation a channel.
  void validate(Index channels) const {
    const auto n = static_cast<std::size_t>(channels);
    if (mean.size() != n || std.size() != n) {
      throw PolicyError(str("Normalise: found ", mean.size(), " means and ", std.size(), " deviations, needed ", n,
                            ", one a channel; give as many as the images have channels"));
    }
    for (std::size_t c = 0; c < n; ++c) {
      if (!std::isfinite(mean[c]) || !std::isfinite(std[c]) || !(std[c] > 0)) {
        throw PolicyError(str("Normalise: channel ", c, ": found mean ", mean[c], " and deviation ", std[c],
                              ", needed finite numbers and a deviation above 0; correct them"));
      }
    }
  }
};

/// The constants that published models were trained with; state in a report which were used.
inline Normalise mnist_channels() { return {{0.1307f}, {0.3081f}}; }
inline Normalise fashion_mnist_channels() { return {{0.2860f}, {0.3530f}}; }
inline Normalise cifar10_channels() { return {{0.4914f, 0.4822f, 0.4465f}, {0.2470f, 0.2435f, 0.2616f}}; }
/// ImageNet's, which the CIFAR ResNets of akamaster and many others use.
inline Normalise imagenet_channels() { return {{0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}}; }
/// Mean and deviation of the set itself; a constant channel gets deviation 1.
inline Normalise measured_channels(const ImageSet& set) {
  Normalise out;
  const auto channels = static_cast<std::size_t>(set.c);
  for (std::size_t c = 0; c < channels; ++c) {
    std::uint64_t sum = 0, squares = 0;  // exact: 2^48 pixels fit
    for (std::size_t i = c; i < set.pixels.size(); i += channels) {
      sum += set.pixels[i];
      squares += std::uint64_t{set.pixels[i]} * set.pixels[i];
    }
    const double n = static_cast<double>(set.pixels.size() / channels), mean = static_cast<double>(sum) / n;
    const double variance = static_cast<double>(squares) / n - mean * mean;
    out.mean.push_back(static_cast<float>(mean / 255));
    out.std.push_back(variance > 0 ? static_cast<float>(std::sqrt(variance) / 255) : 1.0f);
  }
  return out;
}

/// The usual augmentation of small images; the default does nothing.
///
/// **Paper** He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016, section 4.2:
/// 4 pixels of padding and a flip of every second image, {.pad = 4, .flip = 0.5}.
/// **Differs** the padding is black, that is 0 before normalising, as common code has it.
struct Augment {
  Index pad = 0;      // pixels of black on each side before a window of the old size is cut out at random
  double flip = 0.0;  // probability of mirroring left and right
  bool operator==(const Augment&) const = default;

  void validate() const {
    if (pad < 0 || pad > 1024)
      throw PolicyError(str("Augment::pad: found ", pad, ", needed 0 to 1024 pixels; the usual value is 4"));
    if (!(flip >= 0 && flip <= 1))
      throw PolicyError(
          str("Augment::flip: found ", flip, ", needed a probability from 0 to 1; the usual value is 0.5"));
  }
};

/// What was drawn for one image: output (y, x) shows input (y + dy, x + dx), x mirrored first if flipped.
struct Placement {
  Index dy = 0, dx = 0;
  bool flipped = false;
  bool operator==(const Placement&) const = default;
};

/// The draw for image `index` under a key that stands for seed and epoch.
inline Placement placement(const Augment& augment, std::uint64_t key, std::uint64_t index) {
  const PhiloxBlock random = Rng::block(key, index);
  const auto side = static_cast<std::uint64_t>(2 * augment.pad + 1);  // the bias is below 2^-21
  return {static_cast<Index>(random.word[0] * side >> 32) - augment.pad,
          static_cast<Index>(random.word[1] * side >> 32) - augment.pad, random.word[2] < augment.flip * 0x1p32};
}

/// Applies a Normalise by table: 256 results a channel, rounded once from double.
class PixelTable {
 public:
  explicit PixelTable(const Normalise& n) : table_(n.mean.size()) {
    for (std::size_t c = 0; c < table_.size(); ++c) {
      for (std::size_t v = 0; v < 256; ++v) {
        table_[c][v] = static_cast<float>((static_cast<double>(v) / 255 - double{n.mean[c]}) / double{n.std[c]});
      }
    }
  }

  /// Writes an image, H W C both, moved and mirrored as `place` says; what comes from outside is black.
  void apply(std::span<const std::uint8_t> image, ImageShape shape, Placement place, std::span<float> out) const {
    // Outputs [first, last) of each row show the image; in the mirror, output x shows w - 1 - (x + dx).
    const Index first = std::clamp<Index>(-place.dx, 0, shape.w);
    const Index last = std::clamp<Index>(shape.w - place.dx, first, shape.w);
    const auto step = place.flipped ? -shape.c : shape.c;
    for (Index y = 0; y < shape.h; ++y) {
      const Index from_y = y + place.dy;
      float* to = out.data() + y * shape.w * shape.c;
      if (from_y < 0 || from_y >= shape.h || first == last) {
        black(to, shape.w);
        continue;
      }
      const Index from_x = place.flipped ? shape.w - 1 - (first + place.dx) : first + place.dx;
      black(to, first);
      row(image.data() + (from_y * shape.w + from_x) * shape.c, step, to + first * shape.c, last - first);
      black(to + last * shape.c, shape.w - last);
    }
  }

 private:
  void black(float* to, Index pixels) const {
    for (Index x = 0; x < pixels; ++x) {
      for (const auto& channel : table_) *to++ = channel[0];
    }
  }
  // The numbers of channels that occur get a loop of their own.
  void row(const std::uint8_t* from, Index step, float* to, Index pixels) const {
    if (table_.size() == 1) {
      const float* grey = table_[0].data();
      for (Index x = 0; x < pixels; ++x) to[x] = grey[from[x * step]];
    } else if (table_.size() == 3) {
      const float *r = table_[0].data(), *g = table_[1].data(), *b = table_[2].data();
      for (Index x = 0; x < pixels; ++x) {
        to[3 * x] = r[from[x * step]];
        to[3 * x + 1] = g[from[x * step + 1]];
        to[3 * x + 2] = b[from[x * step + 2]];
      }
    } else {
      for (Index x = 0; x < pixels; ++x) {
        for (std::size_t c = 0; c < table_.size(); ++c) *to++ = table_[c][from[x * step + static_cast<Index>(c)]];
      }
    }
  }

  std::vector<std::array<float, 256>> table_;
};

}  // namespace espalier::data
