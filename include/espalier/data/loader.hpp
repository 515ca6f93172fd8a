// SPDX-License-Identifier: Apache-2.0
// Hands out batches, prepared ahead by one thread. Which images, in which order and how augmented is a
// function of seed, epoch and position alone: a run that is stopped and resumed, or prepared without a
// thread, sees the same numbers.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <mutex>
#include <span>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <espalier/data/augment.hpp>
#include <espalier/data/dataset.hpp>
#include <espalier/error.hpp>
#include <espalier/tensor/rng.hpp>

namespace espalier::data {

/// Images as a network takes them, and what they are.
struct Batch {
  Index count = 0;
  ImageShape shape;
  std::vector<float> pixels;            // N H W C, normalised
  std::vector<std::int32_t> labels;     // N
  std::vector<std::uint32_t> indices;   // N, into the data set
};

/// Where a loader is. With the loader's settings, it determines every batch to come.
struct SamplerState {
  std::uint64_t seed = 0;
  std::uint64_t epoch = 0;
  Index next = 0;  // images of the epoch handed out so far
  bool operator==(const SamplerState&) const = default;
};

enum class Order { as_stored, shuffled };
enum class LastBatch { keep, drop };  // what happens to a batch that the data set cannot fill

struct LoaderSettings {
  Index batch = 128;
  Order order = Order::as_stored;
  LastBatch last = LastBatch::keep;
  Normalise normalise = {};
  Augment augment = {};
  std::uint64_t seed = 0;
  Index prefetch = 2;  // batches prepared ahead; 0 prepares each when asked for, without a thread
};

/// while (const Batch* batch = loader.next()) train(*batch);   is one epoch; do it again for the next.
///
/// Used by one thread at a time. The data set must outlive the loader. Exceptions of the data set come
/// out of next(). After the first epoch has begun, nothing is allocated.
template <Dataset D = ImageSet>
class Loader {
 public:
  /// **Throws** PolicyError naming the setting that is out of range.
  Loader(const D& set, LoaderSettings settings)
      : set_(set),
        settings_(validated(set, std::move(settings))),
        table_(settings_.normalise),
        state_{settings_.seed, 0, 0} {
    slots_.resize(static_cast<std::size_t>(settings_.prefetch) +
                  2);  // those ahead, one being made, one in the caller's hands
    free_.reserve(slots_.size());
    ready_.reserve(slots_.size());
  }
  Loader(const D&& set, LoaderSettings settings) = delete;  // it would dangle
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  /// The next batch of the epoch, valid until the next call; nullptr once at the end of each epoch.
  const Batch* next() {
    const std::size_t slot = settings_.prefetch == 0 ? make_now() : wait_for_one();
    const Batch& batch = slots_[slot];
    if (batch.count == 0) {
      ++state_.epoch;
      state_.next = 0;
      return nullptr;
    }
    state_.next += batch.count;
    return &batch;
  }

  /// The position after the batches handed out; what was prepared ahead does not count.
  SamplerState state() const { return state_; }
  /// Continues at a saved position, its seed included. **Throws** PolicyError if the data set is too small for it.
  void seek(SamplerState state) {
    if (state.next < 0 || state.next > set_.size()) {
      throw PolicyError(str("Loader::seek: found position ", state.next, ", needed 0 to ", set_.size(),
                            "; the state belongs to another data set"));
    }
    stop();
    state_ = state;
  }

  Index batches_per_epoch() const {
    const Index extra = settings_.last == LastBatch::keep ? settings_.batch - 1 : 0;
    return (set_.size() + extra) / settings_.batch;
  }
  const LoaderSettings& settings() const { return settings_; }

 private:
  static constexpr std::size_t nothing = ~std::size_t{0};

  /// Makes batches one after another from a position on.
  struct Producer {
    SamplerState at;
    std::vector<std::uint32_t> order;  // of epoch `ordered`, if not empty
    std::uint64_t ordered = 0;

