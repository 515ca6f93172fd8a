// SPDX-License-Identifier: Apache-2.0
// Jobs side by side: one network a core, or the cores shared out among fewer networks, each with the bits that it
// has alone.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace examples {

/// A queue of jobs. A job is called with the device of the thread that takes it, and may add further jobs, which
/// come after those that wait. The first exception ends the run: no further job is started, and run() throws it.
template <class Device>
class SideBySide {
 public:
  using Job = std::function<void(Device&)>;

  void add(Job job) {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(job));
    changed_.notify_one();
  }

  /// Works until nothing waits or runs, on `threads` threads, 0 for as many as the machine has. `at_once` says how
  /// many jobs can ever run at a time: where they are fewer, each gets a larger share of the threads. A worker makes
  /// its device by make_device(its threads).
  template <class MakeDevice>
  void run(int threads, long at_once, MakeDevice make_device) {
    if (threads == 0) threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    const int workers = static_cast<int>(std::clamp<long>(at_once, 1, threads));
    {
      std::vector<std::jthread> pool;
      for (int i = 0; i < workers; ++i)
        pool.emplace_back([&, share = threads / workers] {
          try {
            auto device = make_device(share);
            work(device);
          } catch (...) {
            fail(std::current_exception());
          }
        });
    }
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void work(Device& device) {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return !waiting_.empty() || running_ == 0 || failure_; });
      if (failure_ || waiting_.empty()) return;
      Job job = std::move(waiting_.front());
      waiting_.pop_front();
      ++running_;
      lock.unlock();
      try {
        job(device);
      } catch (...) {
        fail(std::current_exception());
      }
      lock.lock();
      --running_;
      if (running_ == 0) changed_.notify_all();
    }
  }
  void fail(std::exception_ptr failure) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = failure;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> waiting_;
  int running_ = 0;
  std::exception_ptr failure_;
};

}  // namespace examples
