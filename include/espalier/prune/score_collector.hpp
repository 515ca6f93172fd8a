// SPDX-License-Identifier: Apache-2.0
// Scores that grow during training: an observer which adds up what a rule makes of each weight and its gradient.
#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <espalier/nn/module.hpp>
#include <espalier/prune/criterion.hpp>
#include <espalier/prune/scores.hpp>

namespace espalier {

/// A GatherRule says what one step adds to the score of a weight.
///
/// Write      static constexpr std::string_view collects = "MyRule";
///            struct Gather { template <class T> ESPALIER_HD void operator()(Index, T& sum, const T& w, const T& g) const; };
/// Meaning    `sum` starts at 0 and is what the criterion finds in `collected`; w is the weight before the step's
///            update, g its gradient.
/// Models     Movement, Taylor, Snip: each is also the criterion that reads the sums.
template <class R>
concept GatherRule = std::default_initializable<typename R::Gather> && requires(const typename R::Gather& gather, Index i, float& sum, const float& w) {
  { R::collects } -> std::convertible_to<std::string_view>;
  gather(i, sum, w, w);
};

/// Gathers scores over the steps of a training: pass it to Trainer::run as the observer, or call gradients() between
/// a backward pass and the update. Weights with at least two axes count, as in Mask::ones. One pass over the weights
/// a step, on the device. A checkpoint carries what was gathered, so a run that is killed and resumed decides the same; elsewhere
/// scores() and restore() do, and save_scores() of io/scores.hpp.
template <class Rule, Backend B>
class ScoreCollector {
  static_assert(GatherRule<Rule>, "ScoreCollector<Rule, B>: the rule must have a name, static constexpr std::string_view collects, and a Gather whose call operator adds one step to a sum (see prune/score_collector.hpp)");

 public:
  /// Throws PolicyError if no weight has a gradient, StaleState if the network changed its shape since the first call.
  template <Module M>
  void gradients(B& b, const M& net) {
    if (sums_.empty()) start(b, net);
    std::size_t at = 0;
    bool found = false;
    for_each_unnamed_parameter(net, [&](const Parameter<B>& p) {
      if (p.value.shape().rank() < 2) return;
      if (at == sums_.size() || sums_[at].total.shape() != p.value.shape())
        throw StaleState(str("ScoreCollector: found a network of another shape than ", steps_, " steps before, needed the same; start a new collector after shrinking"));
      Sum& sum = sums_[at++];
      if (!p.has_gradient) return;
      found = true;
      b.each(p.value.count(), typename Rule::Gather{}, sum.total.data(), p.value.data(), p.gradient.data());
    });
    if (!found)
      throw PolicyError(str("ScoreCollector<", Rule::collects, ">: found no gradient in the network, needed one; call gradients() after a backward pass and before the update"));
    ++steps_;
  }

  /// What was gathered so far.
  Scores scores(B& b) const {
    Scores scores{.rule = std::string(Rule::collects), .steps = steps_};
    for (const Sum& sum : sums_) scores.parts.push_back({sum.path, to_host(b, sum.total, sum.layout)});
    return scores;
  }
  Index steps() const { return steps_; }

  /// Goes on from what scores() gave, bit for bit; what was gathered here is forgotten.
  /// Throws StaleState, and changes nothing, if it was gathered by another rule or over another network.
  template <Module M>
  void restore(B& b, const M& net, const Scores& scores) {
    if (scores.rule != Rule::collects)
      throw StaleState(str("ScoreCollector<", Rule::collects, ">: found scores of the rule '", scores.rule, "', needed its own; restore what a collector of this rule gave"));
    std::vector<Sum> sums;
    std::size_t next = 0;
    for_each_parameter(net, [&](const std::string& path, const Parameter<B>& p) {
      if (scores.parts.empty() || p.value.shape().rank() < 2) return;
      const auto* part = next < scores.parts.size() ? &scores.parts[next++] : nullptr;
      if (part == nullptr || part->first != path || part->second.shape != p.outside_shape())
        throw StaleState(str("ScoreCollector<", Rule::collects, ">: found ", part ? str("scores of '", part->first, "' in shape ", part->second.shape) : std::string("no more scores"),
                             ", needed those of '", path, "' in shape ", p.outside_shape(), "; restore what was gathered over this network"));
      sums.push_back(Sum{path, p.layout, from_host(b, part->second, p.layout)});
    });
    if (next != scores.parts.size())
      throw StaleState(str("ScoreCollector<", Rule::collects, ">: found scores of '", scores.parts[next].first, "', needed none of it; restore what was gathered over this network"));
    sums_ = std::move(sums);
    steps_ = scores.steps;
  }

 private:
  struct Sum {
    std::string path;
    Layout layout;
    Tensor<B> total;
  };
  template <class M>
  void start(B& b, const M& net) {
    for_each_parameter(net, [&](const std::string& path, const Parameter<B>& p) {
      if (p.value.shape().rank() >= 2) sums_.push_back(Sum{path, p.layout, Tensor<B>::zeros(b, p.value.shape())});
    });
  }
  std::vector<Sum> sums_;
  Index steps_ = 0;
};

static_assert(GatherRule<Movement> && GatherRule<Taylor> && GatherRule<Snip>);

}  // namespace espalier
