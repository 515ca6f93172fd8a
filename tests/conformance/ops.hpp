// SPDX-License-Identifier: Apache-2.0
// Runs every op forward and backward on any backend, through the tape, and keeps results and gradients:
// for backends that must agree with each other, and for the archetype, which must merely run them.
#pragma once

#include <doctest/doctest.h>

#include <espalier/autograd/tape.hpp>
#include <espalier/op/add.hpp>
#include <espalier/op/attention.hpp>
#include <espalier/op/batch_norm.hpp>
#include <espalier/op/conv2d.hpp>
#include <espalier/op/dropout.hpp>
#include <espalier/op/flatten.hpp>
#include <espalier/op/gelu.hpp>
#include <espalier/op/layer_norm.hpp>
#include <espalier/op/linear.hpp>
#include <espalier/op/loss.hpp>
#include <espalier/op/pool.hpp>
#include <espalier/op/relu.hpp>

#include "conformance/script.hpp"

namespace espalier::test {

/// Applies ops to random operands; the loss is the squared distance to a random target.
template <Backend B>
class OpRunner {
 public:
  explicit OpRunner(B& backend) : b(backend), tape_(backend) {}

  B& b;

  Tensor<B> values(const Shape& shape) {
    using T = typename B::Scalar;
    std::vector<T> all(static_cast<std::size_t>(shape.count()));
    for (T& v : all) v = static_cast<T>(2 * rng_.uniform() - 1);
    return Tensor<B>::from(b, shape, all);
  }

  template <class Op>
  void operator()(const Op& op, const std::vector<Shape>& shapes) {
    std::vector<Var<B>> operands;
    for (const Shape& shape : shapes) operands.push_back(tape_.variable(values(shape)));
    const std::size_t waits = waits_so_far();
    const auto y = tape_.keep(tape_.apply(op, operands));
    const auto target = tape_.input(values(y.shape()));
    tape_.backward(tape_.apply(op::MeanSquaredError{}, y, target));
    CHECK_MESSAGE(waits_so_far() == waits, Op::name, " waits for the device");
    keep(str(Op::name, " result"), y.value());
    for (std::size_t i = 0; i < operands.size(); ++i) keep(str(Op::name, " gradient ", i), operands[i].gradient());
    tape_.clear();
  }
  void keep(const std::string& name, const Tensor<B>& t) {
    const auto host = t.to_host(b);
    records_.push_back({name, Kind::normalised, std::vector<double>(host.begin(), host.end())});
  }
  std::vector<Record> take() { return std::move(records_); }

 private:
  // Of the host for the device, where the backend counts them.
  std::size_t waits_so_far() const {
    if constexpr (requires { b.waits(); }) return b.waits();
    else return 0;
  }

  Rng rng_{5};
  Tape<B> tape_;
  std::vector<Record> records_;
};

/// Every op of include/espalier/op.
struct op_records {
  template <Backend B>
  std::vector<Record> operator()(B& b) const {
    OpRunner<B> run(b);
    for (Activation a : {Activation::none, Activation::relu}) {
      run(op::Conv2d{.pad_h = 1, .pad_w = 1, .activation = a}, {{2, 5, 6, 3}, {3, 3, 3, 8}, {8}});
      run(op::Conv2d{.stride_h = 2, .stride_w = 2, .pad_h = 1, .pad_w = 1, .groups = 2, .activation = a}, {{2, 5, 6, 4}, {3, 3, 2, 6}});
      run(op::Conv2d{.pad_h = 1, .pad_w = 1, .depthwise = true, .activation = a}, {{2, 5, 6, 5}, {3, 3, 1, 5}, {5}});
      run(op::Linear{a}, {{7, 5}, {5, 9}, {9}});
      run(op::Linear{a}, {{2, 3, 5}, {5, 4}});
      run(op::Add{a}, {{2, 3, 4}, {2, 3, 4}});
      Buffer<B> mean{run.values({6})}, var{Tensor<B>::full(b, {6}, typename B::Scalar{1})};
      run(op::BatchNorm<B>{.statistics = Statistics::batch, .activation = a, .running_mean = &mean, .running_var = &var, .update_mean = &mean, .update_var = &var},
          {{2, 3, 4, 6}, {6}, {6}, {2, 3, 4, 6}});
      run.keep("running mean", mean.value);
      run.keep("running variance", var.value);
      run(op::BatchNorm<B>{.activation = a, .running_mean = &mean, .running_var = &var}, {{9, 6}, {6}, {6}});
    }
    run(op::Relu{}, {{3, 7}});
    run(op::Gelu{}, {{3, 7}});
    run(op::GeluTanh{}, {{3, 7}});
    run(op::Tanh{}, {{3, 7}});
    run(op::Dropout{.probability = 0.3, .key = 11}, {{5, 40}});
    run(op::LayerNorm{}, {{2, 3, 8}, {8}, {8}});
    run(op::MaxPool{}, {{2, 4, 6, 3}});
    run(op::AvgPool{{.kernel = 3, .stride = 2, .pad = 1}}, {{2, 5, 6, 3}});
    run(op::GlobalAvgPool{}, {{2, 5, 6, 3}});
    run(op::Flatten{}, {{2, 3, 4, 5}});
    run(op::Concat{}, {{2, 3, 2}, {2, 3, 4}, {2, 3, 1}});
    const Extent one{1}, two{2};
    run(op::PadChannels{.stride = 2, .before = &one, .after = &two}, {{2, 5, 4, 3}});
    run(op::SelectRow{.position = 1}, {{2, 3, 4}});
    run(op::WeightedSum{.weight_a = 0.5, .weight_b = 2}, {{1}, {1}});
    const auto ids = Ids<B>::from(b, {2, 3}, std::vector<std::int32_t>{4, 0, 4, 1, 2, 0});
    run(op::Embedding<B>{&ids}, {{5, 4}});
    const auto key_bias = Tensor<B>::from(b, {2, 3}, std::vector<typename B::Scalar>{0, 0, -4, 0, 0, 0});
    run(op::AttentionScores<B>{.heads = 2, .key_bias = &key_bias}, {{2, 3, 8}, {2, 3, 8}});
    run(op::Softmax{}, {{2, 2, 3, 3}});
    run(op::AttentionApply{.heads = 2}, {{2, 2, 3, 3}, {2, 3, 8}});
    run(op::MeanSquaredError{}, {{4, 3}, {4, 3}});
    const auto labels = Ids<B>::from(b, {4}, std::vector<std::int32_t>{1, 0, 4, 4});
    run(op::CrossEntropy<B>{&labels}, {{4, 5}});
    return run.take();
  }
};

}  // namespace espalier::test
