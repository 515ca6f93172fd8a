// SPDX-License-Identifier: Apache-2.0
// The policy of structured pruning: which channels, how many, with what exceptions. A value; the
// decision that it leads to is a Plan.
#pragma once

#include <map>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <espalier/prune/criterion.hpp>
#include <espalier/prune/detail/selector.hpp>

namespace espalier {

/// Of every group, this fraction of the channels is removed: floor(n (1 - remove)) stay, as in Li et
/// al. 2017's reference; but where its doubles fall a rounding error short of a whole number (0.9 of
/// 10), that number counts. A fraction p of all channels removes about 1 - (1 - p)^2 of the weights.
struct Fraction {
  double remove = 0.5;
  bool operator==(const Fraction&) const = default;
};

/// The widths to keep, one for each group that may be pruned, in the order of the computation.
struct Widths {
  std::vector<Index> keep;
  bool operator==(const Widths&) const = default;
};

/// A fraction for each layer whose path matches, the first match counting; other layers stay.
/// A selector is a path in which '*' stands for any characters: {"layer1.*.conv1", 0.6}.
struct PerLayer {
  std::vector<std::pair<std::string, double>> remove;
  bool operator==(const PerLayer&) const = default;
};

/// Of all channels of all groups together, exactly floor(n remove) go, the lowest scores first; of equal
/// scores the earlier group's, then the lower channel stays. Rounding (round_to) gives some back.
struct Global {
  enum class Scale { none, group_mean };  // group_mean: scores are divided by their group's mean magnitude first
  double remove = 0.5;
  Scale scale = Scale::group_mean;
  bool operator==(const Global&) const = default;
};

using Amount = std::variant<Fraction, Widths, PerLayer, Global>;

/// Whether the units of linear layers are pruned too.
enum class LinearLayers { keep, prune };

/// Whether scores count all input channels, or only those that earlier groups left (Li et al. 2017, 3.2).
enum class Selection { independent, greedy };

/// Structured pruning by a criterion. Selection is by rank and exact; of equal scores the lower channel stays.
template <class C>
struct Structured {
  static_assert(detail::checked_criterion<C>());
  C criterion{};
  Amount amount = Fraction{0.5};
  std::vector<std::string> skip{};              // layer selectors; each must match a layer
  LinearLayers linear = LinearLayers::keep;
  std::optional<Index> keep_at_least{};         // channels per group; without it, a group that would vanish is an error
  Index round_to = 1;                           // widths are rounded up to a multiple, never above the old width
  Selection selection = Selection::independent;
  bool operator==(const Structured&) const = default;

  /// Throws PolicyError naming the field, its value and its range.
  void validate() const {
    const auto fraction = [](const char* field, double value) {
      if (!(value >= 0 && value <= 1)) throw PolicyError(str(field, " is ", value, "; a fraction is from 0 to 1"));
    };
    if (const auto* f = std::get_if<Fraction>(&amount)) fraction("Fraction::remove", f->remove);
    if (const auto* g = std::get_if<Global>(&amount)) fraction("Global::remove", g->remove);
    if (const auto* p = std::get_if<PerLayer>(&amount))
      for (const auto& [selector, value] : p->remove) fraction(str("PerLayer::remove of '", selector, "'").c_str(), value);
    if (const auto* w = std::get_if<Widths>(&amount))
      for (const Index keep : w->keep)
        if (keep < 1) throw PolicyError(str("Widths::keep holds ", keep, "; a width is at least 1"));
    if (keep_at_least && *keep_at_least < 1) throw PolicyError(str("keep_at_least is ", *keep_at_least, "; it is at least 1"));
    if (round_to < 1) throw PolicyError(str("round_to is ", round_to, "; it is at least 1"));
  }
};

namespace detail {

inline std::ostream& operator<<(std::ostream& to, const Amount& amount) {
  if (const auto* f = std::get_if<Fraction>(&amount)) return to << str("Fraction{.remove = ", f->remove, "}");
  if (const auto* g = std::get_if<Global>(&amount))
    return to << str("Global{.remove = ", g->remove, ", .scale = Global::Scale::", g->scale == Global::Scale::none ? "none" : "group_mean", "}");
  const char* separator = "";
  if (const auto* w = std::get_if<Widths>(&amount)) {
    to << "Widths{{";
    for (const Index keep : w->keep) to << str(std::exchange(separator, ", "), keep);
    return to << "}}";
  }
  to << "PerLayer{{";
  for (const auto& [selector, value] : std::get<PerLayer>(amount).remove) to << str(std::exchange(separator, ", "), "{\"", selector, "\", ", value, "}");
  return to << "}}";
}

}  // namespace detail

/// As it is written in code; fields at their defaults are left out.
template <class C>
std::ostream& operator<<(std::ostream& to, const Structured<C>& p) {
  using detail::operator<<;
  to << "Structured{.criterion = " << p.criterion << ", .amount = " << p.amount;
  if (!p.skip.empty()) {
    to << ", .skip = {";
    for (std::size_t i = 0; i < p.skip.size(); ++i) to << (i ? ", \"" : "\"") << p.skip[i] << '"';
    to << '}';
  }
  if (p.linear == LinearLayers::prune) to << ", .linear = LinearLayers::prune";
  if (p.keep_at_least) to << str(", .keep_at_least = ", *p.keep_at_least);
  if (p.round_to != 1) to << str(", .round_to = ", p.round_to);
  if (p.selection == Selection::greedy) to << ", .selection = Selection::greedy";
  return to << '}';
}

}  // namespace espalier
