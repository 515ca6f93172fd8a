// SPDX-License-Identifier: Apache-2.0
// The archetype of Backend: what a device with memory of its own may do, and no more. Pointers are handles
// that cannot be followed, fresh memory holds NaN, every access is checked against its block, and kernels
// run late: upload and download are the only ways in and out.
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include <espalier/backend/reference.hpp>

namespace espalier::test {

/// A place in opaque memory: a block and an element's number in it.
template <class E>
class OpaquePointer {
 public:
  OpaquePointer() = default;
  OpaquePointer(std::uint64_t block, Index offset) : block_(block), offset_(offset) {}
  template <class Other>
    requires std::is_same_v<const Other, E>
  OpaquePointer(const OpaquePointer<Other>& other) : block_(other.block()), offset_(other.offset()) {}

  OpaquePointer operator+(Index n) const { return {block_, offset_ + n}; }
  bool operator==(const OpaquePointer&) const = default;
  std::uint64_t block() const { return block_; }
  Index offset() const { return offset_; }

  E& operator*() const = delete;
  E* operator->() const = delete;
  E& operator[](Index) const = delete;

 private:
  std::uint64_t block_ = 0;
  Index offset_ = 0;
};

namespace opaque {

// The memory behind the handles, and the kernels that have not run yet.
class Vault {
 public:
  std::uint64_t take(std::size_t bytes) {
    Block block{std::make_unique<std::max_align_t[]>(bytes / sizeof(std::max_align_t) + 1), bytes, true};
    std::memset(block.memory.get(), 0xFF, bytes);  // NaN as a float or double, -1 as an integer
    blocks_.emplace(++last_, std::move(block));
    return last_;
  }
  void give_back(std::uint64_t id) {
    blocks_.at(id).live = false;
    enqueue([this, id] { blocks_.erase(id); });
  }
  /// The elements [p, p + count), for kernels only. Throws BackendError if they are not all in p's live block.
  template <class E>
  E* resolve(const OpaquePointer<E>& p, Index count) {
    const auto found = blocks_.find(p.block());
    if (found == blocks_.end() || !found->second.live) throw BackendError(str("block ", p.block(), " was used after it was freed, or never allocated"));
    const auto size = static_cast<Index>(found->second.bytes / sizeof(E));
    if (count > 0 && (p.offset() < 0 || count > size - p.offset()))
      throw BackendError(str("elements ", p.offset(), " to ", p.offset() + count, " of a block of ", size, " were used"));
    return reinterpret_cast<E*>(found->second.memory.get()) + p.offset();
  }
  void enqueue(std::function<void()> kernel) { queue_.push_back(std::move(kernel)); }
  void wait() {
    ++waits_;
    for (std::size_t i = 0; i < queue_.size(); ++i) queue_[i]();
    queue_.clear();
  }
  std::size_t live_blocks() {
    wait();
    return blocks_.size();
  }
  /// How often somebody waited for the kernels.
  std::size_t waits() const { return waits_; }

 private:
  struct Block {
    std::unique_ptr<std::max_align_t[]> memory;
    std::size_t bytes;
    bool live;
  };
  std::unordered_map<std::uint64_t, Block> blocks_;
  std::vector<std::function<void()>> queue_;
  std::uint64_t last_ = 0;
  std::size_t waits_ = 0;
};

}  // namespace opaque

/// Owns a block; copying copies the elements.
template <class E>
class OpaqueBuffer {
 public:
  OpaqueBuffer() = default;
  OpaqueBuffer(std::shared_ptr<opaque::Vault> vault, Index count)
      : vault_(std::move(vault)), block_(vault_->take(static_cast<std::size_t>(count) * sizeof(E))), count_(count) {}
  OpaqueBuffer(const OpaqueBuffer& other) {
    if (other.vault_ == nullptr) return;
    *this = OpaqueBuffer(other.vault_, other.count_);
    E* to = vault_->resolve(data(), count_);
    const E* from = vault_->resolve(other.data(), count_);
    vault_->enqueue([from, to, n = count_] { std::copy_n(from, n, to); });
  }
  OpaqueBuffer(OpaqueBuffer&& other) noexcept
      : vault_(std::move(other.vault_)), block_(std::exchange(other.block_, 0)), count_(std::exchange(other.count_, 0)) {}
  OpaqueBuffer& operator=(OpaqueBuffer other) noexcept {
    std::swap(vault_, other.vault_);
    std::swap(block_, other.block_);
    std::swap(count_, other.count_);
    return *this;
  }
  ~OpaqueBuffer() {
    if (vault_ != nullptr) vault_->give_back(block_);
  }

