// SPDX-License-Identifier: Apache-2.0
// Selection by rank against the standard library's stable sort, on data that is random, tied, sorted, hostile or not
// a number, for several numbers of threads.
#include <espalier/prune/detail/rank.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/tensor/rng.hpp>

using namespace espalier;
using namespace espalier::detail;

namespace rank_test {

namespace {

using Words = std::vector<std::uint64_t>;

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float nan_score = std::numeric_limits<float>::quiet_NaN();
constexpr float denormal = std::numeric_limits<float>::denorm_min();

// Tensors of scores and which of them are alive: the bits are always there, and may not be passed on.
struct Tensors {
  std::vector<std::vector<float>> scores{};
  std::vector<Words> alive{};
  bool all_alive = true;

  void add(std::vector<float> values) {
    Words words((values.size() + 63) / 64, 0);
    for (std::size_t i = 0; i < values.size(); ++i) words[i / 64] |= std::uint64_t{1} << (i % 64);
    scores.push_back(std::move(values));
    alive.push_back(std::move(words));
  }
  void kill(std::size_t tensor, std::size_t i) {
    all_alive = false;
    alive[tensor][i / 64] &= ~(std::uint64_t{1} << (i % 64));
  }
  bool is_alive(std::size_t tensor, std::size_t i) const { return (alive[tensor][i / 64] >> (i % 64) & 1) != 0; }
  Index live() const {
    Index count = 0;
    for (std::size_t t = 0; t < scores.size(); ++t)
      for (std::size_t i = 0; i < scores[t].size(); ++i) count += is_alive(t, i) ? 1 : 0;
    return count;
  }
  std::vector<ScoreSegment> segments() const {
    std::vector<ScoreSegment> all;
    for (std::size_t t = 0; t < scores.size(); ++t) all.push_back({scores[t], all_alive ? nullptr : alive[t].data()});
    return all;
  }
};

std::vector<Words> removed(int threads, const Tensors& tensors, ScoreKey key, Index k) {
  ThreadPool pool(threads);
  std::vector<Words> out = tensors.alive;
  std::vector<std::uint64_t*> pointers;
  for (auto& words : out) pointers.push_back(words.data());
  remove_smallest(pool, tensors.segments(), key, k, pointers);
  return out;
}

// What goes first, first: by score, of equal ones the last.
struct Sorted {
  struct Place {
    float score;
    std::size_t tensor, index;
  };
  std::vector<Place> order{};

