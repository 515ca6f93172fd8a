// SPDX-License-Identifier: Apache-2.0
// Optimisers. The policy (Sgd, Adam, AdamW) is a plain value; what changes during training, moments
// and step counts, is the OptimizerRun that the training loop owns. Each parameter is updated in one
// fused pass, which also keeps masked weights dead.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <espalier/autograd/parameter.hpp>
#include <espalier/config.hpp>
#include <espalier/nn/mask.hpp>
#include <espalier/train/policy.hpp>

namespace espalier {

/// An Optimizer turns a gradient into a change of a weight.
///
/// Write      static constexpr std::array<std::string_view, K> moments   names of what is kept per weight; may be empty
///            template <class T> auto rule(double lr, Index t) const     a functor, ESPALIER_HD, for update number t = 1, 2, ...:
///                                                                       void operator()(T& weight, T gradient, T&... K moments) const
///            void validate() const                                      throws PolicyError (optional)
/// Meaning    moments start at zero; `t` counts the updates of one parameter.
/// Laws       a weight's update depends on that weight, its gradient and its moments alone.
/// Models     Sgd, Adam, AdamW
template <class O>
concept Optimizer = std::regular<O> && requires(const O& o) {
  O::moments.size();
  o.template rule<float>(0.1, Index{1});
};

/// What a checkpoint keeps of an optimiser: moments named "<moment>/<path>" in the outside layout, the
/// mask, and the number of updates of each parameter.
struct OptimizerState {
  std::vector<std::pair<std::string, HostTensor>> tensors;
  Mask mask;
  std::vector<std::pair<std::string, Index>> updates;
  bool operator==(const OptimizerState&) const = default;
};

struct OptimizerOptions {
  /// Gradients are scaled down so that the norm of all of them together is at most this.
  std::optional<double> clip_norm{};
  bool operator==(const OptimizerOptions&) const = default;
};

namespace detail {

// One fused update. Arguments: weight, gradient, [mask: 0 or 1,] moments. A weight where the mask
// is 0, and everything that belongs to the weight, is exactly zero afterwards.
template <class T, class Rule>
struct FusedUpdate {
  Rule rule;
  T scale;
  template <class... Moments>
  ESPALIER_HD void operator()(Index, T& weight, const T& gradient, Moments&... moments) const {
    rule(weight, gradient * scale, moments...);
  }
};
template <class T, class Rule>
struct MaskedUpdate {
  Rule rule;
  T scale;
  template <class... Moments>
  ESPALIER_HD void operator()(Index, T& weight, T& gradient, const T& mask, Moments&... moments) const {
    // One select and products: a branch, or a second select, keeps compilers from vectorising the loop.
    gradient = mask == T{0} ? T{0} : gradient;
    rule(weight, gradient * scale, moments...);
    weight *= mask;
    ((moments *= mask), ...);
  }
};

struct Square {
  template <class T> ESPALIER_HD T operator()(Index, const T& x) const { return x * x; }
};
struct SquareIfAlive {
  template <class T> ESPALIER_HD T operator()(Index, const T& x, const std::uint8_t& mask) const { return mask == 0 ? T{0} : x * x; }
};
struct ZeroWhereMasked {
  template <class T> ESPALIER_HD void operator()(Index, T& x, const std::uint8_t& mask) const {
    if (mask == 0) x = T{0};
  }
};

}  // namespace detail

/// The state of one optimiser over one network: moments by parameter path and shape. It belongs to the
/// network it was made for; with one of other shapes it throws StaleState.
template <Optimizer O, Backend B>
class OptimizerRun {
  static constexpr std::size_t moment_count = O::moments.size();
  using T = typename B::Scalar;

 public:
  /// Throws PolicyError if the policy is out of range.
  template <Module M>
  OptimizerRun(O policy, B& b, const M& net, OptimizerOptions options = {}) : policy_(std::move(policy)), options_(options) {
    detail::check_policy(policy_);
    if (options_.clip_norm) detail::require_field(*options_.clip_norm > 0, "OptimizerOptions", "clip_norm", *options_.clip_norm, "more than 0");
    for_each_parameter(net, [&](const std::string& path, const Parameter<B>& p) {
      Slot slot{path, p.value.shape(), p.layout, {}, {}, 0};
      for (auto& moment : slot.moments) moment = Tensor<B>::zeros(b, p.value.shape());
      slots_.push_back(std::move(slot));
    });
  }

  const O& policy() const { return policy_; }

