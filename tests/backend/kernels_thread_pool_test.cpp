// SPDX-License-Identifier: Apache-2.0
// The fork-join pool: every block once, exceptions, nesting, many short regions, sleeping workers.
#include <espalier/backend/detail/thread_pool.hpp>
#include <espalier/backend/detail/workspace.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

using espalier::Index;
using espalier::detail::ThreadPool;
using espalier::detail::Workspace;

TEST_CASE("every block runs exactly once, and no worker runs two at a time") {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    CHECK(pool.threads() == threads);
    for (const Index blocks : {0, 1, 2, 5, 1000}) {
      std::vector<int> runs(static_cast<std::size_t>(blocks));
      std::vector<std::atomic<int>> busy(static_cast<std::size_t>(threads));
      std::atomic<bool> overlap = false;
      pool.run(blocks, [&](Index block, int worker) {
        auto& mine = busy[static_cast<std::size_t>(worker)];
        if (mine.fetch_add(1) != 0) overlap = true;
        ++runs[static_cast<std::size_t>(block)];
        mine.fetch_sub(1);
      });
      CHECK_FALSE(overlap.load());
      CHECK(runs == std::vector<int>(runs.size(), 1));
    }
  }
}

TEST_CASE("a region sees what the one before it wrote, thousands of times") {
  ThreadPool pool(3);
  std::vector<long> values(64, 0);
  for (int round = 0; round < 5000; ++round) {
    pool.run(64, [&](Index block, int) { values[static_cast<std::size_t>(block)] += 1; });
    pool.run(64, [&](Index block, int) { values[static_cast<std::size_t>(63 - block)] += 1; });
  }
  CHECK(values == std::vector<long>(64, 10000));
}

TEST_CASE("workers that fell asleep come back") {
  ThreadPool pool(4);
  std::atomic<int> total = 0;
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    pool.run(16, [&](Index, int) { total.fetch_add(1); });
  }
  CHECK(total.load() == 320);
}

TEST_CASE("an exception of a block reaches the caller and the pool works on") {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 50; ++round) {
      CHECK_THROWS_WITH_AS(pool.run(100, [](Index block, int) { if (block == 37) throw std::runtime_error("block 37"); }), "block 37", std::runtime_error);
      std::atomic<int> total = 0;
      pool.run(10, [&](Index, int) { total.fetch_add(1); });
      CHECK(total.load() == 10);
    }
  }
}

TEST_CASE("a region inside a region runs on the thread that started it") {
  ThreadPool pool(3);
  std::atomic<int> total = 0;
  std::atomic<bool> moved = false;
  pool.run(12, [&](Index, int outer) {
    const auto self = std::this_thread::get_id();
    pool.run(5, [&](Index, int inner) {
      if (inner != outer || std::this_thread::get_id() != self) moved = true;
      total.fetch_add(1);
    });
  });
  CHECK(total.load() == 60);
  CHECK_FALSE(moved.load());
}

TEST_CASE("arenas are aligned, grow, and are handed out again") {
  Workspace ws(2);
  float* first = ws.get<float>(0, 0, 100);
  CHECK(reinterpret_cast<std::uintptr_t>(first) % 64 == 0);
  CHECK(ws.get<float>(0, 0, 50) == first);
  CHECK(ws.get<float>(1, 0, 100) != first);
  CHECK(ws.shared<float>(0, 100) != first);
  const auto held = ws.bytes();
  ws.get<float>(0, 0, 10000);
  CHECK(ws.bytes() >= held + 9000 * sizeof(float));
}
