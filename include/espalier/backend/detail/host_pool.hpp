// SPDX-License-Identifier: Apache-2.0
// Host memory for CPU backends: 64-byte aligned blocks kept in free lists by size class and handed
// out again, so that a training step, once warm, asks the operating system for nothing.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include <espalier/backend/geometry.hpp>
#include <espalier/error.hpp>

namespace espalier::detail {

/// Free lists of aligned blocks. One thread at a time.
class HostPool {
 public:
  static constexpr std::size_t alignment = 64;

  HostPool() = default;
  HostPool(const HostPool&) = delete;
  HostPool& operator=(const HostPool&) = delete;
  ~HostPool() {
    for (auto& list : free_)
      for (void* block : list) ::operator delete(block, std::align_val_t{alignment});
  }

  void* take(std::size_t bytes) {
    const std::size_t index = class_of(bytes);
    if (index >= class_count) throw OutOfMemory(str("a tensor of ", bytes, " bytes was asked for; is a shape wrong?"));
    auto& list = free_[index];
    live_bytes_ += size_of(index);
    if (live_bytes_ > peak_bytes_) peak_bytes_ = live_bytes_;
    if (!list.empty()) {
      void* block = list.back();
      list.pop_back();
      return block;
    }
    void* block = ::operator new(size_of(index), std::align_val_t{alignment}, std::nothrow);
    if (block == nullptr) {
      live_bytes_ -= size_of(index);
      throw OutOfMemory(str("no memory for a tensor of ", bytes, " bytes; use a smaller batch"));
    }
    ++system_allocations_;
    list.reserve(list.capacity() < 64 ? 64 : list.capacity());
    return block;
  }

  void give_back(void* block, std::size_t bytes) noexcept {
    const std::size_t index = class_of(bytes);
    live_bytes_ -= size_of(index);
    try {
      free_[index].push_back(block);
    } catch (...) {
      ::operator delete(block, std::align_val_t{alignment});
    }
  }

  /// How often the operating system was asked; constant over steps once a training loop is warm.
  std::size_t system_allocations() const { return system_allocations_; }
  std::size_t peak_bytes() const { return peak_bytes_; }

 private:
  // Size classes 2^k and 1.5 * 2^k bytes: at most a third of a block is unused.
  static constexpr std::size_t class_count = 2 * 48;
  static std::size_t class_of(std::size_t bytes) {
    if (bytes <= 64) return 0;
    const auto power = static_cast<std::size_t>(std::bit_width(bytes - 1));  // 2^(power-1) < bytes <= 2^power
    const std::size_t three_quarters = (std::size_t{3} << power) / 4;
    return 2 * (power - 6) - (bytes <= three_quarters ? 1 : 0);
  }
  static std::size_t size_of(std::size_t index) {
    return index % 2 == 0 ? std::size_t{64} << (index / 2) : (std::size_t{3} << ((index + 1) / 2 + 6)) / 4;
  }

  std::array<std::vector<void*>, class_count> free_{};
  std::size_t system_allocations_ = 0;
  std::size_t live_bytes_ = 0;
  std::size_t peak_bytes_ = 0;
};

/// A run of trivially copyable elements from a HostPool. Copying copies the elements.
template <class T>
class HostBuffer {
  static_assert(std::is_trivially_copyable_v<T>, "buffers hold plain values");

 public:
  HostBuffer() = default;
  /// The elements are *uninitialised*.
  HostBuffer(std::shared_ptr<HostPool> pool, Index count) : pool_(std::move(pool)), count_(count) {
    if (count_ > 0) data_ = static_cast<T*>(pool_->take(bytes()));
  }
  HostBuffer(const HostBuffer& other) : HostBuffer(other.pool_, other.count_) {
    if (count_ > 0) std::memcpy(data_, other.data_, bytes());
  }
  HostBuffer(HostBuffer&& other) noexcept
      : pool_(std::move(other.pool_)), data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  HostBuffer& operator=(HostBuffer other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~HostBuffer() {
    if (data_ != nullptr) pool_->give_back(data_, bytes());
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  Index size() const { return count_; }

 private:
  std::size_t bytes() const { return static_cast<std::size_t>(count_) * sizeof(T); }

  std::shared_ptr<HostPool> pool_;
  T* data_ = nullptr;
  Index count_ = 0;
};

}  // namespace espalier::detail
