// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include <espalier/data/loader.hpp>
#include "io/scratch.hpp"

using espalier::DataError;
using espalier::Index;
using espalier::PolicyError;
using namespace espalier::data;

namespace {
std::atomic<int> allocations{0};
}

// Not inlined, lest the compiler see malloc beside delete and warn.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++allocations;
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

// 4 x 4 x 2 images whose values differ from image to image and place to place.
ImageSet pictures(int count) {
  ImageSet set{count, 4, 4, 2, {}, {}, 10, "pictures", "made up", {}};
  for (int i = 0; i < count; ++i) {
    for (int p = 0; p < 32; ++p) set.pixels.push_back(static_cast<std::uint8_t>(i * 37 + p * 5));
    set.labels.push_back(i % 10);
  }
  return set;
}

LoaderSettings training(Index batch) {
  return {.batch = batch,
          .order = Order::shuffled,
          .normalise = {{0.5f, 0.4f}, {0.2f, 0.3f}},
          .augment = {.pad = 2, .flip = 0.5},
          .seed = 7};
}

struct Seen {
  std::vector<std::uint32_t> indices;
  std::vector<std::int32_t> labels;
  std::vector<float> pixels;
  int epochs = 0;
  bool operator==(const Seen&) const = default;
};

// Appends the next `calls` results of next().
template <class L>
void draw(L& loader, int calls, Seen& seen) {
  for (int i = 0; i < calls; ++i) {
    if (const Batch* b = loader.next()) {
      REQUIRE(b->count == static_cast<Index>(b->labels.size()));
      seen.indices.insert(seen.indices.end(), b->indices.begin(), b->indices.end());
      seen.labels.insert(seen.labels.end(), b->labels.begin(), b->labels.end());
      seen.pixels.insert(seen.pixels.end(), b->pixels.begin(), b->pixels.end());
    } else {
      ++seen.epochs;
    }
  }
}

// Fails when image 5 is asked for; counts the images that were.
struct Failing {
  ImageSet set = pictures(20);
  mutable std::atomic<int> asked{0};
  Index size() const { return set.size(); }
  ImageShape shape() const { return set.shape(); }
  std::span<const std::uint8_t> image(Index i) const {
    ++asked;
    if (i == 5) throw DataError("image 5 is torn");
    return set.image(i);
  }
  std::int32_t label(Index i) const { return set.label(i); }
};
static_assert(Dataset<Failing>);

}  // namespace

TEST_CASE("without shuffling or augmentation the set comes as it is stored, normalised") {
  const ImageSet set = pictures(10);
  Loader loader(set, {.batch = 4, .normalise = {{0, 0}, {1, 1}}});
  CHECK(loader.batches_per_epoch() == 3);
  Seen seen;
  draw(loader, 4, seen);
  CHECK(seen.epochs == 1);
  CHECK(seen.labels == set.labels);
  for (std::size_t i = 0; i < set.pixels.size(); ++i) REQUIRE(seen.pixels[i] == doctest::Approx(set.pixels[i] / 255.0));
}

TEST_CASE("each epoch shows every image once, in another order, with its own label") {
  const ImageSet set = pictures(50);
  Loader loader(set, training(8));
  std::vector<std::vector<std::uint32_t>> orders;
  for (int epoch = 0; epoch < 3; ++epoch) {
    Seen seen;
    draw(loader, 8, seen);
    CHECK(seen.epochs == 1);
    for (std::size_t i = 0; i < seen.indices.size(); ++i) CHECK(seen.labels[i] == set.label(seen.indices[i]));
    orders.push_back(seen.indices);
    std::sort(seen.indices.begin(), seen.indices.end());
    for (std::uint32_t i = 0; i < 50; ++i) REQUIRE(seen.indices.at(i) == i);
  }
  CHECK(orders[0] != orders[1]);
  CHECK(orders[1] != orders[2]);
}

TEST_CASE("what is seen does not depend on the thread, the number prepared ahead or the batch size") {
  const ImageSet set = pictures(50);
  Seen reference;
  auto settings = training(8);
  settings.prefetch = 0;
  Loader alone(set, settings);
  draw(alone, 24, reference);
  CHECK(reference.epochs == 3);
  for (const Index prefetch : {1, 2, 5}) {
    settings.prefetch = prefetch;
    Loader ahead(set, settings);
    Seen seen;
    draw(ahead, 24, seen);
    CHECK(seen == reference);
  }
  settings.batch = 25;
  Loader large(set, settings);
  Seen seen;
  draw(large, 9, seen);
  CHECK(seen == reference);
}

TEST_CASE("another seed gives another order and other crops") {
  const ImageSet set = pictures(50);
  auto settings = training(50);
  Seen a, b;
  Loader one(set, settings);
  draw(one, 1, a);
  settings.seed = 8;
  Loader two(set, settings);
  draw(two, 1, b);
  CHECK(a.indices != b.indices);
  CHECK(a.pixels != b.pixels);
}

