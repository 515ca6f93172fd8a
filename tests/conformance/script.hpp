// SPDX-License-Identifier: Apache-2.0
// One script of calls to a backend: equal inputs for every backend, every result kept. Running it on two
// backends and comparing the results is conformance; on one backend with two thread counts, determinism.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <espalier/tensor/rng.hpp>
#include <espalier/tensor/tensor.hpp>

namespace espalier::test {

/// What a result may differ by; see Tolerances.
enum class Kind { exact, element_wise, product, convolution, normalised, cancelling };

struct Record {
  std::string name;
  Kind kind;
  std::vector<double> values;
};

/// Feeds a backend with numbers that every Scalar holds exactly, and keeps what comes back. Results lie
/// between guards; before a call they hold NaN, or values if the call adds to them.
template <Backend B>
class Script {
 public:
  using T = typename B::Scalar;
  using Pointer = typename B::template Pointer<T>;
  using ConstPointer = typename B::template Pointer<const T>;
  using IdPointer = typename B::template Pointer<std::int32_t>;
  using ConstIdPointer = typename B::template Pointer<const std::int32_t>;

  explicit Script(B& backend) : b(backend) {}

  B& b;

  /// n numbers in [low, high), multiples of 2^-24 of the range.
  ConstPointer in(Index n, double low = -1, double high = 1) {
    std::vector<T> values(static_cast<std::size_t>(n));
    for (T& v : values) v = static_cast<T>(static_cast<float>(low + (high - low) * static_cast<double>(rng_.uniform())));
    return keep(values);
  }
  /// n numbers of which many are equal.
  ConstPointer tied(Index n) {
    std::vector<T> values(static_cast<std::size_t>(n));
    for (T& v : values) v = static_cast<T>(rng_.below(4)) - T{2};
    return keep(values);
  }
  ConstPointer given(const std::vector<double>& all) {
    std::vector<T> values;
    for (double v : all) values.push_back(static_cast<T>(v));
    return keep(values);
  }
  ConstIdPointer ids(Index n, std::uint32_t below) {
    std::vector<std::int32_t> values(static_cast<std::size_t>(n));
    for (auto& v : values) v = static_cast<std::int32_t>(rng_.below(below));
    kept_ids_.push_back(Ids<B>::from(b, {n}, values));
    return std::as_const(kept_ids_.back()).data();
  }

  /// A place for n results.
  Pointer out(Index n, Store store = Store::assign) {
    std::vector<T> values(static_cast<std::size_t>(n + 2 * guard), sentinel);
    for (Index i = 0; i < n; ++i)
      values[static_cast<std::size_t>(i + guard)] = store == Store::add ? static_cast<T>(rng_.uniform()) : static_cast<T>(std::nan(""));
    outs_.push_back({Tensor<B>::from(b, {n + 2 * guard}, values), n});
    return outs_.back().tensor.data() + guard;
  }
  IdPointer id_out(Index n) {
    id_outs_.push_back(Ids<B>::from(b, {n}, std::vector<std::int32_t>(static_cast<std::size_t>(n), -9)));
    return id_outs_.back().data();
  }

  /// Ends a case: reads back everything that out() and id_out() gave, and frees what in() and ids() gave.
  /// Throws if a guard was overwritten.
  void record(const std::string& name, Kind kind) {
    int part = 0;
    for (auto& out : outs_) {
      const auto values = out.tensor.to_host(b);
      std::vector<double> inner;
      for (std::size_t i = 0; i < values.size(); ++i) {
        const Index at = static_cast<Index>(i) - guard;
        if (at >= 0 && at < out.count) inner.push_back(static_cast<double>(values[i]));
        else if (values[i] != sentinel) throw BackendError(str(name, ", result ", part, ": wrote to element ", at, " of ", out.count));
      }
      records_.push_back({str(name, ", result ", part++), kind, std::move(inner)});
    }
    for (auto& out : id_outs_) {
      const auto values = out.to_host(b);
      records_.push_back({str(name, ", ids"), Kind::exact, std::vector<double>(values.begin(), values.end())});
    }
    outs_.clear();
    id_outs_.clear();
    kept_.clear();
    kept_ids_.clear();
  }

  std::vector<Record> take() { return std::move(records_); }

 private:
  static constexpr Index guard = 16;  // elements: the results stay aligned to 64 bytes
  static constexpr T sentinel = T{-777.25};
  struct Out {
    Tensor<B> tensor;
    Index count;
  };
  ConstPointer keep(const std::vector<T>& values) {
    kept_.push_back(Tensor<B>::from(b, {static_cast<Index>(values.size())}, values));
    return std::as_const(kept_.back()).data();
  }

  Rng rng_{20};
  std::vector<Tensor<B>> kept_;
  std::vector<Ids<B>> kept_ids_;
  std::vector<Out> outs_;
  std::vector<Ids<B>> id_outs_;
  std::vector<Record> records_;
};

inline const char* say(Store s) { return s == Store::assign ? "assign" : "add"; }
inline const char* say(Activation a) { return a == Activation::none ? "" : " relu"; }

}  // namespace espalier::test
