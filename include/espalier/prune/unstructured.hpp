// SPDX-License-Identifier: Apache-2.0
// The policies of unstructured pruning: which weights go next, how many, with what exceptions. Values; the
// decision that they lead to is a Mask.
#pragma once

#include <optional>
#include <ostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <espalier/prune/criterion.hpp>
#include <espalier/prune/detail/next_mask.hpp>
#include <espalier/prune/granularity.hpp>
#include <espalier/train/policy.hpp>

namespace espalier {

namespace detail {

// Criteria that have aliases of their own below.
template <class C>
inline constexpr bool is_shipped = std::is_same_v<C, Magnitude> || std::is_same_v<C, Random> || std::is_same_v<C, Taylor> || std::is_same_v<C, Snip> ||
                                   std::is_same_v<C, Movement> || std::is_same_v<C, Given>;

}  // namespace detail

/// Unstructured pruning by a criterion, of all layers ranked together or of each by itself. Selection is by rank and
/// exact: of the live weights of a pool, k go, where k is the amount asked for to the nearest, halves to even; of
/// equal scores the earlier tensor's, then the lower weight stays. At an amount of 0 the mask stays as it is.
///
/// Pools   Scope::global: all layers that are neither ignored nor named in `layers` are one pool, and so are those
///         of each entry of `layers`. Scope::layer: each layer is a pool.
/// Layers  are the parts of the mask; Mask::ones has all weights and no bias. Selectors are the path of a weight or
///         of its layer, where '*' stands for any characters; of several that match, the first counts.
template <class C, Scope S>
struct Unstructured {
  static_assert(detail::checked_weight_criterion<C>());
  std::optional<double> remove{};                      // share of the weights that still live, or
  std::optional<double> sparsity{};                    // share of all weights that are dead afterwards; one of the two
  C criterion{};
  Granularity granularity = EachWeight{};              // or Block{.rows = 1, .columns = 4}, KeepOf{.keep = 2, .of = 4}
  std::vector<std::pair<std::string, double>> layers{};  // the same share, another number: {{"fc3", 0.1}}
  std::vector<std::string> ignore{};                   // layers left as they are; each must match one
  std::optional<Index> keep_at_least{};                // weights (or blocks) a layer; without a floor, a layer that would be empty is an error
  std::optional<double> keep_fraction{};               // of a layer's weights, rounded up
  Counting counting = Counting::exact;
  bool operator==(const Unstructured&) const = default;

  /// The mask after `mask`, and within it; the network is not touched. Where layers of a global pool are at their
  /// floor, the next lowest of others go instead; a layer that is ranked alone keeps its floor.
  /// Throws PolicyError if the policy is out of range, names nothing, would empty a layer, asks for more than floors
  /// allow or for less than is dead, or meets a NaN; StaleState if mask or scores do not fit the network.
  template <class B, class M>
  Mask next(B& b, const M& net, const Mask& mask, const Scores& collected = {}) const {
    static_assert(Backend<B>, "next(device, net, mask): the device must be a Backend, such as EigenCpu (see backend/concept.hpp)");
    static_assert(Module<M>, "next(device, net, mask): the network must be a Module: a struct whose static members(self, visit) lists its parameters by name (see nn/module.hpp)");
    if constexpr (Backend<B> && Module<M>) return detail::next_mask(b, net, mask, collected, *this, S);
    else return {};
  }
  /// The same of a network that no mask has touched.
  template <class B, class M>
  Mask first(B& b, const M& net, const Scores& collected = {}) const {
    return next(b, net, Mask::ones(net), collected);
  }

  /// "GlobalMagnitude", or "Unstructured<Mine, Scope::global>" of a criterion of yours.
  std::string name() const {
    std::ostringstream written;
    written << criterion;
    const std::string type = written.str().substr(0, written.str().find('{'));
    if constexpr (detail::is_shipped<C>) return (S == Scope::global ? "Global" : "Layer") + type;
    else return str("Unstructured<", type, ", Scope::", S == Scope::global ? "global" : "layer", ">");
  }

  /// The amount that is set; 0 if none is.
  double amount() const { return remove ? *remove : sparsity.value_or(0); }

  /// Throws PolicyError naming the field, its value and its range.
  void validate() const {
    const std::string policy = name();
    if (const auto* g = std::get_if<KeepOf>(&granularity)) return validate_keep_of(policy, *g);
    if (const auto* g = std::get_if<Block>(&granularity)) {
      detail::require_field(g->rows >= 1, policy, "granularity.rows", static_cast<double>(g->rows), "at least 1");
      detail::require_field(g->columns >= 1, policy, "granularity.columns", static_cast<double>(g->columns), "at least 1");
    }
    if (remove.has_value() == sparsity.has_value())
      throw PolicyError(str(policy, ": found ", remove ? "both .remove and .sparsity" : "neither .remove nor .sparsity",
                            ", needed one of them; set .remove for a share of the weights that still live, .sparsity for the share of all that is to be dead"));
    const char* field = remove ? "remove" : "sparsity";
    const bool floors = keep_at_least || keep_fraction;
    const auto check = [&](const std::string& where, double value) {
      detail::require_field(value >= 0 && value <= 1, policy, where, value, "a share from 0 to 1");
      detail::require_field(value < 1 || floors, policy, where, value, "less than 1, or a floor: .keep_at_least or .keep_fraction");
    };
    check(field, amount());
    for (const auto& [selector, value] : layers) check(str("layers of '", selector, "'"), value);
    if (keep_at_least) detail::require_field(*keep_at_least >= 1, policy, "keep_at_least", static_cast<double>(*keep_at_least), "at least 1");
    if (keep_fraction) detail::require_field(*keep_fraction > 0 && *keep_fraction <= 1, policy, "keep_fraction", *keep_fraction, "more than 0, at most 1");
    if (counting != Counting::exact) validate_counting(policy);
    detail::check_policy(criterion);
  }

