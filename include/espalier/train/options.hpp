// SPDX-License-Identifier: Apache-2.0
// What a training run is told: one aggregate of policies, printable as written, so that a report can be
// repeated by pasting it.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string>

#include <espalier/data/augment.hpp>
#include <espalier/op/loss.hpp>
#include <espalier/train/optimizer.hpp>
#include <espalier/train/schedule.hpp>
#include <espalier/train/sgd.hpp>

namespace espalier {

/// The loss of classification, and the form of any other: a scalar out of what the network gave, its
/// input and the labels (which outlive the backward pass).
/// Write  template <class Context, class Output, Backend B>
///        auto operator()(Context& ctx, const Output& output, const typename Context::Value& x, const Ids<B>& labels) const
struct SoftmaxCrossEntropy {
  bool operator==(const SoftmaxCrossEntropy&) const = default;

  template <class Context, class Output, Backend B>
  auto operator()(Context& ctx, const Output& logits, const typename Context::Value&, const Ids<B>& labels) const {
    return ctx.apply(op::CrossEntropy<B>{&labels}, logits);
  }
};
inline void append(std::string& out, const SoftmaxCrossEntropy&) { out += "SoftmaxCrossEntropy{}"; }
inline std::ostream& operator<<(std::ostream& out, const SoftmaxCrossEntropy& l) { return out << str(l); }

/// How to train on images with classes. The same options, data and seed give the same weights, bit for bit.
template <Optimizer O = Sgd, Schedule S = Constant, class L = SoftmaxCrossEntropy>
struct TrainOptions {
  Index epochs = 1;  // in all, those done before a resume included
  Index batch = 128;
  O optimizer{};
  std::optional<double> clip_norm{};  // of all gradients together
  S schedule{};                       // the learning rate
  L loss{};
  data::Normalise normalise{};  // one mean and deviation a channel
  data::Augment augment{};
  std::uint64_t seed = 0;  // of order, augmentation and dropout
  bool drop_last = false;  // leave out a batch that the data set cannot fill
  Index prefetch = 2;      // batches made ahead on another thread; changes no number
  bool operator==(const TrainOptions&) const = default;

  /// Throws PolicyError naming field, value and range. What depends on the data is checked by the loader.
  void validate() const {
    detail::require_field(epochs >= 0, "TrainOptions", "epochs", static_cast<double>(epochs), "at least 0");
    detail::require_field(batch >= 1, "TrainOptions", "batch", static_cast<double>(batch), "at least 1");
    if (clip_norm) detail::require_field(*clip_norm > 0, "TrainOptions", "clip_norm", *clip_norm, "more than 0");
    detail::check_policy(optimizer);
    detail::check_policy(schedule);
    detail::check_policy(loss);
  }
};

namespace detail {

template <class P>
std::string printed(const P& policy) {
  std::string out;
  if constexpr (requires { append(out, policy); }) append(out, policy);
  else out = "(a policy that does not print)";
  return out;
}
inline std::string printed(const std::vector<float>& values) {
  std::string out = "{";
  for (std::size_t i = 0; i < values.size(); ++i) out += str(i > 0 ? ", " : "", values[i]);
  return out + "}";
}

/// The options that change numbers, without how long to train: what a resumed run must have in common.
template <class O, class S, class L>
std::string configuration(const TrainOptions<O, S, L>& o) {
  return str(".batch = ", o.batch, ", .optimizer = ", printed(o.optimizer), o.clip_norm ? str(", .clip_norm = ", *o.clip_norm) : std::string(),
             ", .schedule = ", printed(o.schedule), ", .loss = ", printed(o.loss), ", .normalise = {.mean = ", printed(o.normalise.mean),
             ", .std = ", printed(o.normalise.std), "}, .augment = {.pad = ", o.augment.pad, ", .flip = ", o.augment.flip, "}, .seed = ", o.seed,
             ", .drop_last = ", o.drop_last);
}

}  // namespace detail

template <Optimizer O, Schedule S, class L>
void append(std::string& out, const TrainOptions<O, S, L>& o) {
  out += str("TrainOptions{.epochs = ", o.epochs, ", ", detail::configuration(o), ", .prefetch = ", o.prefetch, "}");
}
template <Optimizer O, Schedule S, class L>
std::ostream& operator<<(std::ostream& out, const TrainOptions<O, S, L>& o) { return out << str(o); }

}  // namespace espalier
