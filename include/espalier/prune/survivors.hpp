// SPDX-License-Identifier: Apache-2.0
// What the survivors of pruning start from, and how long they train: the baselines that keep pruning
// honest (Liu, Sun, Zhou, Huang & Darrell, Rethinking the Value of Network Pruning, ICLR 2019).
#pragma once

#include <concepts>
#include <cstdint>
#include <ostream>
#include <string>

#include <espalier/nn/cost.hpp>
#include <espalier/nn/init.hpp>

namespace espalier {

/// The network's weights as they are: the null policy.
struct KeepWeights {
  bool operator==(const KeepWeights&) const = default;
  template <Backend B, Module M>
  void start(B&, M&) const {}
};

/// Every parameter drawn anew by its own initialisation, at its present shape; running statistics start
/// over. Each draw depends on the seed and the parameter's path alone.
struct Reinitialise {
  std::uint64_t seed = 0;
  bool operator==(const Reinitialise&) const = default;
  template <Backend B, Module M>
  void start(B& b, M& net) const {
    double fan_in = 1, fan_out = 1;  // of the weight last visited: a bias has its layer's
    detail::for_each_listed(net, [&](const std::string& path, auto& member) {
      if constexpr (requires { member.init; }) {
        Shape shape = member.value.shape();
        Layout layout = Layout::plain;
        if constexpr (requires { member.layout; }) {
          shape = member.outside_shape();
          layout = member.layout;
          member.has_gradient = false;
        }
        if (layout != Layout::plain) {
          double taps = 1;
          for (int axis = 2; axis < shape.rank(); ++axis) taps *= static_cast<double>(shape[axis]);
          fan_in = static_cast<double>(shape[1]) * taps;
          fan_out = static_cast<double>(shape[0]) * taps;
        }
        Rng stream = Rng(seed).split(path);
        member.value = from_host(b, initial(shape, member.init, stream, fan_in, fan_out), layout);
      }
    });
  }
};

/// A SurvivorPolicy says what survivors start from and for how many epochs they train.
///
/// Write   void start(B&, M& net) const                                      sets the weights
///         Index epochs(Index dense_epochs, const NetworkCost& dense, const NetworkCost& slim) const
///         static constexpr const char* name                                 for tables
/// Models  FineTune, ScratchE, ScratchB
template <class S>
concept SurvivorPolicy = std::regular<S> && requires(const S& s, const NetworkCost& c) {
  { s.epochs(Index{1}, c, c) } -> std::same_as<Index>;
  { S::name } -> std::convertible_to<const char*>;
};

/// Inherited weights, a short training.
struct FineTune {
  static constexpr const char* name = "fine-tuned";
  Index fine_tune_epochs = 40;
  bool operator==(const FineTune&) const = default;
  template <Backend B, Module M>
  void start(B& b, M& net) const { KeepWeights{}.start(b, net); }
  Index epochs(Index, const NetworkCost&, const NetworkCost&) const { return fine_tune_epochs; }
};

/// The small architecture from new weights, for as many epochs as the large one had.
struct ScratchE {
  static constexpr const char* name = "Scratch-E";
  std::uint64_t seed = 0;
  bool operator==(const ScratchE&) const = default;
  template <Backend B, Module M>
  void start(B& b, M& net) const { Reinitialise{seed}.start(b, net); }
  Index epochs(Index dense_epochs, const NetworkCost&, const NetworkCost&) const { return dense_epochs; }
};

/// How Scratch-B counts compute.
enum class ComputeBudget {
  multiply_adds,
  rethinking_reference,  // as the reference code counts: VGG-16-A gets 243 epochs for 160
};

/// The small architecture from new weights, for as much compute as the large one had:
/// floor(epochs * cost(large) / cost(small)).
struct ScratchB {
  static constexpr const char* name = "Scratch-B";
  std::uint64_t seed = 0;
  ComputeBudget budget = ComputeBudget::multiply_adds;
  bool operator==(const ScratchB&) const = default;
  template <Backend B, Module M>
  void start(B& b, M& net) const { Reinitialise{seed}.start(b, net); }
  Index epochs(Index dense_epochs, const NetworkCost& dense, const NetworkCost& slim) const {
    const auto count = [&](const NetworkCost& c) {
      return static_cast<double>(budget == ComputeBudget::multiply_adds ? c.multiply_adds : c.flops_of_rethinking_reference());
    };
    return static_cast<Index>(static_cast<double>(dense_epochs) * (count(dense) / count(slim)));
  }
};

static_assert(SurvivorPolicy<FineTune> && SurvivorPolicy<ScratchE> && SurvivorPolicy<ScratchB>);

inline void append(std::string& out, const KeepWeights&) { out += "KeepWeights{}"; }
inline void append(std::string& out, const Reinitialise& r) { out += str("Reinitialise{.seed = ", r.seed, "}"); }
inline void append(std::string& out, const FineTune& f) { out += str("FineTune{.fine_tune_epochs = ", f.fine_tune_epochs, "}"); }
inline void append(std::string& out, const ScratchE& s) { out += str("ScratchE{.seed = ", s.seed, "}"); }
inline void append(std::string& out, const ScratchB& s) {
  out += str("ScratchB{.seed = ", s.seed, s.budget == ComputeBudget::rethinking_reference ? ", .budget = ComputeBudget::rethinking_reference}" : "}");
}
inline std::ostream& operator<<(std::ostream& to, const KeepWeights& k) { return to << str(k); }
inline std::ostream& operator<<(std::ostream& to, const Reinitialise& r) { return to << str(r); }
inline std::ostream& operator<<(std::ostream& to, const FineTune& f) { return to << str(f); }
inline std::ostream& operator<<(std::ostream& to, const ScratchE& s) { return to << str(s); }
inline std::ostream& operator<<(std::ostream& to, const ScratchB& s) { return to << str(s); }

}  // namespace espalier