  OpaquePointer<E> data() { return {block_, 0}; }
  OpaquePointer<const E> data() const { return {block_, 0}; }
  Index size() const { return count_; }

 private:
  std::shared_ptr<opaque::Vault> vault_;
  std::uint64_t block_ = 0;
  Index count_ = 0;
};

/// Computes as BasicReference<T> does, to the bit.
template <std::floating_point T = float>
class OpaqueBackend {
  using Host = BasicReference<T>;

 public:
  using Scalar = T;
  using Compute = T;
  template <class E> using Pointer = OpaquePointer<E>;
  template <class E> using Buffer = OpaqueBuffer<E>;
  using P = Pointer<T>;
  using CP = Pointer<const T>;
  using Ids = Pointer<const std::int32_t>;

  /// A copy of the weights: a model that changes them after preparing sees the old ones.
  struct PreparedConv {
    Buffer<T> weights;
  };

  OpaqueBackend() : vault_(std::make_shared<opaque::Vault>()) {}
  OpaqueBackend(const OpaqueBackend&) = delete;
  OpaqueBackend(OpaqueBackend&&) noexcept = default;
  OpaqueBackend& operator=(OpaqueBackend&&) noexcept = default;

  /// Blocks in use, once every kernel has run.
  std::size_t live_blocks() { return vault_->live_blocks(); }
  /// How often the host waited for the device so far.
  std::size_t waits() const { return vault_->waits(); }

  template <class E> Buffer<E> allocate(Index n) { return Buffer<E>(vault_, n); }
  template <class E> void upload(std::span<const E> from, Pointer<E> to) {
    run([values = std::vector<E>(from.begin(), from.end()), to = at(to, static_cast<Index>(from.size()))](Host& h) { h.upload(std::span<const E>(values), to); });
  }
  template <class E> void download(Pointer<const E> from, std::span<E> to) {
    const E* p = at(from, static_cast<Index>(to.size()));
    vault_->wait();
    host_.download(p, to);
  }
  template <class E> void download(Pointer<E> from, std::span<E> to) { download(Pointer<const E>(from), to); }
  template <class E> void copy(Pointer<const E> from, Pointer<E> to, Index n) {
    run([from = at(from, n), to = at(to, n), n](Host& h) { h.copy(from, to, n); });
  }
  template <class E> void copy(Pointer<E> from, Pointer<E> to, Index n) { copy(Pointer<const E>(from), to, n); }
  template <class E> void fill(Pointer<E> p, Index n, E value) {
    run([p = at(p, n), n, value](Host& h) { h.fill(p, n, value); });
  }

  template <class F, class... E> void each(Index n, F f, Pointer<E>... p) {
    static_assert(std::is_trivially_copyable_v<F>, "a functor travels to the device byte by byte");
    run([n, f, ... p = at(p, n)](Host& h) { h.each(n, f, p...); });
  }
  template <class F, class... E> void sum(Index n, F f, P out, Pointer<E>... p) {
    static_assert(std::is_trivially_copyable_v<F>, "a functor travels to the device byte by byte");
    run([n, f, out = at(out, 1), ... p = at(p, n)](Host& h) { h.sum(n, f, out, p...); });
  }
  void strided_copy(const StridedCopy& c, CP from, P to, Store store) {
    run([c, from = at(from, extent(c, c.from_strides)), to = at(to, extent(c, c.to_strides)), store](Host& h) { h.strided_copy(c, from, to, store); });
  }
  void column_sums(Index rows, Index cols, CP x, P out, Store store) {
    run([rows, cols, x = at(x, rows * cols), out = at(out, cols), store](Host& h) { h.column_sums(rows, cols, x, out, store); });
  }

  void gemm(const GemmShape& s, CP a, CP b, P c, Store store, const Epilogue<OpaqueBackend>& epilogue = {}) {
    run([s, a = at(a, left(s)), b = at(b, right(s)), c = at(c, result(s)), store, epilogue = resolved(epilogue, s.n)](Host& h) {
      h.gemm(s, a, b, c, store, epilogue);
    });
  }
  void gemm_batched(const GemmShape& s, Index batch, CP a, Index stride_a, CP b, Index stride_b, P c, Index stride_c, Store store) {
    const auto span = [&](Index one, Index stride) { return batch < 1 ? 0 : one + (batch - 1) * stride; };
    run([=, a = at(a, span(left(s), stride_a)), b = at(b, span(right(s), stride_b)), c = at(c, span(result(s), stride_c))](Host& h) {
      h.gemm_batched(s, batch, a, stride_a, b, stride_b, c, stride_c, store);
    });
  }

