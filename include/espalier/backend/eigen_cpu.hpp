// SPDX-License-Identifier: Apache-2.0
// The CPU backend: float, our own products, convolutions and normalisations where they are measured
// faster, Eigen's vectorised functions for the rest; a fork-join pool of its own. Equal inputs give
// equal bits on any number of threads.
#pragma once

#include <algorithm>
#include <memory>
#include <thread>

#include <espalier/backend/concept.hpp>
#include <espalier/backend/detail/conv.hpp>
#include <espalier/backend/detail/gemm.hpp>
#include <espalier/backend/detail/host_pool.hpp>
#include <espalier/backend/detail/norm.hpp>
#include <espalier/backend/detail/pool.hpp>
#include <espalier/backend/detail/rows.hpp>
#include <espalier/backend/detail/sparse.hpp>
#include <espalier/backend/prepared.hpp>

namespace espalier {

/// How convolutions are computed. `exact` never uses Winograd's transforms: rounding errors of about
/// 1e-6 instead of up to 1e-4 of the output's scale, at a half to a third of the speed.
enum class ConvolutionMode { fast, exact };

struct EigenCpuOptions {
  int threads = 0;  // 0: as many as the machine has
  ConvolutionMode convolution = ConvolutionMode::fast;
  Subnormals subnormals = Subnormals::flush;
};

/// A Backend on the host's processor. Tensors and the backend belong to one thread at a time; several
/// backends may run side by side.
class EigenCpu {
 public:
  using Scalar = float;
  using Compute = float;
  template <class E> using Pointer = E*;
  template <class E> using Buffer = detail::HostBuffer<E>;
  using PreparedConv = detail::PackedConv;
  using PackedWeights = detail::PackedB;
  using SparseWeights = detail::SparseWeights;
  using Options = EigenCpuOptions;

  EigenCpu() : EigenCpu(Options{}) {}
  /// Throws BackendError for a negative number of threads.
  explicit EigenCpu(Options options) : options_(options), memory_(std::make_shared<detail::HostPool>()) {
    if (options.threads < 0) throw BackendError(str("EigenCpu: .threads is ", options.threads, "; it is at least 1, or 0 for all of the machine's"));
    const int available = static_cast<int>(std::thread::hardware_concurrency());
    options_.threads = options.threads == 0 ? std::max(available, 1) : options.threads;
    pool_ = std::make_unique<detail::ThreadPool>(options_.threads, options_.subnormals);
    scratch_ = std::make_unique<detail::Workspace>(options_.threads);
  }
  EigenCpu(EigenCpu&&) noexcept = default;
  EigenCpu& operator=(EigenCpu&&) noexcept = default;

  const Options& options() const { return options_; }
  const detail::HostPool& pool() const { return *memory_; }

  template <class E> Buffer<E> allocate(Index n) { return Buffer<E>(memory_, n); }
  template <class E> void upload(std::span<const E> from, E* to) { std::copy(from.begin(), from.end(), to); }
  template <class E> void download(const E* from, std::span<E> to) { std::copy_n(from, to.size(), to.begin()); }
  template <class E> void copy(const E* from, E* to, Index n) {
    in_blocks(n, [=](Index first, Index last) { std::copy(from + first, from + last, to + first); });
  }
  template <class E> void fill(E* p, Index n, E value) {
    in_blocks(n, [=](Index first, Index last) { std::fill(p + first, p + last, value); });
  }

  template <class F, class... P> void each(Index n, F f, P... p) {
    in_blocks(n, [=](Index first, Index last) {
#if defined(__clang__)
#pragma clang loop vectorize(assume_safety)
#else
#pragma GCC ivdep
#endif
      for (Index i = first; i < last; ++i) f(i, p[i]...);
    });
  }
  template <class F, class... P> void sum(Index n, F f, float* out, P... p) {
    const Index blocks = (n + block_size - 1) / block_size;
    double* partial = scratch().shared<double>(7, std::max<Index>(blocks, 1));
    pool_->run(blocks, [&](Index block, int) {
      double total = 0;
      for (Index i = block * block_size; i < std::min(n, (block + 1) * block_size); ++i) total += static_cast<double>(f(i, p[i]...));
      partial[block] = total;
    });
    double total = 0;
    for (Index block = 0; block < blocks; ++block) total += partial[block];
    *out = static_cast<float>(total);
  }

