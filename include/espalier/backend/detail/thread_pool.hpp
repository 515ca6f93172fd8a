// SPDX-License-Identifier: Apache-2.0
// A fork-join pool. A region is cut into blocks by its caller. Each thread begins with its own share of them, the
// same in every region of as many blocks, so that what it wrote last time is still in its cache; then it takes
// what others have left. Which thread runs a block must not matter to the result, so results do not depend on
// the number of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <espalier/backend/detail/subnormals.hpp>
#include <espalier/backend/geometry.hpp>

namespace espalier::detail {

/// `threads() - 1` workers and the caller. One region at a time; a region started inside another
/// one runs inline on the thread that started it. Blocks treat subnormals as asked for, on every thread.
class ThreadPool {
 public:
  explicit ThreadPool(int threads, Subnormals subnormals = Subnormals::keep) : threads_(std::clamp(threads, 1, max_threads)), subnormals_(subnormals) {
    shares_ = std::make_unique<Share[]>(static_cast<std::size_t>(threads_));
    workers_.reserve(static_cast<std::size_t>(threads_ - 1));
    ids_.resize(static_cast<std::size_t>(threads_ - 1));
    try {
      for (int i = 1; i < threads_; ++i) {
        workers_.push_back(std::thread([this, i] { serve(i); }));
        ids_[static_cast<std::size_t>(i - 1)] = workers_.back().get_id();
      }
    } catch (...) {
      stop();
      throw;
    }
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() { stop(); }

  int threads() const { return threads_; }

  /// Calls f(block, worker) once for each block in [0, blocks) and returns when all are done; worker
  /// is in [0, threads()) and no two blocks run at once with the same one. The first exception that
  /// leaves a block is thrown here, after the others have stopped.
  template <class F>
  void run(Index blocks, F&& f) {
    using Body = std::remove_reference_t<F>;
// Where clang cannot vectorise the loop of a body (it may be asked to, and meet a call), it would say so of this line.
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wpass-failed"
#endif
    run_body(blocks, const_cast<void*>(static_cast<const void*>(std::addressof(f))),
             [](void* body, Index block, int worker) { (*static_cast<Body*>(body))(block, worker); });
#if defined(__clang__)
#pragma clang diagnostic pop
#endif
  }

 private:
  using Call = void (*)(void* body, Index block, int worker);

  // No template, so that it is compiled once for all bodies.
  void run_body(Index blocks, void* body, Call call) {
    if (blocks <= 0) return;
    if (threads_ == 1 || blocks == 1 || inside_.load(std::memory_order_relaxed)) {
      const int worker = this_worker();
      const SubnormalScope scope(subnormals_);
      for (Index block = 0; block < blocks; ++block) call(body, block, worker);
      return;
    }
    body_ = body;
    call_ = call;
    for (int i = 0; i < threads_; ++i) {
      Share& share = shares_[static_cast<std::size_t>(i)];
      share.next.store((blocks * i + threads_ - 1) / threads_, std::memory_order_relaxed);
      share.end = (blocks * (i + 1) + threads_ - 1) / threads_;
    }
    inside_.store(true, std::memory_order_relaxed);
    const std::uint32_t closed = state_.load(std::memory_order_relaxed);
    state_.store((closed & epoch_mask) + epoch_step + open_bit, std::memory_order_seq_cst);
    state_.notify_all();
    work(0);
    // Workers that have not joined by now are shut out, so a sleeping one is not waited for.
    std::uint32_t state = state_.fetch_and(~open_bit, std::memory_order_acq_rel);
    for (int spins = 0; (state & active_mask) != 0; state = state_.load(std::memory_order_acquire)) {
      if (++spins < 512) relax(); else std::this_thread::yield();
    }
    inside_.store(false, std::memory_order_relaxed);
    if (failed_.load(std::memory_order_relaxed)) {
      failed_.store(false, std::memory_order_relaxed);
      std::rethrow_exception(std::exchange(failure_, nullptr));
    }
  }

  // state_: how many workers are in the region (15 bits), whether it may be joined (1), its number (16).
  static constexpr int max_threads = 1024;
  static constexpr std::uint32_t active_mask = 0x7fff, open_bit = 0x8000, epoch_mask = 0xffff0000u, epoch_step = 0x10000;

  // The blocks that a worker begins with: those from `next` on are still to do.
  struct alignas(64) Share {
    std::atomic<Index> next = 0;
    Index end = 0;
  };

  static void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  int this_worker() const {
    const auto self = std::this_thread::get_id();
    if (inside_.load(std::memory_order_relaxed))
      for (std::size_t i = 0; i < ids_.size(); ++i)
        if (ids_[i] == self) return static_cast<int>(i) + 1;
    return 0;
  }

  void work(int worker) {
    const SubnormalScope scope(subnormals_);
    try {
      for (int i = 0; i < threads_; ++i) {
        Share& share = shares_[static_cast<std::size_t>((worker + i) % threads_)];
        for (Index block; (block = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;) call_(body_, block, worker);
      }
    } catch (...) {
      for (int i = 0; i < threads_; ++i) {
        Share& share = shares_[static_cast<std::size_t>(i)];
        share.next.store(share.end, std::memory_order_relaxed);
      }
      if (!failed_.exchange(true, std::memory_order_relaxed)) failure_ = std::current_exception();
    }
  }

  void serve(int worker) {
    std::uint32_t seen = 0;
    int spins = 0;
    for (;;) {
      std::uint32_t state = state_.load(std::memory_order_acquire);
      if ((state & open_bit) != 0 && (state & epoch_mask) != seen) {
        if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) continue;
        seen = state & epoch_mask;
        work(worker);
        state_.fetch_sub(1, std::memory_order_acq_rel);
        spins = 0;
      } else if (stopping_.load(std::memory_order_acquire)) {
        return;
      } else if (++spins < spin_limit) {
        if (spins % 64 == 0) std::this_thread::yield(); else relax();
      } else {
        state_.wait(state, std::memory_order_acquire);
        spins = 0;
      }
    }
  }

  void stop() {
    stopping_.store(true, std::memory_order_release);
    state_.fetch_add(epoch_step, std::memory_order_seq_cst);
    state_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  static constexpr int spin_limit = 1500;  // some 20 microseconds

  int threads_;
  Subnormals subnormals_;
  std::vector<std::thread> workers_;
  std::vector<std::thread::id> ids_;
  void* body_ = nullptr;
  Call call_ = nullptr;
  std::unique_ptr<Share[]> shares_;  // by worker
  std::exception_ptr failure_;
  std::atomic<bool> failed_ = false, inside_ = false, stopping_ = false;
  alignas(64) std::atomic<std::uint32_t> state_ = 0;
};

}  // namespace espalier::detail
