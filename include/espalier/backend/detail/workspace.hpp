// SPDX-License-Identifier: Apache-2.0
// Scratch memory of the CPU kernels: one arena for each worker and slot, aligned to cache lines, kept
// between calls, so that a training step that has run once allocates nothing. Also the aligned
// buffer that packed weights own.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#include <espalier/backend/geometry.hpp>
#include <espalier/error.hpp>

namespace espalier::detail {

/// An owned, *uninitialised*, 64-byte aligned run of bytes. Move-only.
class AlignedBytes {
 public:
  static constexpr std::size_t alignment = 64;

  AlignedBytes() = default;
  explicit AlignedBytes(std::size_t size) : size_(size) {
    if (size == 0) return;
    data_.reset(::operator new(size, std::align_val_t{alignment}, std::nothrow));
    if (!data_) throw OutOfMemory(str("kernel scratch: no memory for ", size, " bytes; use a smaller batch"));
  }
  void* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(void* p) const { ::operator delete(p, std::align_val_t{alignment}); }
  };
  std::unique_ptr<void, Free> data_;
  std::size_t size_ = 0;
};

/// An owned run of floats; `data()` is 64-byte aligned. Move-only.
class AlignedFloats {
 public:
  AlignedFloats() = default;
  explicit AlignedFloats(Index count) : bytes_(static_cast<std::size_t>(count) * sizeof(float)) {}
  float* data() { return static_cast<float*>(bytes_.data()); }
  const float* data() const { return static_cast<const float*>(bytes_.data()); }
  Index size() const { return static_cast<Index>(bytes_.size() / sizeof(float)); }

 private:
  AlignedBytes bytes_;
};

/// Arenas that grow and never shrink. A worker may call `get` with its own number while others do;
/// `shared` only outside a parallel region. What `get` returned stays valid until the same worker and
/// slot are asked for more.
class Workspace {
 public:
  static constexpr int slots = 8;

  explicit Workspace(int workers) : arenas_(static_cast<std::size_t>(workers + 1) * slots) {}

  /// `count` *uninitialised* elements, 64-byte aligned.
  template <class T>
  T* get(int worker, int slot, Index count) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= AlignedBytes::alignment);
    AlignedBytes& arena = arenas_[static_cast<std::size_t>((worker + 1) * slots + slot)];
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
    if (arena.size() < bytes) {
      arena = AlignedBytes();  // give back before asking for more
      arena = AlignedBytes(bytes + bytes / 8 + 64);
      grew_.store(true, std::memory_order_relaxed);
    }
    return static_cast<T*>(arena.data());
  }

  /// Gives every worker as much as the one that has most: which worker gets which block is chance, and a
  /// worker that first meets a large one late would allocate late. Between regions only.
  void level() {
    if (!grew_.exchange(false, std::memory_order_relaxed)) return;
    for (std::size_t slot = 0; slot < slots; ++slot) {
      std::size_t most = 0;
      for (std::size_t at = slots + slot; at < arenas_.size(); at += slots) most = std::max(most, arenas_[at].size());
      for (std::size_t at = slots + slot; at < arenas_.size(); at += slots)
        if (arenas_[at].size() < most) {
          arenas_[at] = AlignedBytes();
          arenas_[at] = AlignedBytes(most);
        }
    }
  }

  /// Memory that all workers read or write, set up by the caller of a region.
  template <class T>
  T* shared(int slot, Index count) { return get<T>(-1, slot, count); }

  /// Bytes held.
  std::size_t bytes() const {
    std::size_t total = 0;
    for (const auto& arena : arenas_) total += arena.size();
    return total;
  }

 private:
  std::vector<AlignedBytes> arenas_;
  std::atomic<bool> grew_{false};
};

}  // namespace espalier::detail