  PreparedConv prepare_conv(const ConvShape& s, CP w) {
    PreparedConv prepared{allocate<T>(s.weight_count())};
    copy(w, prepared.weights.data(), s.weight_count());
    return prepared;
  }
  void conv_forward(const ConvShape& s, CP x, CP w, P y, const Epilogue<OpaqueBackend>& epilogue = {}, const PreparedConv* prepared = nullptr) {
    if (prepared != nullptr) w = prepared->weights.data();
    run([s, x = at(x, input(s)), w = at(w, s.weight_count()), y = at(y, output(s)), epilogue = resolved(epilogue, s.out)](Host& h) {
      h.conv_forward(s, x, w, y, epilogue);
    });
  }
  void conv_backward_input(const ConvShape& s, CP dy, CP w, P dx, Store store) {
    run([s, dy = at(dy, output(s)), w = at(w, s.weight_count()), dx = at(dx, input(s)), store](Host& h) { h.conv_backward_input(s, dy, w, dx, store); });
  }
  void conv_backward_weights(const ConvShape& s, CP x, CP dy, P dw, Store store) {
    run([s, x = at(x, input(s)), dy = at(dy, output(s)), dw = at(dw, s.weight_count()), store](Host& h) { h.conv_backward_weights(s, x, dy, dw, store); });
  }

  void batch_norm_train(Index rows, Index c, double eps, CP x, CP gamma, CP beta, P y, P mean, P var, const AfterNorm<OpaqueBackend>& after = {}) {
    run([=, x = at(x, rows * c), gamma = at(gamma, c), beta = at(beta, c), y = at(y, rows * c), mean = at(mean, c), var = at(var, c),
         after = resolved(after, rows * c)](Host& h) { h.batch_norm_train(rows, c, eps, x, gamma, beta, y, mean, var, after); });
  }
  void batch_norm_apply(Index rows, Index c, double eps, CP x, CP gamma, CP beta, CP mean, CP var, P y, const AfterNorm<OpaqueBackend>& after = {}) {
    run([=, x = at(x, rows * c), gamma = at(gamma, c), beta = at(beta, c), mean = at(mean, c), var = at(var, c), y = at(y, rows * c),
         after = resolved(after, rows * c)](Host& h) { h.batch_norm_apply(rows, c, eps, x, gamma, beta, mean, var, y, after); });
  }
  void batch_norm_backward(Index rows, Index c, double eps, Statistics statistics, CP x, CP gamma, CP mean, CP var, CP y,
                           const AfterNorm<OpaqueBackend>& after, CP dy, P dx, P dgamma, P dbeta, Maybe<P> dresidual) {
    Maybe<T*> residual;
    if (dresidual) residual = at(*dresidual, rows * c);
    run([=, x = at(x, rows * c), gamma = at(gamma, c), mean = at(mean, c), var = at(var, c), y = at(y, rows * c), after = resolved(after, rows * c),
         dy = at(dy, rows * c), dx = at(dx, rows * c), dgamma = at(dgamma, c), dbeta = at(dbeta, c)](Host& h) {
      h.batch_norm_backward(rows, c, eps, statistics, x, gamma, mean, var, y, after, dy, dx, dgamma, dbeta, residual);
    });
  }
  void layer_norm_forward(Index rows, Index c, double eps, CP x, CP gamma, CP beta, P y, P mean, P inv_std) {
    run([=, x = at(x, rows * c), gamma = at(gamma, c), beta = at(beta, c), y = at(y, rows * c), mean = at(mean, rows), inv_std = at(inv_std, rows)](Host& h) {
      h.layer_norm_forward(rows, c, eps, x, gamma, beta, y, mean, inv_std);
    });
  }
  void layer_norm_backward(Index rows, Index c, CP x, CP gamma, CP mean, CP inv_std, CP dy, P dx, P dgamma, P dbeta) {
    run([=, x = at(x, rows * c), gamma = at(gamma, c), mean = at(mean, rows), inv_std = at(inv_std, rows), dy = at(dy, rows * c), dx = at(dx, rows * c),
         dgamma = at(dgamma, c), dbeta = at(dbeta, c)](Host& h) { h.layer_norm_backward(rows, c, x, gamma, mean, inv_std, dy, dx, dgamma, dbeta); });
  }