    void make(const Loader& loader, Batch& batch) {
      const LoaderSettings& s = loader.settings_;
      Index count = std::min(s.batch, loader.set_.size() - at.next);
      if (count < s.batch && s.last == LastBatch::drop) count = 0;
      batch.count = count;
      if (count == 0) {
        ++at.epoch;
        at.next = 0;
        return;
      }
      if (s.order == Order::shuffled && (order.empty() || ordered != at.epoch)) {
        shuffled(static_cast<std::uint32_t>(loader.set_.size()), Rng(at.seed).split("shuffle").split(at.epoch), order);
        ordered = at.epoch;
      }
      const std::uint64_t key = Rng(at.seed).split("augment").split(at.epoch).key();
      const auto size = static_cast<std::size_t>(batch.shape.size());
      const auto n = static_cast<std::size_t>(count);
      batch.pixels.resize(n * size);
      batch.labels.resize(n);
      batch.indices.resize(n);
      for (std::size_t i = 0; i < n; ++i) {
        const std::size_t position = static_cast<std::size_t>(at.next) + i;
        const std::uint32_t index = s.order == Order::shuffled ? order[position] : static_cast<std::uint32_t>(position);
        batch.indices[i] = index;
        batch.labels[i] = loader.set_.label(index);
        loader.table_.apply(loader.set_.image(index), batch.shape, placement(s.augment, key, index),
                            std::span(batch.pixels).subspan(i * size, size));
      }
      at.next += count;
    }
  };

  static LoaderSettings validated(const D& set, LoaderSettings s) {
    const auto check = [](bool fine, const char* field, Index found, const char* needed) {
      if (!fine)
        throw PolicyError(str("Loader: ", field, ": found ", found, ", needed ", needed, "; correct the settings"));
    };
    check(set.size() > 0, "the data set's size", set.size(), "at least one image");
    check(set.size() <= std::numeric_limits<std::uint32_t>::max(), "the data set's size", set.size(), "less than 2^32");
    check(s.batch > 0, "batch", s.batch, "at least 1");
    check(s.last == LastBatch::keep || s.batch <= set.size(), "batch", s.batch,
          "no more than the data set holds, as its last batch is dropped");
    check(s.prefetch >= 0 && s.prefetch <= 64, "prefetch", s.prefetch, "0 to 64");
    s.normalise.validate(set.shape().c);
    s.augment.validate();
    return s;
  }

  std::size_t make_now() {
    if (!started_) start();
    producer_.make(*this, slots_[0]);
    return 0;
  }

  std::size_t wait_for_one() {
    if (!started_) start();
    std::unique_lock lock(mutex_);
    if (held_ != nothing) free_.push_back(std::exchange(held_, nothing));
    changed_.notify_all();
    changed_.wait(lock, [&] { return !ready_.empty() || failure_ != nullptr; });
    if (ready_.empty()) std::rethrow_exception(failure_);  // after every batch made before it
    held_ = ready_.front();
    ready_.erase(ready_.begin());
    changed_.notify_all();  // there is room now: a producer that looked before must look again
    return held_;
  }

  void start() {
    const auto images = static_cast<std::size_t>(std::min(settings_.batch, set_.size()));
    for (Batch& batch : slots_) {
      batch.shape = set_.shape();
      batch.pixels.reserve(images * static_cast<std::size_t>(batch.shape.size()));
      batch.labels.reserve(images);
      batch.indices.reserve(images);
    }
    producer_.at = state_;
    held_ = nothing;
    ready_.clear();
    free_.clear();
    failure_ = nullptr;
    for (std::size_t i = 0; i < slots_.size(); ++i) free_.push_back(i);
    if (settings_.prefetch > 0) worker_ = std::jthread([this](std::stop_token token) { work(token); });
    started_ = true;
  }

  void stop() {
    worker_ = std::jthread();  // asks the old one to stop and joins it
    producer_.order.clear();   // the seed may change
    started_ = false;
  }

  void work(std::stop_token token) {
    while (true) {
      std::unique_lock lock(mutex_);
      const auto room = [&] { return !free_.empty() && ready_.size() < static_cast<std::size_t>(settings_.prefetch); };
      if (!changed_.wait(lock, token, room) || token.stop_requested()) return;
      const std::size_t slot = free_.back();
      free_.pop_back();
      lock.unlock();
      try {
        producer_.make(*this, slots_[slot]);
      } catch (...) {
        lock.lock();
        failure_ = std::current_exception();
        changed_.notify_all();
        return;
      }
      lock.lock();
      ready_.push_back(slot);
      changed_.notify_all();
    }
  }

  const D& set_;
  const LoaderSettings settings_;
  const PixelTable table_;
  SamplerState state_;
  Producer producer_;  // the worker's while it runs
  bool started_ = false;
  std::vector<Batch> slots_;

  std::mutex mutex_;  // guards what follows, down to the worker
  std::condition_variable_any changed_;
  std::vector<std::size_t> free_, ready_;
  std::size_t held_ = nothing;  // the slot the caller looks at
  std::exception_ptr failure_;

  std::jthread worker_;  // last, so that it is joined first
};

}  // namespace espalier::data