  void strided_copy(const StridedCopy& given, const float* from, float* to, Store store) {
    if (given.extents.rank() == 0 || given.extents.count() == 0) return;
    const StridedCopy c = simplified(given);
    const int rank = c.extents.rank();
    if (rank == 0) {  // one element
      *to = store == Store::assign ? *from : *to + *from;
      return;
    }
    if (rank == 1 && c.from_strides[0] == 1 && c.to_strides[0] == 1 && store == Store::assign) return copy(from, to, c.extents.count());
    const auto last = static_cast<std::size_t>(rank - 1);
    const Index inner = c.extents[rank - 1], outer = c.extents.count() / inner, from_step = c.from_strides[last], to_step = c.to_strides[last];
    const Index rows_per_block = std::max<Index>(1, block_size / inner);
    pool_->run((outer + rows_per_block - 1) / rows_per_block, [&](Index block, int) {
      for (Index row = block * rows_per_block; row < std::min(outer, (block + 1) * rows_per_block); ++row) {
        Index rest = row, from_at = 0, to_at = 0;
        for (int axis = rank - 2; axis >= 0; --axis) {
          const Index i = rest % c.extents[axis];
          rest /= c.extents[axis];
          from_at += i * c.from_strides[static_cast<std::size_t>(axis)];
          to_at += i * c.to_strides[static_cast<std::size_t>(axis)];
        }
        if (store == Store::assign && from_step == 1 && to_step == 1) {
          std::copy_n(from + from_at, inner, to + to_at);
        } else if (store == Store::assign) {
          for (Index i = 0; i < inner; ++i) to[to_at + i * to_step] = from[from_at + i * from_step];
        } else {
          for (Index i = 0; i < inner; ++i) to[to_at + i * to_step] += from[from_at + i * from_step];
        }
      }
    });
  }

  void column_sums(Index rows, Index cols, const float* x, float* out, Store store) {
    detail::column_sums(*pool_, scratch(), rows, cols, x, out, store == Store::add);
  }

  void gemm(const GemmShape& s, const float* a, const float* b, float* c, Store store, const Epilogue<EigenCpu>& epilogue = {}) {
    detail::gemm(*pool_, scratch(), s, a, b, c, store, lowered(epilogue));
  }
  void gemm_batched(const GemmShape& s, Index batch, const float* a, Index stride_a, const float* b, Index stride_b, float* c, Index stride_c,
                    Store store) {
    detail::gemm_batched(*pool_, scratch(), s, batch, a, stride_a, b, stride_b, c, stride_c, store);
  }

  PackedWeights pack_weights(Index inputs, Index outputs, const float* w) {
    return detail::pack_b({.n = outputs, .k = inputs, .ldb = outputs}, w);
  }
  void packed_product(Index rows, const PackedWeights& w, const float* x, float* y, const Epilogue<EigenCpu>& epilogue = {}) {
    detail::gemm(*pool_, scratch(), {.m = rows, .n = w.n(), .k = w.k(), .lda = w.k(), .ldc = w.n()}, x, w, y, Store::assign, lowered(epilogue));
  }
  SparseWeights sparse_weights(Index outputs, Index inputs, std::span<const float> w) { return {outputs, inputs, w.data(), inputs, 1}; }
  void sparse_product(Index rows, const SparseWeights& w, const float* x, float* y, const Epilogue<EigenCpu>& epilogue = {}) {
    detail::sparse_product(*pool_, scratch(), w, rows, {x}, {y}, lowered(epilogue));
  }

  PreparedConv prepare_conv(const ConvShape& s, const float* w) { return detail::pack_conv(s, w, algorithm()); }
  void conv_forward(const ConvShape& s, const float* x, const float* w, float* y, const Epilogue<EigenCpu>& epilogue = {},
                    const PreparedConv* prepared = nullptr) {
    detail::conv_forward(*pool_, scratch(), s, x, w, y, lowered(epilogue), prepared, algorithm());
  }
  void conv_backward_input(const ConvShape& s, const float* dy, const float* w, float* dx, Store store) {
    detail::conv_backward_input(*pool_, scratch(), s, dy, w, dx, store, algorithm());
  }
  void conv_backward_weights(const ConvShape& s, const float* x, const float* dy, float* dw, Store store) {
    detail::conv_backward_weights(*pool_, scratch(), s, x, dy, dw, store, algorithm());
  }