  void softmax_forward(Index rows, Index c, CP x, P y) {
    run([=, x = at(x, rows * c), y = at(y, rows * c)](Host& h) { h.softmax_forward(rows, c, x, y); });
  }
  void softmax_backward(Index rows, Index c, CP y, CP dy, P dx) {
    run([=, y = at(y, rows * c), dy = at(dy, rows * c), dx = at(dx, rows * c)](Host& h) { h.softmax_backward(rows, c, y, dy, dx); });
  }
  void cross_entropy_forward(Index rows, Index c, CP logits, Ids labels, P probabilities, P losses) {
    run([=, logits = at(logits, rows * c), labels = at(labels, rows), probabilities = at(probabilities, rows * c), losses = at(losses, rows)](Host& h) {
      h.cross_entropy_forward(rows, c, logits, labels, probabilities, losses);
    });
  }
  void cross_entropy_backward(Index rows, Index c, CP probabilities, Ids labels, CP scale, P dlogits) {
    run([=, probabilities = at(probabilities, rows * c), labels = at(labels, rows), scale = at(scale, 1), dlogits = at(dlogits, rows * c)](Host& h) {
      h.cross_entropy_backward(rows, c, probabilities, labels, scale, dlogits);
    });
  }
  // The table's extent is not an argument: only its first row's place is checked.
  void gather_rows(Index n, Index c, CP table, Ids ids, P out) {
    run([=, table = at(table, c), ids = at(ids, n), out = at(out, n * c)](Host& h) { h.gather_rows(n, c, table, ids, out); });
  }
  void scatter_add_rows(Index n, Index c, CP dout, Ids ids, P dtable) {
    run([=, dout = at(dout, n * c), ids = at(ids, n), dtable = at(dtable, c)](Host& h) { h.scatter_add_rows(n, c, dout, ids, dtable); });
  }

  void max_pool_forward(const PoolShape& s, CP x, P y, Pointer<std::int32_t> argmax) {
    run([=, x = at(x, input(s)), y = at(y, output(s)), argmax = at(argmax, output(s))](Host& h) { h.max_pool_forward(s, x, y, argmax); });
  }
  void max_pool_backward(const PoolShape& s, CP dy, Ids argmax, P dx) {
    run([=, dy = at(dy, output(s)), argmax = at(argmax, output(s)), dx = at(dx, input(s))](Host& h) { h.max_pool_backward(s, dy, argmax, dx); });
  }
  void avg_pool_forward(const PoolShape& s, CP x, P y) {
    run([=, x = at(x, input(s)), y = at(y, output(s))](Host& h) { h.avg_pool_forward(s, x, y); });
  }
  void avg_pool_backward(const PoolShape& s, CP dy, P dx) {
    run([=, dy = at(dy, output(s)), dx = at(dx, input(s))](Host& h) { h.avg_pool_backward(s, dy, dx); });
  }

 private:
  template <class E> E* at(const Pointer<E>& p, Index count) { return vault_->resolve(p, count); }
  // A kernel gets host addresses, resolved and checked when it was called; it runs when the host next waits.
  template <class Kernel> void run(Kernel kernel) {
    vault_->enqueue([kernel = std::move(kernel)]() mutable {
      Host host;
      kernel(host);
    });
  }
  Epilogue<Host> resolved(const Epilogue<OpaqueBackend>& e, Index channels) {
    Epilogue<Host> host{.activation = e.activation};
    if (e.bias) host.bias = at(*e.bias, channels);
    return host;
  }
  AfterNorm<Host> resolved(const AfterNorm<OpaqueBackend>& after, Index count) {
    AfterNorm<Host> host{.activation = after.activation};
    if (after.residual) host.residual = at(*after.residual, count);
    return host;
  }

  static Index matrix(Index rows, Index cols, Index ld) { return rows < 1 || cols < 1 ? 0 : (rows - 1) * ld + cols; }
  static Index left(const GemmShape& s) { return s.a == Transpose::no ? matrix(s.m, s.k, s.lda) : matrix(s.k, s.m, s.lda); }
  static Index right(const GemmShape& s) { return s.b == Transpose::no ? matrix(s.k, s.n, s.ldb) : matrix(s.n, s.k, s.ldb); }
  static Index result(const GemmShape& s) { return matrix(s.m, s.n, s.ldc); }
  static Index input(const ConvShape& s) { return s.n * s.h * s.w * s.in; }
  static Index output(const ConvShape& s) { return s.n * s.out_h() * s.out_w() * s.out; }
  static Index input(const PoolShape& s) { return s.n * s.h * s.w * s.c; }
  static Index output(const PoolShape& s) { return s.n * s.out_h() * s.out_w() * s.c; }
  static Index extent(const StridedCopy& c, const std::array<Index, Shape::max_rank>& strides) {
    Index last = 0;
    for (int axis = 0; axis < c.extents.rank(); ++axis) last += (c.extents[axis] - 1) * strides[static_cast<std::size_t>(axis)];
    return c.extents.count() == 0 ? 0 : last + 1;
  }

  std::shared_ptr<opaque::Vault> vault_;
  Host host_;
};

static_assert(Backend<OpaqueBackend<float>>);
static_assert(Backend<OpaqueBackend<double>>);

}  // namespace espalier::test