 private:
  void validate_keep_of(const std::string& policy, const KeepOf& g) const {
    detail::require_field(g.keep >= 1 && g.keep < g.of, policy, "granularity.keep", static_cast<double>(g.keep), str("at least 1 and less than .of, which is ", g.of));
    if (remove || sparsity || !layers.empty() || keep_at_least || keep_fraction || counting != Counting::exact)
      throw PolicyError(str(policy, ": ", str(g), " says how much stays; found another amount beside it, needed none of .remove, .sparsity, .layers, .keep_at_least, .keep_fraction and .counting; leave them out"));
    detail::check_policy(criterion);
  }
  void validate_counting(const std::string& policy) const {
    const std::string mode = str(policy, ": Counting::", detail::name_of(counting));
    if (!std::holds_alternative<EachWeight>(granularity)) throw PolicyError(str(mode, " counts single weights; leave out .granularity, or count exactly"));
    if (detail::counts_all(counting) != sparsity.has_value())
      throw PolicyError(str(mode, " takes a share of ", sparsity ? "the weights that still live; set .remove, not .sparsity" : "all weights, the dead included; set .sparsity, not .remove"));
    if (keep_at_least || keep_fraction) throw PolicyError(str(mode, " has no floors; leave out .keep_at_least and .keep_fraction, or count exactly"));
    if (counting == Counting::open_lth && (S == Scope::layer || !layers.empty()))
      throw PolicyError(str(mode, " ranks all layers together; use a global policy without .layers"));
  }
};

using GlobalMagnitude = Unstructured<Magnitude, Scope::global>;
using LayerMagnitude = Unstructured<Magnitude, Scope::layer>;
using GlobalRandom = Unstructured<Random, Scope::global>;
using LayerRandom = Unstructured<Random, Scope::layer>;
using GlobalTaylor = Unstructured<Taylor, Scope::global>;
using LayerTaylor = Unstructured<Taylor, Scope::layer>;
using GlobalSnip = Unstructured<Snip, Scope::global>;
using LayerSnip = Unstructured<Snip, Scope::layer>;
using GlobalMovement = Unstructured<Movement, Scope::global>;
using LayerMovement = Unstructured<Movement, Scope::layer>;
using GlobalGiven = Unstructured<Given, Scope::global>;
using LayerGiven = Unstructured<Given, Scope::layer>;

/// As it is written in code; fields at their defaults are left out.
template <class C, Scope S>
std::ostream& operator<<(std::ostream& to, const Unstructured<C, S>& p) {
  to << p.name() << '{';
  const char* separator = "";
  const auto field = [&](const auto&... text) { to << std::exchange(separator, ", ") << str(text...); };
  if (p.remove) field(".remove = ", *p.remove);
  if (p.sparsity) field(".sparsity = ", *p.sparsity);
  if (!(p.criterion == C{})) field(".criterion = "), to << p.criterion;
  if (!std::holds_alternative<EachWeight>(p.granularity)) field(".granularity = ", detail::written(p.granularity));
  if (!p.layers.empty()) {
    field(".layers = {");
    for (std::size_t i = 0; i < p.layers.size(); ++i) to << str(i > 0 ? ", {\"" : "{\"", p.layers[i].first, "\", ", p.layers[i].second, "}");
    to << '}';
  }
  if (!p.ignore.empty()) {
    field(".ignore = {");
    for (std::size_t i = 0; i < p.ignore.size(); ++i) to << (i > 0 ? ", \"" : "\"") << p.ignore[i] << '"';
    to << '}';
  }
  if (p.keep_at_least) field(".keep_at_least = ", *p.keep_at_least);
  if (p.keep_fraction) field(".keep_fraction = ", *p.keep_fraction);
  if (p.counting != Counting::exact) field(".counting = Counting::", detail::name_of(p.counting));
  return to << '}';
}
template <class C, Scope S>
void append(std::string& out, const Unstructured<C, S>& p) {
  std::ostringstream written;
  written << p;
  out += written.str();
}

/// The weights alive at first and after each of `rounds` calls of next(), ignored ones included, if no two scores
/// are equal and no floor is met: a dry run. Throws PolicyError as next() does.
template <class C, Scope S>
std::vector<Index> survivors_by_round(const Mask& mask, const Unstructured<C, S>& policy, Index rounds) {
  policy.validate();
  if (!std::holds_alternative<EachWeight>(policy.granularity))
    throw PolicyError(str(policy.name(), ": found .granularity = ", detail::written(policy.granularity), ", needed EachWeight{} for a dry run; ask next() for the mask instead"));
  std::vector<detail::Request> pools;
  for (const auto& pool : detail::pools_of(mask, policy, S, policy.amount())) {
    pools.push_back({.amount = pool.amount, .of_all = policy.sparsity.has_value()});
    for (const std::size_t i : pool.parts) {
      pools.back().weights += mask.parts()[i].weights();
      pools.back().alive += mask.parts()[i].survivors();
    }
  }
  std::vector<Index> survivors{mask.survivors()};
  for (Index round = 1; round <= rounds; ++round) {
    Index gone = 0;
    for (detail::Request& pool : pools) {
      pool.alive_anywhere = survivors.back();
      const Index go = detail::goes_without_ties(pool, policy.counting);
      pool.alive -= go;
      gone += go;
    }
    survivors.push_back(survivors.back() - gone);
  }
  return survivors;
}

}  // namespace espalier