  void batch_norm_train(Index rows, Index c, double eps, const float* x, const float* gamma, const float* beta, float* y, float* mean, float* var,
                        const AfterNorm<EigenCpu>& after = {}) {
    detail::column_moments(*pool_, scratch(), rows, c, x, mean, var);
    batch_norm_apply(rows, c, eps, x, gamma, beta, mean, var, y, after);
  }
  void batch_norm_apply(Index rows, Index c, double eps, const float* x, const float* gamma, const float* beta, const float* mean, const float* var,
                        float* y, const AfterNorm<EigenCpu>& after = {}) {
    detail::batch_norm_apply(*pool_, scratch(), rows, c, eps, x, gamma, beta, mean, var, y, after.residual ? *after.residual : nullptr,
                             after.activation == Activation::relu);
  }
  void batch_norm_backward(Index rows, Index c, double eps, Statistics statistics, const float* x, const float* gamma, const float* mean,
                           const float* var, const float* y, const AfterNorm<EigenCpu>& after, const float* dy, float* dx, float* dgamma,
                           float* dbeta, Maybe<float*> dresidual) {
    detail::batch_norm_backward(*pool_, scratch(), rows, c, eps, statistics == Statistics::batch, x, gamma, mean, var, y,
                                after.activation == Activation::relu, dy, dx, dgamma, dbeta, dresidual ? *dresidual : nullptr);
  }

  void layer_norm_forward(Index rows, Index c, double eps, const float* x, const float* gamma, const float* beta, float* y, float* mean,
                          float* inv_std) {
    detail::layer_norm_forward(*pool_, rows, c, eps, x, gamma, beta, y, mean, inv_std);
  }
  void layer_norm_backward(Index rows, Index c, const float* x, const float* gamma, const float* mean, const float* inv_std, const float* dy,
                           float* dx, float* dgamma, float* dbeta) {
    detail::layer_norm_backward(*pool_, scratch(), rows, c, x, gamma, mean, inv_std, dy, dx, dgamma, dbeta);
  }

  void softmax_forward(Index rows, Index c, const float* x, float* y) { detail::softmax_forward(*pool_, rows, c, x, y); }
  void softmax_backward(Index rows, Index c, const float* y, const float* dy, float* dx) { detail::softmax_backward(*pool_, rows, c, y, dy, dx); }
  void cross_entropy_forward(Index rows, Index c, const float* logits, const std::int32_t* labels, float* probabilities, float* losses) {
    detail::cross_entropy_forward(*pool_, rows, c, logits, labels, probabilities, losses);
  }
  void cross_entropy_backward(Index rows, Index c, const float* probabilities, const std::int32_t* labels, const float* scale, float* dlogits) {
    detail::cross_entropy_backward(*pool_, rows, c, probabilities, labels, scale, dlogits);
  }

  void gather_rows(Index n, Index c, const float* table, const std::int32_t* ids, float* out) {
    detail::for_each_row(*pool_, n, c, [&](Index i) { std::copy_n(table + ids[i] * c, c, out + i * c); });
  }
  // Blocks are columns, so that equal ids are added in the order of their positions.
  void scatter_add_rows(Index n, Index c, const float* dout, const std::int32_t* ids, float* dtable) {
    constexpr Index columns = 64;
    pool_->run((c + columns - 1) / columns, [&](Index block, int) {
      for (Index i = 0; i < n; ++i)
        for (Index j = block * columns; j < std::min(c, (block + 1) * columns); ++j) dtable[ids[i] * c + j] += dout[i * c + j];
    });
  }

  void max_pool_forward(const PoolShape& s, const float* x, float* y, std::int32_t* argmax) { detail::max_pool_forward(*pool_, s, x, y, argmax); }
  void max_pool_backward(const PoolShape& s, const float* dy, const std::int32_t* argmax, float* dx) {
    detail::max_pool_backward(*pool_, s, dy, argmax, dx);
  }
  void avg_pool_forward(const PoolShape& s, const float* x, float* y) { detail::avg_pool_forward(*pool_, s, x, y); }
  void avg_pool_backward(const PoolShape& s, const float* dy, float* dx) { detail::avg_pool_backward(*pool_, s, dy, dx); }

 private:
  detail::Workspace& scratch() {
    scratch_->level();
    return *scratch_;
  }

  static constexpr Index block_size = 16384;  // elements; blocks depend on sizes alone

  // f(first, last) over ranges of at most block_size elements.
  template <class F> void in_blocks(Index n, F f) {
    pool_->run((n + block_size - 1) / block_size, [&](Index block, int) { f(block * block_size, std::min(n, (block + 1) * block_size)); });
  }
  detail::ConvAlgorithm algorithm() const {
    return options_.convolution == ConvolutionMode::exact ? detail::ConvAlgorithm::direct : detail::ConvAlgorithm::automatic;
  }
  static detail::Epilogue lowered(const Epilogue<EigenCpu>& e) { return {.bias = e.bias ? *e.bias : nullptr, .activation = e.activation}; }

  Options options_;
  std::shared_ptr<detail::HostPool> memory_;
  std::unique_ptr<detail::ThreadPool> pool_;
  std::unique_ptr<detail::Workspace> scratch_;
};

static_assert(Backend<EigenCpu> && PackingBackend<EigenCpu> && SparseBackend<EigenCpu>);

}  // namespace espalier