TEST_CASE("a loader resumed at any call sees what the uninterrupted one saw") {
  const ImageSet set = pictures(21);
  Loader whole(set, training(5));
  Seen expected;
  draw(whole, 13, expected);
  for (int cut = 0; cut <= 13; ++cut) {
    CAPTURE(cut);
    Loader first(set, training(5));
    Seen seen;
    draw(first, cut, seen);
    auto settings = training(5);
    settings.seed = 1234;  // the saved state brings its own
    Loader second(set, settings);
    second.seek(first.state());
    CHECK(second.state() == first.state());
    draw(second, 13 - cut, seen);
    CHECK(seen == expected);
    first.seek({7, 0, 0});  // a loader that is running can be moved, too
    Seen again;
    draw(first, 13, again);
    CHECK(again == expected);
  }
}

TEST_CASE("an incomplete last batch is dropped if asked") {
  const ImageSet set = pictures(10);
  auto settings = training(4);
  settings.last = LastBatch::drop;
  Loader loader(set, settings);
  CHECK(loader.batches_per_epoch() == 2);
  Seen seen;
  draw(loader, 6, seen);
  CHECK(seen.epochs == 2);
  CHECK(seen.indices.size() == 16);
}

TEST_CASE("an exception of the data set comes out after the batches before it, again and again") {
  const Failing set;
  for (const Index prefetch : {0, 1, 3}) {
    Loader<Failing> loader(set, {.batch = 2, .normalise = {{0, 0}, {1, 1}}, .prefetch = prefetch});
    CHECK(loader.next()->indices == std::vector<std::uint32_t>{0, 1});
    CHECK(loader.next()->indices == std::vector<std::uint32_t>{2, 3});
    CHECK_THROWS_WITH_AS(loader.next(), "image 5 is torn", DataError);
    CHECK_THROWS_WITH_AS(loader.next(), "image 5 is torn", DataError);
    CHECK(loader.state().next == 4);
    loader.seek({0, 0, 6});
    CHECK(loader.next()->indices == std::vector<std::uint32_t>{6, 7});
  }
}

TEST_CASE("no more is prepared ahead than asked for") {
  const Failing set;
  Loader<Failing> loader(set, {.batch = 1, .normalise = {{0, 0}, {1, 1}}, .prefetch = 2});
  loader.next();
  for (int waited = 0; waited < 2000 && set.asked < 3; ++waited)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(set.asked.load() == 3);  // the one handed out and two ahead
}

TEST_CASE("a loader ends at once, unused, running or after a failure") {
  const ImageSet set = pictures(50);
  for (int round = 0; round < 100; ++round) {
    Loader unused(set, training(8));
    Loader running(set, training(8));
    for (int i = 0; i < round % 4; ++i) running.next();
  }
  const Failing failing;
  Loader<Failing> failed(failing, {.batch = 8, .normalise = {{0, 0}, {1, 1}}});
  CHECK_THROWS_AS(failed.next(), DataError);
}

TEST_CASE("after the first epoch nothing is allocated") {
  const ImageSet set = pictures(50);
  for (const Index prefetch : {0, 2}) {
    auto settings = training(8);
    settings.prefetch = prefetch;
    Loader loader(set, settings);
    for (int i = 0; i < 30; ++i) loader.next();
    const int before = allocations.load();
    for (int i = 0; i < 100; ++i) loader.next();
    CHECK(allocations.load() == before);
  }
}

TEST_CASE("settings that cannot work are named") {
  const ImageSet set = pictures(10), none = pictures(0);
  const auto with = [&](auto change) {
    auto settings = training(4);
    change(settings);
    return std::make_unique<Loader<ImageSet>>(set, settings);
  };
  CHECK_REFUSED(PolicyError, "Loader: batch: found 0", with([](auto& s) { s.batch = 0; }));
  CHECK_REFUSED(PolicyError, "Loader: batch: found 11", with([](auto& s) { s.batch = 11, s.last = LastBatch::drop; }));
  CHECK_REFUSED(PolicyError, "Loader: prefetch: found -1", with([](auto& s) { s.prefetch = -1; }));
  CHECK_REFUSED(PolicyError, "Normalise: found 0 means", with([](auto& s) { s.normalise = {}; }));
  CHECK_REFUSED(PolicyError, "Augment::flip", with([](auto& s) { s.augment.flip = 2; }));
  CHECK_REFUSED(PolicyError, "the data set's size: found 0", std::make_unique<Loader<ImageSet>>(none, training(1)));
  Loader loader(set, training(4));
  CHECK_REFUSED(PolicyError, "found position 11, needed 0 to 10", (loader.seek({0, 0, 11}), 0));
}
