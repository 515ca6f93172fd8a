// SPDX-License-Identifier: Apache-2.0
// What training and evaluation report: plain structs, and the evaluation itself.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include <espalier/autograd/eval.hpp>
#include <espalier/data/loader.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/train/step.hpp>

namespace espalier {

/// How a network does on a data set.
struct Evaluation {
  double accuracy = 0;  // correct / count
  double loss = 0;      // mean softmax cross-entropy
  Index count = 0;
  Index correct = 0;
  bool operator==(const Evaluation&) const = default;
};

/// One optimiser step, after it.
struct StepMetrics {
  Step step;                 // steps done, this one included
  double learning_rate = 0;  // it was done with
  double loss = 0;           // before it, mean over the batch
  double accuracy = 0;       // before it, on the batch
  Index count = 0;           // images
};

/// One epoch, after it.
struct EpochMetrics {
  Index epoch = 0;  // 1 is the first
  Index iteration = 0;
  double learning_rate = 0;  // of its last step
  double loss = 0;           // mean over the images as they were trained on, so while the weights moved
  double accuracy = 0;
  Index count = 0;
  std::optional<Evaluation> evaluation{};
  bool operator==(const EpochMetrics&) const = default;
};

/// How many rows of `logits` [labels.size(), classes] have their largest value at the label. A tie goes to
/// the lower class; a row with a NaN where it matters is wrong.
template <class T>
Index correct_rows(std::span<const T> logits, std::span<const std::int32_t> labels) {
  if (labels.empty()) return 0;
  const std::size_t classes = logits.size() / labels.size();
  Index correct = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto row = logits.subspan(i * classes, classes);
    const auto label = static_cast<std::size_t>(labels[i]);
    bool largest = label < classes && row[label] >= row[label];
    for (std::size_t j = 0; largest && j < classes; ++j) largest = j < label ? row[label] > row[j] : row[label] >= row[j];
    correct += largest ? 1 : 0;
  }
  return correct;
}

namespace detail {

/// The images of a batch on the device, [N, H, W, C].
template <Backend B>
Tensor<B> upload_images(B& b, const data::Batch& batch) {
  using T = typename B::Scalar;
  const Shape shape{batch.count, batch.shape.h, batch.shape.w, batch.shape.c};
  if constexpr (std::is_same_v<T, float>) {
    return Tensor<B>::from(b, shape, std::span<const float>(batch.pixels));
  } else {
    const std::vector<T> converted(batch.pixels.begin(), batch.pixels.end());
    return Tensor<B>::from(b, shape, std::span<const T>(converted));
  }
}

// A label past the last class would be read outside of a row.
inline void check_labels(const data::Batch& batch, const Shape& logits) {
  if (logits.rank() != 2 || logits[0] != batch.count)
    throw ShapeError(str("the network gives shape ", logits, " for ", batch.count, " images, needed [", batch.count, ", classes]; a classifier ends in one row of logits per image"));
  for (const std::int32_t label : batch.labels)
    if (label < 0 || label >= logits[1])
      throw ShapeError(str("found label ", label, ", the network has ", logits[1], " classes; use a network with as many as the data"));
}

}  // namespace detail

/// Accuracy and loss over a whole data set, in its order, with running statistics. Ties go to the lower
/// class. Nothing is recorded and the network does not change.
/// Throws PolicyError if batch < 1 or the channels of `normalise` do not fit; ShapeError if the network does not.
template <Backend B, Module M, data::Dataset D>
Evaluation evaluate(B& b, const M& net, const D& set, const data::Normalise& normalise, Index batch_size = 128) {
  using T = typename B::Scalar;
  data::Loader<D> loader(set, {.batch = batch_size, .normalise = normalise});
  PreparedWeights<B> prepared;
  Eval<B> eval(b, prepared);
  Evaluation result;
  std::vector<T> host;
  const auto download = [&](const Tensor<B>& t) {
    host.resize(static_cast<std::size_t>(t.count()));
    b.download(t.data(), std::span<T>(host));
    return std::span<const T>(host);
  };
  while (const data::Batch* batch = loader.next()) {
    const Tensor<B> logits = M::forward(net, eval, detail::upload_images(b, *batch));
    detail::check_labels(*batch, logits.shape());
    const auto labels = Ids<B>::from(b, {batch->count}, batch->labels);
    auto probabilities = Tensor<B>::empty(b, logits.shape());
    auto losses = Tensor<B>::empty(b, {batch->count});
    b.cross_entropy_forward(logits.shape()[0], logits.shape()[1], logits.data(), labels.data(), probabilities.data(), losses.data());
    result.correct += correct_rows(download(logits), std::span<const std::int32_t>(batch->labels));
    for (const T loss : download(losses)) result.loss += static_cast<double>(loss);
    result.count += batch->count;
  }
  result.loss /= static_cast<double>(result.count);
  result.accuracy = static_cast<double>(result.correct) / static_cast<double>(result.count);
  return result;
}

}  // namespace espalier
