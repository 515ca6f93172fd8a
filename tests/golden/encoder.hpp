// SPDX-License-Identifier: Apache-2.0
// A BERT encoder with a classification head, in the style of the library's layers and with the names of
// Hugging Face's files: to show that tape, contract and naming carry BERT before it is built.
#pragma once

#include <vector>

#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/op/add.hpp>
#include <espalier/op/attention.hpp>
#include <espalier/op/flatten.hpp>
#include <espalier/op/gelu.hpp>

namespace espalier::test {

struct EncoderConfig {
  Index vocabulary = 97, positions = 12, types = 2;
  Index width = 32, heads = 4, feed_forward = 64, layers = 2, classes = 2;
  double eps = 1e-12;
};

/// What a batch of sentences is: token, position and type ids, and what is added to the scores of each key.
template <Backend B>
struct Sentences {
  Ids<B> ids, positions, types;  // [N, T]
  Tensor<B> key_bias;            // [N, T]: 0 for a token, very negative for padding
};

/// One layer's result with what layer-wise distillation compares.
template <class Value>
struct LayerOutput {
  Value hidden;  // [N, T, D]
  Value scores;  // [N, A, T, T], before the softmax
  Value probabilities;
};

template <Backend B>
struct EmbeddingTable {
  Parameter<B> weight;  // [V, D], the same outside
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) { visit("weight", self.weight); }
};

/// LayerNorm(words + positions + types).
template <Backend B>
struct Embeddings {
  EmbeddingTable<B> word_embeddings, position_embeddings, token_type_embeddings;
  LayerNorm<B> norm;

  Embeddings(B& b, const EncoderConfig& c, Rng& rng) : norm(b, c.width, c.eps) {
    const auto table = [&](Index rows) { return EmbeddingTable<B>{initial_parameter(b, {rows, c.width}, Layout::plain, Init::normal_2e_2, rng)}; };
    word_embeddings = table(c.vocabulary);
    position_embeddings = table(c.positions);
    token_type_embeddings = table(c.types);
  }
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("word_embeddings", self.word_embeddings);
    visit("position_embeddings", self.position_embeddings);
    visit("token_type_embeddings", self.token_type_embeddings);
    visit("LayerNorm", self.norm);
  }
  template <class Self, class Context>
  static typename Context::Value forward(Self& self, Context& ctx, const Sentences<B>& x) {
    const auto words = ctx.apply(op::Embedding<B>{&x.ids}, self.word_embeddings.weight);
    const auto types = ctx.apply(op::Embedding<B>{&x.types}, self.token_type_embeddings.weight);
    const auto positions = ctx.apply(op::Embedding<B>{&x.positions}, self.position_embeddings.weight);
    return espalier::forward(ctx, self.norm, ctx.apply(op::Add{}, ctx.apply(op::Add{}, words, types), positions));
  }
};

/// Post-norm (Vaswani et al. 2017): h = norm(x + attention(x)), y = norm(h + feed_forward(h)).
template <Backend B>
struct EncoderLayer {
  Linear<B> query, key, value, attention_dense, intermediate, output_dense;
  LayerNorm<B> attention_norm, output_norm;
  Index heads;

  EncoderLayer(B& b, const EncoderConfig& c, Rng& rng)
      : query(linear(b, c.width, c.width, rng)), key(linear(b, c.width, c.width, rng)), value(linear(b, c.width, c.width, rng)),
        attention_dense(linear(b, c.width, c.width, rng)), intermediate(linear(b, c.width, c.feed_forward, rng)),
        output_dense(linear(b, c.feed_forward, c.width, rng)), attention_norm(b, c.width, c.eps), output_norm(b, c.width, c.eps), heads(c.heads) {}

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("attention.self.query", self.query);
    visit("attention.self.key", self.key);
    visit("attention.self.value", self.value);
    visit("attention.output.dense", self.attention_dense);
    visit("attention.output.LayerNorm", self.attention_norm);
    visit("intermediate.dense", self.intermediate);
    visit("output.dense", self.output_dense);
    visit("output.LayerNorm", self.output_norm);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x, const Tensor<B>& key_bias) {
    const auto q = espalier::forward(ctx, self.query, x), k = espalier::forward(ctx, self.key, x), v = espalier::forward(ctx, self.value, x);
    auto scores = ctx.apply(op::AttentionScores<B>{.heads = self.heads, .key_bias = &key_bias}, q, k);
    auto probabilities = ctx.apply(op::Softmax{}, scores);
    const auto attended = espalier::forward(ctx, self.attention_dense, ctx.apply(op::AttentionApply{.heads = self.heads}, probabilities, v));
    const auto h = espalier::forward(ctx, self.attention_norm, ctx.apply(op::Add{}, x, attended));
    const auto fed = espalier::forward(ctx, self.output_dense, ctx.apply(op::Gelu{}, espalier::forward(ctx, self.intermediate, h)));
    return LayerOutput<typename Context::Value>{espalier::forward(ctx, self.output_norm, ctx.apply(op::Add{}, h, fed)), std::move(scores), std::move(probabilities)};
  }

 private:
  static Linear<B> linear(B& b, Index in, Index out, Rng& rng) { return Linear<B>(b, in, out, {.bias = Bias::zeros, .init = Init::normal_2e_2}, rng); }
};

/// Everything the encoder has to say; taps are return values.
template <class Value>
struct EncoderOutput {
  Value embedded;
  std::vector<LayerOutput<Value>> layers;
  Value logits;
};

/// Embeddings, layers, tanh pooler over the first token, classifier.
template <Backend B>
struct Encoder {
  Embeddings<B> embeddings;
  std::vector<EncoderLayer<B>> layers;
  Linear<B> pooler, classifier;

  Encoder(B& b, const EncoderConfig& c, Rng rng)
      : embeddings(b, c, rng), pooler(b, c.width, c.width, {.init = Init::normal_2e_2}, rng), classifier(b, c.width, c.classes, {.init = Init::normal_2e_2}, rng) {
    for (Index i = 0; i < c.layers; ++i) layers.push_back(EncoderLayer<B>(b, c, rng));
  }
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("bert.embeddings", self.embeddings);
    visit("bert.encoder.layer", self.layers);
    visit("bert.pooler.dense", self.pooler);
    visit("classifier", self.classifier);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const Sentences<B>& x) {
    EncoderOutput<typename Context::Value> out;
    out.embedded = Embeddings<B>::forward(self.embeddings, ctx, x);
    for (auto& layer : self.layers) {
      const auto& below = out.layers.empty() ? out.embedded : out.layers.back().hidden;
      out.layers.push_back(EncoderLayer<B>::forward(layer, ctx, below, x.key_bias));
    }
    const auto first = ctx.apply(op::SelectRow{}, out.layers.back().hidden);
    out.logits = espalier::forward(ctx, self.classifier, ctx.apply(op::Tanh{}, espalier::forward(ctx, self.pooler, first)));
    return out;
  }
};

}  // namespace espalier::test