  Sorted(const Tensors& tensors, ScoreKey key) {
    for (std::size_t t = tensors.scores.size(); t-- > 0;)
      for (std::size_t i = tensors.scores[t].size(); i-- > 0;) {
        const float score = tensors.scores[t][i];
        if (tensors.is_alive(t, i)) order.push_back({key == ScoreKey::magnitude ? std::fabs(score) : score, t, i});
      }
    std::stable_sort(order.begin(), order.end(), [](const Place& a, const Place& b) { return a.score < b.score; });
  }
  Cut cut(Index k) const {
    const float threshold = order[static_cast<std::size_t>(k - 1)].score;
    const auto below = std::partition_point(order.begin(), order.end(), [&](const Place& p) { return p.score < threshold; });
    const auto upto = std::partition_point(order.begin(), order.end(), [&](const Place& p) { return p.score <= threshold; });
    return {threshold, below - order.begin(), upto - below};
  }
  std::vector<Words> removed(const Tensors& tensors, Index k) const {
    std::vector<Words> out = tensors.alive;
    for (Index r = 0; r < k; ++r) {
      const Place& place = order[static_cast<std::size_t>(r)];
      out[place.tensor][place.index / 64] &= ~(std::uint64_t{1} << (place.index % 64));
    }
    return out;
  }
};

// Both orders, these ranks, and 1, 2, 3, 4 and 7 threads.
void check_ranks(const Tensors& tensors, const std::vector<Index>& ranks) {
  for (const ScoreKey key : {ScoreKey::value, ScoreKey::magnitude}) {
    const Sorted sorted(tensors, key);
    for (const Index k : ranks) {
      CAPTURE(k);
      const auto expected = sorted.removed(tensors, k);
      for (const int threads : {1, 2, 3, 4, 7}) {
        CAPTURE(threads);
        ThreadPool pool(threads);
        CHECK(find_cut(pool, tensors.segments(), key, k) == sorted.cut(k));
        CHECK((removed(threads, tensors, key, k) == expected));
      }
    }
  }
}

// 1, all, and some between.
void check(const Tensors& tensors) {
  const Index n = tensors.live();
  std::vector<Index> ranks{1, n / 5, n / 2, n - 1, n};
  std::erase_if(ranks, [](Index k) { return k < 1; });
  check_ranks(tensors, ranks);
}

std::vector<float> normal(Index count, Index seed) {
  Rng rng(static_cast<std::uint64_t>(seed));
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& v : values) v = rng.normal();
  return values;
}

Tensors one(std::vector<float> values) {
  Tensors t;
  t.add(std::move(values));
  return t;
}

template <class F>
std::string sentence(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("the cut and the bits are those of a stable sort, for every size") {
  for (const Index size : {1, 2, 15, 63, 64, 65, 127, 4096, 4097, 16383, 16384, 16385, 70000}) {
    CAPTURE(size);
    check(one(normal(size, size)));
  }
  check_ranks(one(normal(1000000, 5)), {800000});
}

TEST_CASE("tensors of any sizes, empty ones too, are one ranking") {
  Tensors t;
  for (const Index size : {0, 1, 63, 0, 64, 65, 16385, 5, 40000, 0}) t.add(normal(size, size));
  check(t);
  Tensors scaled;  // layers whose scores are of different sizes, as those of a network are
  for (const Index size : {864, 18432, 36864, 73728, 640}) {
    scaled.add(normal(size, size));
    for (float& score : scaled.scores.back()) score /= std::sqrt(static_cast<float>(size));
  }
  check(scaled);
}

TEST_CASE("every rank of a small tensor with ties is right") {
  Tensors t;
  Rng rng(3);
  for (const Index size : {70, 3, 64}) {
    std::vector<float> values(static_cast<std::size_t>(size));
    for (float& v : values) v = static_cast<float>(rng.below(7)) - 3.0f;
    t.add(std::move(values));
  }
  std::vector<Index> ranks;
  for (Index k = 1; k <= t.live(); ++k) ranks.push_back(k);
  check_ranks(t, ranks);
}

// PyTorch, test/nn/test_pruning.py, test_unstructured_pruning_same_magnitude.
TEST_CASE("a fifth of a 10x7 tensor of -2, 0 and 2 is exactly 14, however many are equal") {
  Rng rng(11);
  for (int round = 0; round < 20; ++round) {
    std::vector<float> values(70);
    for (float& v : values) v = 2.0f * (static_cast<float>(rng.below(3)) - 1.0f);
    const Tensors t = one(values);
    const auto left = removed(2, t, ScoreKey::magnitude, 14);
    CHECK(std::popcount(left[0][0]) + std::popcount(left[0][1]) == 56);
    CHECK((left == Sorted(t, ScoreKey::magnitude).removed(t, 14)));
  }
}

TEST_CASE("of equal scores the later go and the earlier stay") {
  Tensors t;
  t.add(std::vector<float>(100, 0.5f));
  t.add(std::vector<float>(200000, -0.5f));
  t.add(std::vector<float>(3, 0.5f));
  check(t);
  const auto left = removed(2, t, ScoreKey::magnitude, 200000);
  CHECK(left[0] == t.alive[0]);
  CHECK(std::popcount(left[1][0]) == 3);
  CHECK((left[1][0] == 7 && left[1][1] == 0 && left[2][0] == 0));
}

TEST_CASE("heavy ties are counted, wherever the cut is among them") {
  for (const int part : {2, 10, 100}) {  // every part-th score is 0, or all but those
    Tensors zeros = one(normal(70000, 1)), others = zeros;
    for (std::size_t i = 0; i < zeros.scores[0].size(); ++i) (static_cast<int>(i) % part == 0 ? zeros : others).scores[0][i] = 0;
    check(zeros);
    check(others);
    const Index n = zeros.live(), tied = n / part;
    check_ranks(zeros, {tied - 1, tied, tied + 1, tied + 20});
    check_ranks(others, {n - tied - 1, n - tied, n - tied + 1});
  }
  Tensors few_values = one(normal(70000, 2));
  for (float& v : few_values.scores[0]) v = std::round(4 * v);
  check(few_values);
}

TEST_CASE("dead scores take no part") {
  for (const double density : {0.9, 0.5, 0.03}) {
    Tensors t;
    Rng rng(17);
    for (const Index size : {65, 30000, 0, 60000}) {
      t.add(normal(size, size));
      for (std::size_t i = 0; i < t.scores.back().size(); ++i)
        if (!rng.bernoulli(density)) t.kill(t.scores.size() - 1, i);
    }
    check(t);
  }
  for (const int apart : {10, 50, 300000}) {  // a few alive among many, and one alone
    Tensors t = one(normal(300000, 3));
    for (std::size_t i = 0; i < 300000; ++i)
      if (static_cast<int>(i) % apart != 7) t.kill(0, i);
    check(t);
  }
}

TEST_CASE("the words to clear may be the alive bits themselves") {
  Tensors t = one(normal(100000, 4));
  for (std::size_t i = 0; i < 100000; i += 3) t.kill(0, i);
  for (std::size_t i = 0; i < 100000; i += 5) t.scores[0][i] = 0.25f;
  const auto expected = removed(1, t, ScoreKey::magnitude, 30000);
  ThreadPool pool(3);
  std::uint64_t* const words[] = {t.alive[0].data()};
  remove_smallest(pool, t.segments(), ScoreKey::magnitude, 30000, words);
  CHECK((t.alive == expected));
}

TEST_CASE("bits beyond the scores and bits of the dead are left as they are") {
  ThreadPool pool(2);
  Words words(2, ~std::uint64_t{0});
  std::uint64_t* const out[] = {words.data()};
  const std::vector<float> ones(70, 1.0f);
  const ScoreSegment segment{.scores = ones};
  remove_smallest(pool, {&segment, 1}, ScoreKey::value, 70, out);
  CHECK(words[0] == 0);
  CHECK(words[1] == ~std::uint64_t{63});
  const Words alive(2, ~std::uint64_t{0});
  const ScoreSegment marked{.scores = ones, .alive = alive.data()};
  CHECK(find_cut(pool, {&marked, 1}, ScoreKey::value, 70) == Cut{1.0f, 0, 70});
}

TEST_CASE("round after round, a fifth of what is alive goes and nothing comes back") {
  Tensors t = one(normal(266200, 9));
  t.all_alive = false;
  Index alive = t.live();
  for (int round = 0; round < 10; ++round) {
    const Index k = alive / 5;
    const auto before = t.alive;
    t.alive = removed(2, t, ScoreKey::magnitude, k);
    alive -= k;
    CHECK(t.live() == alive);
    for (std::size_t w = 0; w < before[0].size(); ++w) CHECK((t.alive[0][w] & ~before[0][w]) == 0);
  }
}

TEST_CASE("none may be removed") {
  const Tensors t = one(normal(100, 1));
  CHECK((removed(2, t, ScoreKey::value, 0) == t.alive));
}

TEST_CASE("zero and minus zero are equal, denormals are not zero, infinities are the ends") {
  std::vector<float> values;
  for (int i = 0; i < 3000; ++i)
    for (const float v : {0.0f, -0.0f, denormal, -denormal, 2 * denormal, inf, -inf, std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest(), 1.0f})
      values.push_back(v);
  check(one(values));
  values.resize(40);
  std::vector<Index> ranks;
  for (Index k = 1; k <= 40; ++k) ranks.push_back(k);
  check_ranks(one(values), ranks);
  ThreadPool pool(1);
  CHECK_FALSE(std::signbit(find_cut(pool, one({-0.0f}).segments(), ScoreKey::value, 1).threshold));
}

TEST_CASE("sorted, reversed, organ-pipe, sawtooth and widely spread scores are ranked as others are") {
  const std::size_t n = 50000;
  std::vector<float> rising(n), falling(n), pipe(n), saw(n), spread(n);
  Rng rng(8);
  for (std::size_t i = 0; i < n; ++i) {
    rising[i] = static_cast<float>(i);
    falling[i] = static_cast<float>(n - i);
    pipe[i] = static_cast<float>(std::min(i, n - i));
    saw[i] = static_cast<float>(i % 4096);
    spread[i] = std::ldexp(rng.uniform() - 0.5f, static_cast<int>(rng.below(200)) - 100);
  }
  for (const auto& values : {rising, falling, pipe, saw, spread}) check(one(values));
}

TEST_CASE("a sample that misleads costs time and changes nothing") {
  const Index n = 100000;
  for (const float sampled : {9.0f, -9.0f, 0.0f}) {  // far above the rest, far below it, in its middle
    std::vector<float> values = normal(n, 6);
    for (const Index place : sample_places(n))
      for (Index i = place; i < place + sample_run; ++i) values[static_cast<std::size_t>(i)] = sampled + 1e-3f * static_cast<float>(i % 50);
    check(one(values));
    for (float& v : values)
      if (v < 8) v = std::round(v);  // and with heavy ties where no sample was taken
    check(one(values));
  }
  // All that was sampled is dead.
  Tensors t = one(normal(n, 7));
  for (const Index place : sample_places(n))
    for (Index i = place; i < place + sample_run; ++i) t.kill(0, static_cast<std::size_t>(i));
  check(t);
}

TEST_CASE("the sample's places lie inside, in order, apart, and everywhere") {
  for (const Index total : {1, 15, 16, 17, 4097, 100000, 15000000}) {
    const auto places = sample_places(total);
    REQUIRE_FALSE(places.empty());
    CHECK(places.front() >= 0);
    CHECK(places.back() < total);
    for (std::size_t i = 1; i < places.size(); ++i) CHECK(places[i] >= places[i - 1] + sample_run);
    for (std::size_t eighth = 1; eighth < 8 && places.size() > 8; ++eighth)
      CHECK(static_cast<double>(places[eighth * places.size() / 8]) == doctest::Approx(static_cast<double>(total) * static_cast<double>(eighth) / 8).epsilon(0.1));
  }
}

TEST_CASE("an alive NaN is refused by its place, a dead one is not looked at") {
  for (const ScoreKey key : {ScoreKey::value, ScoreKey::magnitude})
    for (const float bad : {nan_score, -nan_score, std::bit_cast<float>(0x7f800001)}) {
      Tensors t;
      for (const Index size : {100, 80000, 100}) t.add(normal(size, size));
      const auto is_bad = [](std::size_t tensor, std::size_t i) { return tensor == 2 || (tensor == 1 && i >= 54321 && i % 7 < 2); };
      for (std::size_t tensor = 0; tensor < 3; ++tensor)
        for (std::size_t i = 0; i < t.scores[tensor].size(); ++i)
          if (is_bad(tensor, i)) t.scores[tensor][i] = bad;
      for (const int threads : {1, 2, 3, 4, 7}) {
        ThreadPool pool(threads);
        bool thrown = false;
        try {
          (void)find_cut(pool, t.segments(), key, 1000);
        } catch (const NotANumber& e) {
          thrown = true;
          CHECK(e.segment == 1);
          CHECK(e.index == 54321);
          CHECK(std::string(e.what()) ==
                "selection: score 54321 of tensor 1 is NaN; a number is needed, or it has no rank. Has training diverged?");
        }
        CHECK(thrown);
      }
      auto words = t.alive;
      std::uint64_t* const out[] = {words[0].data(), words[1].data(), words[2].data()};
      ThreadPool pool(2);
      CHECK_THROWS_AS(remove_smallest(pool, t.segments(), key, 1000, out), NotANumber);
      CHECK((words == t.alive));
      for (std::size_t tensor = 0; tensor < 3; ++tensor)
        for (std::size_t i = 0; i < t.scores[tensor].size(); ++i)
          if (is_bad(tensor, i)) t.kill(tensor, i);
      check(t);
    }
  Tensors small = one({1.0f, nan_score, 2.0f});
  ThreadPool pool(1);
  CHECK_THROWS_AS((void)find_cut(pool, small.segments(), ScoreKey::value, 1), NotANumber);
}

TEST_CASE("the first NaN is named, whichever thread meets one first") {
  Tensors t = one(std::vector<float>(600000, nan_score));
  std::fill_n(t.scores[0].begin(), 20000, 1.0f);
  for (const int threads : {1, 2, 3, 4, 7}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 5; ++round)
      CHECK(sentence([&] { (void)find_cut(pool, t.segments(), ScoreKey::value, 1); }).starts_with("selection: score 20000 of tensor 0 is NaN"));
  }
}

TEST_CASE("a rank that does not exist is refused with a sentence") {
  ThreadPool pool(2);
  Tensors t = one({3, 1, 2, 5});
  t.kill(0, 1);
  for (const Index k : {-1, 0, 4, 5})
    CHECK_THROWS_AS((void)find_cut(pool, t.segments(), ScoreKey::value, k), PolicyError);
  CHECK(sentence([&] { (void)find_cut(pool, t.segments(), ScoreKey::value, 4); }) ==
        "selection: asked for the 4 smallest of 3 alive scores; from 1 to 3 can be had. Is the amount counted of the weights still alive?");
  CHECK_THROWS_AS((void)find_cut(pool, {}, ScoreKey::value, 1), PolicyError);
  CHECK_THROWS_AS(removed(1, t, ScoreKey::value, -1), PolicyError);
}

TEST_CASE("inside a region of the pool the selection runs on the thread that asked") {
  const Tensors t = one(normal(60000, 12));
  const Cut expected = Sorted(t, ScoreKey::magnitude).cut(20000);
  ThreadPool pool(3);
  std::vector<Cut> cuts(6);
  pool.run(6, [&](Index i, int) { cuts[static_cast<std::size_t>(i)] = find_cut(pool, t.segments(), ScoreKey::magnitude, 20000); });
  for (const Cut& cut : cuts) CHECK(cut == expected);
}

}  // namespace rank_test