  /// Updates every parameter that has a gradient, and consumes the gradients.
  /// Throws StaleState, naming the path, before anything is changed, if the network is not the one this was made for.
  template <Module M>
  void step(B& b, M& net, double lr) {
    if (!is_the_one_checked(net)) check(net);
    const double scale = options_.clip_norm ? clip_factor(b, net, *options_.clip_norm) : 1.0;
    std::size_t next = 0;
    for_each_unnamed_parameter(net, [&](Parameter<B>& p) {
      Slot& slot = slots_[next++];
      if (!p.has_gradient) return;
      update(b, slot, p, policy_.template rule<T>(lr, ++slot.updates), static_cast<T>(scale), std::make_index_sequence<moment_count>{});
      p.has_gradient = false;
    });
  }

  /// From now on the weights that are dead in `mask` are exactly zero, with their gradients and moments, after
  /// every step; they are zeroed at once. It takes the place of the mask before it, whole.
  /// Throws StaleState, and changes nothing, for an unknown path or another shape.
  template <Module M>
  void set_mask(B& b, M& net, Mask mask) {
    check(net);
    check_fits(mask, net);
    std::size_t next = 0;
    for_each_parameter(net, [&](const std::string& path, Parameter<B>& p) {
      Slot& slot = slots_[next++];
      slot.alive = on_device(b, mask, path, slot);
      if (!slot.alive) return;
      const auto zero = [&](Tensor<B>& t) { b.each(t.count(), detail::ZeroWhereMasked{}, t.data(), std::as_const(*slot.alive).data()); };
      zero(p.value);
      if (p.has_gradient) zero(p.gradient);
      for (auto& moment : slot.moments) zero(moment);
    });
    mask_ = std::move(mask);
  }
  const Mask& mask() const { return mask_; }

  OptimizerState export_state(B& b) const {
    OptimizerState state;
    state.mask = mask_;
    for (const Slot& slot : slots_) {
      for (std::size_t k = 0; k < moment_count; ++k)
        state.tensors.emplace_back(str(O::moments[k], '/', slot.path), to_host(b, slot.moments[k], slot.layout));
      state.updates.emplace_back(slot.path, slot.updates);
    }
    return state;
  }
  /// Throws StaleState, naming what differs, and changes nothing, if the state belongs to another network or policy.
  void import_state(B& b, const OptimizerState& state) {
    auto slots = slots_;
    if (state.updates.size() != slots.size() || state.tensors.size() != slots.size() * moment_count)
      throw StaleState(str("optimiser state: found ", state.tensors.size(), " tensors of ", state.updates.size(), " parameters, needed ",
                           slots.size() * moment_count, " of ", slots.size(), "; it belongs to another network or optimiser"));
    for (std::size_t i = 0; i < slots.size(); ++i) {
      if (state.updates[i].first != slots[i].path)
        throw StaleState(str("optimiser state: found parameter '", state.updates[i].first, "', needed '", slots[i].path, "'; it belongs to another network"));
      slots[i].updates = state.updates[i].second;
      for (std::size_t k = 0; k < moment_count; ++k) {
        const auto& [name, tensor] = state.tensors[i * moment_count + k];
        const std::string wanted = str(O::moments[k], '/', slots[i].path);
        if (name != wanted) throw StaleState(str("optimiser state: found '", name, "', needed '", wanted, "'; it belongs to another network or optimiser"));
        if (tensor.shape != outside(slots[i].shape, slots[i].layout))
          throw StaleState(str("optimiser state '", name, "': found shape ", tensor.shape, ", needed ", outside(slots[i].shape, slots[i].layout), "; the network has changed since it was saved"));
        slots[i].moments[k] = from_host(b, tensor, slots[i].layout);
      }
    }
    for (const MaskPart& part : state.mask.parts())
      if (std::none_of(slots.begin(), slots.end(), [&](const Slot& s) { return s.path == part.path && outside(s.shape, s.layout) == part.shape; }))
        throw StaleState(str("optimiser state: found a mask of shape ", part.shape, " for '", part.path, "', which the network does not hold in that shape; it has changed since the state was saved"));
    for (Slot& slot : slots) slot.alive = on_device(b, state.mask, slot.path, slot);
    slots_ = std::move(slots);
    mask_ = state.mask;
  }

 private:
  struct Slot {
    std::string path;
    Shape shape;  // inside
    Layout layout;
    std::array<Tensor<B>, moment_count> moments;
    std::optional<Tensor<B, std::uint8_t>> alive;  // a byte a weight, inside layout; none if all live
    Index updates;
  };

