// SPDX-License-Identifier: Apache-2.0
// How much a single weight matters: the criteria of unstructured pruning. Random and Taylor, which score
// channels too, are in criterion.hpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <ostream>
#include <span>
#include <string>
#include <string_view>

#include <espalier/backend/shape.hpp>
#include <espalier/config.hpp>
#include <espalier/error.hpp>

namespace espalier {

/// A weight tensor as a criterion sees it: on the host, in the outside layout, row-major. Of `gradient` and of
/// what a ScoreCollector gathered during training, a span is empty where there is none.
struct WeightTensor {
  std::string path;
  Shape shape{0};
  std::span<const float> values{}, gradient{}, collected{};
};

/// A WeightCriterion says how much each weight of a tensor matters.
///
/// Write      void score(const WeightTensor& tensor, std::span<float> out) const;
///            std::ostream& operator<<(std::ostream&, const WeightCriterion&), as it is written in code
///            static constexpr std::string_view collects = "Movement";   only if it reads `collected`: of which rule
/// Meaning    out[i] grows with the harm of removing weight i: the lowest go. Only the order is used, over all
///            tensors that are ranked together.
/// Laws       pure: equal tensors, equal scores.  finite: never NaN, but of a weight that is.
///            equivariant: permuting the weights permutes the scores (Random excepted).
/// Cost       one pass over the tensor.
/// Models     Magnitude, Random, Taylor, Snip, Movement, Given
/// Archetype  tests/archetypes/weight_criterion.hpp
template <class C>
concept WeightCriterion = std::regular<C> && requires(const C& c, const WeightTensor& tensor, std::span<float> out, std::ostream& to) {
  c.score(tensor, out);
  to << c;
};

namespace detail {

// What a WeightCriterion lacks, as a sentence. Policies ask this before any constraint does.
template <class C>
consteval bool checked_weight_criterion() {
  constexpr bool is_named = requires { &C::score; };
  constexpr bool scores_const = requires(const C& c, const WeightTensor& tensor, std::span<float> out) { c.score(tensor, out); };
  constexpr bool scores = scores_const || requires(C& c, const WeightTensor& tensor, std::span<float> out) { c.score(tensor, out); };
  constexpr bool prints = requires(const C& c, std::ostream& to) { to << c; };
  static_assert(std::default_initializable<C> && std::copyable<C>,
                "a WeightCriterion is a value: it must have a default constructor and be copyable, as a struct of numbers is");
  static_assert(std::equality_comparable<C>, "a WeightCriterion must be comparable: write bool operator==(const MyCriterion&) const = default;");
  static_assert(scores || is_named, "a WeightCriterion must score: write void score(const WeightTensor& tensor, std::span<float> out) const");
  static_assert(scores || !is_named,
                "score() exists but takes other arguments: write void score(const WeightTensor& tensor, std::span<float> out) const; a criterion of channels, such as L1Norm, belongs in Structured");
  static_assert(scores_const || !scores, "score() exists but is not const: a WeightCriterion must not change while it scores");
  static_assert(prints, "a WeightCriterion must print as it is written in code: write std::ostream& operator<<(std::ostream&, const MyCriterion&)");
  return true;
}

inline void require_collected(const WeightTensor& tensor, std::string_view rule, std::string_view how) {
  if (tensor.collected.empty() && !tensor.values.empty())
    throw PolicyError(str(rule, ": found no scores for '", tensor.path, "', needed one a weight; ", how));
}
// out[i] = |w[i] g[i]|
inline void score_by_effect(std::span<const float> w, std::span<const float> g, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = std::abs(w[i] * g[i]);
}

}  // namespace detail

/// |w|.
/// Paper  Han, Pool, Tran & Dally, "Learning both weights and connections for efficient neural networks", NIPS 2015.
struct Magnitude {
  bool operator==(const Magnitude&) const = default;
  void score(const WeightTensor& tensor, std::span<float> out) const {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = std::abs(tensor.values[i]);
  }
  friend std::ostream& operator<<(std::ostream& to, const Magnitude&) { return to << "Magnitude{}"; }
};

/// |w dL/dw| with the gradient of one or more batches summed, before any training: how much the loss feels the
/// connection. Reads what a ScoreCollector<Snip, B> gathered, or else the gradients that backward passes have
/// added up in the network. The paper divides by the sum over all weights, which changes no order.
/// Throws PolicyError where there is neither.
/// Paper  Lee, Ajanthan & Torr, "SNIP: single-shot network pruning based on connection sensitivity", ICLR 2019, eq. 6.
struct Snip {
  static constexpr std::string_view collects = "Snip";
  struct Gather {
    template <class T> ESPALIER_HD void operator()(Index, T& sum, const T&, const T& g) const { sum += g; }
  };
  bool operator==(const Snip&) const = default;
  void score(const WeightTensor& tensor, std::span<float> out) const {
    const auto gradient = tensor.collected.empty() ? tensor.gradient : tensor.collected;
    if (gradient.empty() && !tensor.values.empty())
      throw PolicyError(str("Snip: found no gradient of '", tensor.path, "', needed that of at least one batch; run forward and backward on the untrained network first, without an optimiser's step"));
    detail::score_by_effect(tensor.values, gradient, out);
  }
  friend std::ostream& operator<<(std::ostream& to, const Snip&) { return to << "Snip{}"; }
};

/// S = - sum over the steps of training of w dL/dw, with its sign: weights that move away from zero stay, whatever
/// their size. Reads what a ScoreCollector<Movement, B> gathered. Throws PolicyError where it gathered nothing.
/// Paper  Sanh, Wolf & Rush, "Movement pruning: adaptive sparsity by fine-tuning", NeurIPS 2020, eq. 6, without the learning rate.
struct Movement {
  static constexpr std::string_view collects = "Movement";
  struct Gather {
    template <class T> ESPALIER_HD void operator()(Index, T& sum, const T& w, const T& g) const { sum -= w * g; }
  };
  bool operator==(const Movement&) const = default;
  void score(const WeightTensor& tensor, std::span<float> out) const {
    detail::require_collected(tensor, "Movement", "observe the training with a ScoreCollector<Movement, B> and pass its scores");
    std::copy(tensor.collected.begin(), tensor.collected.end(), out.begin());
  }
  friend std::ostream& operator<<(std::ostream& to, const Movement&) { return to << "Movement{}"; }
};

/// Scores that you computed: Scores{.rule = "Given", .parts = ...}, passed to the policy's next().
/// Throws PolicyError for a tensor without scores.
struct Given {
  static constexpr std::string_view collects = "Given";
  bool operator==(const Given&) const = default;
  void score(const WeightTensor& tensor, std::span<float> out) const {
    detail::require_collected(tensor, "Given", "pass Scores with a part of that path, or ignore the layer");
    std::copy(tensor.collected.begin(), tensor.collected.end(), out.begin());
  }
  friend std::ostream& operator<<(std::ostream& to, const Given&) { return to << "Given{}"; }
};

static_assert(WeightCriterion<Magnitude> && WeightCriterion<Snip> && WeightCriterion<Movement> && WeightCriterion<Given>);

}  // namespace espalier
