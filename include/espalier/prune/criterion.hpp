// SPDX-License-Identifier: Apache-2.0
// How much a channel matters: the criteria of structured pruning. Taylor and Random score single weights too.
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <ostream>
#include <span>

#include <espalier/prune/channel_groups.hpp>
#include <espalier/prune/weight_criterion.hpp>
#include <espalier/tensor/rng.hpp>

namespace espalier {

/// A Criterion says how much each channel of a coupled group matters.
///
/// Write      void score(const ChannelGroup& group, std::span<double> out) const;
///            std::ostream& operator<<(std::ostream&, const Criterion&), as it is written in code
/// Meaning    out[i] grows with the harm of removing channel i. Only the order is used.
/// Laws       pure: equal groups, equal scores.  finite: never NaN.
///            equivariant: permuting the channels permutes the scores (Random excepted).
/// Cost       one pass over the group's parameters.
/// Models     L1Norm, L2Norm, BatchNormScale, GeometricMedian, Taylor, Random;
///            one of your own: examples/custom_criterion.
/// Archetype  tests/archetypes/criterion.hpp
template <class C>
concept Criterion = std::regular<C> && requires(const C& c, const ChannelGroup& group, std::span<double> out, std::ostream& to) {
  c.score(group, out);
  to << c;
};

namespace detail {

// What a Criterion lacks, as a sentence. The entry points ask this before any constraint does.
template <class C>
consteval bool checked_criterion() {
  constexpr bool is_named = requires { &C::score; };
  constexpr bool scores_const = requires(const C& c, const ChannelGroup& group, std::span<double> out) { c.score(group, out); };
  constexpr bool scores = scores_const || requires(C& c, const ChannelGroup& group, std::span<double> out) { c.score(group, out); };
  constexpr bool prints = requires(const C& c, std::ostream& to) { to << c; };
  static_assert(std::default_initializable<C> && std::copyable<C>,
                "a Criterion is a value: it must have a default constructor and be copyable, as a struct of numbers is");
  static_assert(std::equality_comparable<C>, "a Criterion must be comparable: write bool operator==(const MyCriterion&) const = default;");
  static_assert(scores || is_named, "a Criterion must score: write void score(const ChannelGroup& group, std::span<double> out) const");
  static_assert(scores || !is_named,
                "score() exists but takes other arguments: write void score(const ChannelGroup& group, std::span<double> out) const");
  static_assert(scores_const || !scores, "score() exists but is not const: a Criterion must not change while it scores");
  static_assert(prints, "a Criterion must print as it is written in code: write std::ostream& operator<<(std::ostream&, const MyCriterion&)");
  return true;
}

// out[channel] = sum over the group's parts with this role, and over their slices, of f(part, slice).
template <class F>
void sum_over(const ChannelGroup& group, ChannelRole role, std::span<double> out, F f) {
  std::fill(out.begin(), out.end(), 0.0);
  for (const auto& part : group.parts)
    if (part.role == role)
      for (std::size_t channel = 0; channel < out.size(); ++channel)
        for (const Index slice : part.slices[channel]) out[channel] += f(part, slice);
}

}  // namespace detail

/// s_j = sum over (c, y, x) of |F[j, c, y, x]|; the bias is not counted (Li et al. 2017, section 3.1).
/// For a group with several producers, the sum over them.
struct L1Norm {
  bool operator==(const L1Norm&) const = default;
  void score(const ChannelGroup& group, std::span<double> out) const {
    detail::sum_over(group, ChannelRole::producer, out, [](const ChannelPart& part, Index slice) {
      double sum = 0;
      for (const float w : part.row(*part.value, slice)) sum += std::abs(static_cast<double>(w));
      return sum;
    });
  }
  friend std::ostream& operator<<(std::ostream& to, const L1Norm&) { return to << "L1Norm{}"; }
};

/// The square root of the sum of squares of each filter, summed over the producers.
struct L2Norm {
  bool operator==(const L2Norm&) const = default;
  void score(const ChannelGroup& group, std::span<double> out) const {
    detail::sum_over(group, ChannelRole::producer, out, [](const ChannelPart& part, Index slice) {
      double sum = 0;
      for (const float w : part.row(*part.value, slice)) sum += static_cast<double>(w) * static_cast<double>(w);
      return std::sqrt(sum);
    });
  }
  friend std::ostream& operator<<(std::ostream& to, const L2Norm&) { return to << "L2Norm{}"; }
};

/// |gamma| of the batch norms that scale the channel, summed (Liu et al. 2017, network slimming).
/// Throws PolicyError for a group without a batch norm.
struct BatchNormScale {
  bool operator==(const BatchNormScale&) const = default;
  void score(const ChannelGroup& group, std::span<double> out) const {
    if (std::none_of(group.parts.begin(), group.parts.end(), [](const ChannelPart& p) { return p.role == ChannelRole::scale; }))
      throw PolicyError(str("BatchNormScale: group '", group.name, "' has no batch norm to read a scale from; skip it, or score by L1Norm"));
    detail::sum_over(group, ChannelRole::scale, out, [](const ChannelPart& part, Index slice) {
      return std::abs(static_cast<double>(part.row(*part.value, slice)[0]));
    });
  }
  friend std::ostream& operator<<(std::ostream& to, const BatchNormScale&) { return to << "BatchNormScale{}"; }
};

/// The sum of a filter's Euclidean distances to all other filters of its layer: filters near the
/// geometric median are replaceable (He et al. 2019, FPGM, eq. 6). Quadratic in the number of filters.
struct GeometricMedian {
  bool operator==(const GeometricMedian&) const = default;
  void score(const ChannelGroup& group, std::span<double> out) const {
    detail::sum_over(group, ChannelRole::producer, out, [](const ChannelPart& part, Index slice) {
      const auto own = part.row(*part.value, slice);
      double sum = 0;
      for (Index other = 0; other < part.value->shape[0]; ++other) {
        const auto theirs = part.row(*part.value, other);
        double squares = 0;
        for (std::size_t i = 0; i < own.size(); ++i) {
          const double difference = static_cast<double>(own[i]) - static_cast<double>(theirs[i]);
          squares += difference * difference;
        }
        sum += std::sqrt(squares);
      }
      return sum;
    });
  }
  friend std::ostream& operator<<(std::ostream& to, const GeometricMedian&) { return to << "GeometricMedian{}"; }
};

/// |sum of w dL/dw| over a filter, summed over the producers: the first-order change of the loss when
/// the filter goes (Molchanov et al. 2019, eq. 8 before squaring). Run a backward pass first, with no
/// optimiser step after it. Of a single weight, |w dL/dw|; or the sum of that over the steps which a
/// ScoreCollector<Taylor, B> saw. Throws PolicyError where a gradient is missing.
struct Taylor {
  static constexpr std::string_view collects = "Taylor";
  struct Gather {
    template <class T> ESPALIER_HD void operator()(Index, T& sum, const T& w, const T& g) const { sum += w * g > T{0} ? w * g : -(w * g); }
  };
  bool operator==(const Taylor&) const = default;
  void score(const ChannelGroup& group, std::span<double> out) const {
    detail::sum_over(group, ChannelRole::producer, out, [](const ChannelPart& part, Index slice) {
      if (part.gradient == nullptr)
        throw PolicyError(str("Taylor: '", part.path, "' has no gradient; run forward and backward on a batch first, and score before the optimiser's step"));
      const auto w = part.row(*part.value, slice), g = part.row(*part.gradient, slice);
      double sum = 0;
      for (std::size_t i = 0; i < w.size(); ++i) sum += static_cast<double>(w[i]) * static_cast<double>(g[i]);
      return std::abs(sum);
    });
  }
  void score(const WeightTensor& tensor, std::span<float> out) const {
    if (!tensor.collected.empty()) {
      std::copy(tensor.collected.begin(), tensor.collected.end(), out.begin());
      return;
    }
    if (tensor.gradient.empty() && !tensor.values.empty())
      throw PolicyError(str("Taylor: '", tensor.path, "' has no gradient; run forward and backward on a batch first, and score before the optimiser's step"));
    detail::score_by_effect(tensor.values, tensor.gradient, out);
  }
  friend std::ostream& operator<<(std::ostream& to, const Taylor&) { return to << "Taylor{}"; }
};

/// A draw for each channel or weight, from the seed and the group's name or the weight's path: the control that
/// any criterion must beat. Drawn anew from a seed, the order is the same: pruning again goes on where it was.
struct Random {
  std::uint64_t seed = 0;
  bool operator==(const Random&) const = default;
  void score(const ChannelGroup& group, std::span<double> out) const {
    Rng rng = Rng(seed).split(group.name);
    for (double& s : out) s = rng.uniform_double();
  }
  void score(const WeightTensor& tensor, std::span<float> out) const {
    Rng rng = Rng(seed).split(tensor.path);
    for (float& s : out) s = rng.uniform();
  }
  friend std::ostream& operator<<(std::ostream& to, const Random& r) { return to << "Random{.seed = " << r.seed << "}"; }
};

/// Another criterion turned round: what matters most goes first. The second control.
template <Criterion C>
struct Reversed {
  C criterion{};
  bool operator==(const Reversed&) const = default;
  void score(const ChannelGroup& group, std::span<double> out) const {
    criterion.score(group, out);
    for (double& s : out) s = -s;
  }
  friend std::ostream& operator<<(std::ostream& to, const Reversed& r) { return to << "Reversed{.criterion = " << r.criterion << "}"; }
};

static_assert(Criterion<L1Norm> && Criterion<L2Norm> && Criterion<BatchNormScale> && Criterion<GeometricMedian> && Criterion<Taylor> &&
              Criterion<Random> && Criterion<Reversed<L1Norm>>);
static_assert(WeightCriterion<Taylor> && WeightCriterion<Random>);

}  // namespace espalier
