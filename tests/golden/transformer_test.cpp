// SPDX-License-Identifier: Apache-2.0
// Ten steps of a two-layer transformer encoder against PyTorch, its scores, probabilities and hidden
// states included.
#include <doctest/doctest.h>

#include <numeric>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/backend/reference.hpp>

#include "golden/encoder.hpp"
#include "golden/trajectory.hpp"

using namespace espalier;
using namespace espalier::test;

namespace {

template <Backend B>
Sentences<B> sentences(const Trajectory& golden, B& b, Index step) {
  using T = typename B::Scalar;
  const auto mask = golden.slice(b, "input/mask", step);
  const Shape& shape = mask.shape();
  std::vector<T> bias;
  for (auto kept : mask.to_host(b)) bias.push_back(kept != 0 ? T{0} : static_cast<T>(-1e9));
  std::vector<std::int32_t> positions;
  for (Index i = 0; i < shape.count(); ++i) positions.push_back(static_cast<std::int32_t>(i % shape[1]));
  return {golden.slice(b, "input/ids", step), Ids<B>::from(b, shape, positions), golden.slice(b, "input/types", step), Tensor<B>::from(b, shape, bias)};
}

// The scores before the mask, of the first layer and sentence.
template <Backend B>
void check_attention(const Trajectory& golden, B& b, Encoder<B> net, double tolerance) {
  golden.initialise(b, net);
  auto x = sentences(golden, b, 0);
  Tape<B> tape(b);
  const auto masked = Encoder<B>::forward(net, tape, x);
  const auto first = [&](const Tensor<B>& t) {
    const auto all = t.to_host(b);
    return std::vector<double>(all.begin(), all.begin() + static_cast<long>(t.count() / t.shape()[0]));
  };
  CHECK(distance(golden.doubles("probs64"), first(masked.layers[0].probabilities.value()), true) <= tolerance);
  std::vector<double> hidden;
  std::vector<double> norms;
  for (const auto* state : {&masked.embedded, &masked.layers[0].hidden, &masked.layers[1].hidden}) {
    const auto one = first(state->value());
    hidden.insert(hidden.end(), one.begin(), one.end());
    const auto all = state->value().to_host(b);
    const std::size_t each = all.size() / 6;
    for (std::size_t n = 0; n < 6; ++n)
      norms.push_back(std::sqrt(std::accumulate(all.begin() + static_cast<long>(n * each), all.begin() + static_cast<long>((n + 1) * each), 0.0,
                                                [](double sum, auto v) { return sum + static_cast<double>(v) * static_cast<double>(v); })));
  }
  CHECK(distance(golden.doubles("hidden64"), hidden, true) <= tolerance);
  CHECK(distance(golden.doubles("hidden_norms64"), norms, true) <= tolerance);
  x.key_bias = Tensor<B>::zeros(b, x.key_bias.shape());
  const auto bare = Encoder<B>::forward(net, tape, x);
  CHECK(distance(golden.doubles("scores64"), first(bare.layers[0].scores.value()), true) <= tolerance);
}

template <Backend B>
void run(B& b, const Closeness& close, double attention_tolerance) {
  const auto folder = golden_folder();
  if (!folder) return;
  const Trajectory golden(*folder, "transformer2");
  Encoder<B> net(b, {}, Rng(0));
  check_attention(golden, b, net, attention_tolerance);
  std::optional<Sentences<B>> x;  // outlives the backward pass
  repeat<Adam>(golden, b, std::move(net), close,
         [&](auto& ctx, auto& model, Index step) {
           x = sentences(golden, b, step);
           return std::decay_t<decltype(model)>::forward(model, ctx, *x).logits;
         },
         // A shift of all scores of a row changes nothing: this gradient is rounding noise, and Adam divides it by itself.
         [](const std::string& path) { return path.find("self.key.bias") != std::string::npos; });
}

}  // namespace

TEST_CASE("ten steps of a transformer encoder on EigenCpu follow PyTorch") {
  EigenCpu b({.threads = 2});
  run(b, in_float, 1e-5);
}

TEST_CASE("ten steps of a transformer encoder in double are PyTorch's to 1e-9") {
  BasicReference<double> b;
  run(b, in_double, 1e-12);
}

TEST_CASE("a dry run of the encoder gives its shapes, its cost and why its channels stay") {
  Reference b;
  const Encoder<Reference> net(b, {}, Rng(0));
  const auto ids = Ids<Reference>::from(b, {2, 12}, std::vector<std::int32_t>(24, 0));
  const Sentences<Reference> x{ids, ids, ids, Tensor<Reference>::zeros(b, {2, 12})};
  Trace<Reference> trace;
  const auto out = Encoder<Reference>::forward(net, trace, x);
  CHECK(out.logits.shape() == Shape{2, 2});
  CHECK(out.layers[1].scores.shape() == Shape{2, 4, 12, 12});
  Index macs = 0;
  for (const auto& op : trace.ops()) macs += op.cost.multiply_adds;
  const Index per_layer = 24 * (4 * 32 * 32 + 2 * 32 * 64) + 2 * 2 * 12 * 12 * 32;
  CHECK(macs == 2 * per_layer + 2 * (32 * 32 + 32 * 2));
  CHECK(trace.graph().frozen().size() > 0);
  std::string reason;
  for (const auto& f : trace.graph().frozen())
    if (trace.graph().find(f.channel) == trace.graph().find(out.layers[0].hidden.channels()[0])) reason = f.reason;
  CHECK(reason != "");
}