  static std::optional<Tensor<B, std::uint8_t>> on_device(B& b, const Mask& mask, const std::string& path, const Slot& slot) {
    const MaskPart* part = mask.find(path);
    if (part == nullptr) return {};
    const std::vector<std::uint8_t> bits = part->unpacked();
    std::vector<std::uint8_t> inside(bits.size());
    detail::relayout(std::span<const std::uint8_t>(bits), std::span<std::uint8_t>(inside), slot.shape, slot.layout, false);
    return Tensor<B, std::uint8_t>::from(b, slot.shape, inside);
  }

  // A network whose parameters lie where they lay when their paths were checked need not be named again.
  template <Module M>
  bool is_the_one_checked(const M& net) const {
    std::size_t next = 0;
    bool same = checked_.size() == slots_.size() && !slots_.empty();
    for_each_unnamed_parameter(net, [&](const Parameter<B>& p) {
      same = same && next < slots_.size() && checked_[next] == &p && slots_[next].shape == p.value.shape();
      ++next;
    });
    return same && next == slots_.size();
  }

  template <Module M>
  void check(const M& net) {
    std::size_t next = 0;
    checked_.clear();
    for_each_parameter(net, [&](const std::string& path, const Parameter<B>& p) {
      const Slot* slot = next < slots_.size() ? &slots_[next++] : nullptr;
      if (slot == nullptr || slot->path != path)
        throw StaleState(str("optimiser state: found parameter '", path, "' where it knows ", slot ? str("'", slot->path, "'") : "no more",
                             "; the network has other layers than the one it was made for: make a new run after shrinking or replacing layers"));
      if (slot->shape != p.value.shape())
        throw StaleState(str("optimiser state of '", path, "': found a parameter of shape ", p.outside_shape(), ", needed ", outside(slot->shape, slot->layout),
                             " as when it was made; make a new run after shrinking"));
      checked_.push_back(&p);
    });
    if (next != slots_.size())
      throw StaleState(str("optimiser state: found no parameter '", slots_[next].path, "' in the network; make a new run after removing layers"));
  }

  template <class Rule, std::size_t... K>
  static void update(B& b, Slot& slot, Parameter<B>& p, const Rule& rule, T scale, std::index_sequence<K...>) {
    const Index n = p.value.count();
    if (slot.alive)
      b.each(n, detail::MaskedUpdate<T, Rule>{rule, scale}, p.value.data(), p.gradient.data(), std::as_const(*slot.alive).data(), slot.moments[K].data()...);
    else
      b.each(n, detail::FusedUpdate<T, Rule>{rule, scale}, p.value.data(), std::as_const(p.gradient).data(), slot.moments[K].data()...);
  }

  // As torch.nn.utils.clip_grad_norm_: min(1, limit / (norm + 1e-6)).
  template <Module M>
  double clip_factor(B& b, M& net, double limit) {
    if (squares_.count() == 0 && !slots_.empty()) squares_ = Tensor<B>::empty(b, {static_cast<Index>(slots_.size())});
    Index used = 0;
    std::size_t next = 0;
    for_each_unnamed_parameter(std::as_const(net), [&](const Parameter<B>& p) {
      const Slot& slot = slots_[next++];
      if (!p.has_gradient) return;
      if (slot.alive) b.sum(p.gradient.count(), detail::SquareIfAlive{}, squares_.data() + used++, p.gradient.data(), std::as_const(*slot.alive).data());
      else b.sum(p.gradient.count(), detail::Square{}, squares_.data() + used++, p.gradient.data());
    });
    host_squares_.resize(static_cast<std::size_t>(used));
    if (used > 0) b.download(std::as_const(squares_).data(), std::span<T>(host_squares_));
    double total = 0;
    for (const T square : host_squares_) total += static_cast<double>(square);
    return std::min(1.0, limit / (std::sqrt(total) + 1e-6));
  }

  O policy_;
  OptimizerOptions options_;
  std::vector<Slot> slots_;
  Mask mask_;
  std::vector<const Parameter<B>*> checked_;
  Tensor<B> squares_{};
  std::vector<T> host_squares_;
};

/// The state of `policy` over `net`: `auto run = optimizer_run(Sgd{}, device, net); run.step(device, net, 0.1);`
template <Optimizer O, Backend B, Module M>
OptimizerRun<O, B> optimizer_run(O policy, B& b, const M& net, OptimizerOptions options = {}) {
  return OptimizerRun<O, B>(std::move(policy), b, net, options);
}

}  // namespace espalier
