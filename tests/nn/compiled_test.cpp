// SPDX-License-Identifier: Apache-2.0
// A compiled model computes what the model computes, whichever kernels were chosen; choices follow the
// clock, which is scripted here, and say why.
#include <doctest/doctest.h>

#include <cmath>
#include <sstream>
#include <vector>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/models/vgg.hpp>
#include <espalier/nn/compiled.hpp>

#include "archetypes/opaque_backend.hpp"
#include "golden/encoder.hpp"

using namespace espalier;

namespace {

// A clock by which the calls of a layer take these seconds in turn: dense, packed, sparse.
struct Script {
  static inline std::vector<double> seconds;
  static inline std::size_t reads = 0;
  static inline double now = 0;
  static double clock() {
    if (reads++ % 2 == 1) now += seconds[(reads / 2 - 1) % seconds.size()];
    return now;
  }
  static SecondsClock of(std::vector<double> script) {
    seconds = std::move(script);
    reads = 0;
    now = 0;
    return clock;
  }
};
// Whatever is offered last is the fastest by far; first, the slowest.
SecondsClock sparse_wins() { return Script::of({3, 2, 1}); }
SecondsClock packed_wins() { return Script::of({3, 1, 2}); }

/// Zeroes about this share of every weight matrix.
template <Backend B, class M>
M thinned(B& b, M model, double zeros) {
  Rng rng(5);
  for_each_parameter(model, [&](const std::string&, Parameter<B>& p) {
    if (p.layout != Layout::linear) return;
    auto values = p.value.to_host(b);
    for (auto& v : values)
      if (rng.uniform() < zeros) v = 0;
    p.value = Tensor<B>::from(b, p.value.shape(), values);
  });
  return model;
}

Tensor<EigenCpu> noise(EigenCpu& b, const Shape& shape) {
  Rng rng(6);
  std::vector<float> values(static_cast<std::size_t>(shape.count()));
  for (float& v : values) v = rng.normal();
  return Tensor<EigenCpu>::from(b, shape, values);
}

double distance(EigenCpu& b, const Tensor<EigenCpu>& expected, const Tensor<EigenCpu>& found) {
  CHECK(expected.shape() == found.shape());
  const auto a = expected.to_host(b), c = found.to_host(b);
  double scale = 1e-30, worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    scale = std::max(scale, static_cast<double>(std::abs(a[i])));
    worst = std::max(worst, static_cast<double>(std::abs(a[i] - c[i])));
  }
  return worst / scale;
}

/// One network, applied twice.
struct Twice {
  models::Mlp<EigenCpu> inner;

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) { visit("inner", self.inner); }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    return espalier::forward(ctx, self.inner, espalier::forward(ctx, self.inner, x));
  }
};

}  // namespace

TEST_CASE("a compiled perceptron computes what the perceptron computes, whatever was chosen") {
  EigenCpu b({.threads = 2});
  const auto net = thinned(b, models::Mlp<EigenCpu>(b, models::lenet_300_100, Rng(1)), 0.9);
  for (const Index rows : {1, 3, 60, 130}) {
    const auto x = noise(b, {rows, 784});
    const auto expected = predict(b, net, x);
    auto sparse = compile(b, net, x.shape(), {}, sparse_wins());
    auto packed = compile(b, net, x.shape(), {}, packed_wins());
    auto dense = compile(b, net, x, {}, Script::of({1, 2, 3}));
    for (std::size_t i = 0; i < 3; ++i) {
      CHECK(sparse.choices()[i].kernel == LinearKernel::sparse);
      CHECK(packed.choices()[i].kernel == LinearKernel::packed);
      CHECK(dense.choices()[i].kernel == LinearKernel::dense);
    }
    CHECK(distance(b, expected, sparse(x)) < 1e-5);
    CHECK(distance(b, expected, packed(x)) < 1e-5);
    CHECK(dense(x).to_host(b) == expected.to_host(b));
    const auto more = noise(b, {77, 784});  // not the batch that was measured
    CHECK(distance(b, predict(b, net, more), sparse(more)) < 1e-5);
  }
}

TEST_CASE("every number of threads gives a compiled model's bits") {
  std::vector<float> first;
  for (const int threads : {1, 2, 3, 4, 7}) {
    EigenCpu b({.threads = threads});
    const auto net = thinned(b, models::Mlp<EigenCpu>(b, models::lenet_300_100, Rng(1)), 0.95);
    auto fast = compile(b, net, Shape{70, 784}, {}, sparse_wins());
    const auto y = fast(noise(b, {70, 784})).to_host(b);
    if (first.empty()) first = y;
    CHECK(y == first);
  }
}

TEST_CASE("a choice says its reason") {
  EigenCpu b({.threads = 1});
  auto net = models::Mlp<EigenCpu>(b, {10, 10, 10}, Rng(1));
  auto values = net.layers[0].weight.value.to_host(b);
  for (std::size_t i = 0; i < 91; ++i) values[i] = 0;
  net.layers[0].weight.value = Tensor<EigenCpu>::from(b, {10, 10}, values);
  // Twelve calls of each kernel, the first of them for warmth, then the second layer's, which has no zeros to skip.
  std::vector<double> script;
  for (int turn = 0; turn < 12; ++turn) script.insert(script.end(), {turn == 0 ? 9.0 : 812e-6 + turn % 3, 700e-6 + turn % 4, turn == 0 ? 0.0 : 301e-6 + turn % 5});
  for (int turn = 0; turn < 12; ++turn) script.insert(script.end(), {8.04e-6, 7.9e-6});
  const auto fast = compile(b, net, Shape{4, 10}, {}, Script::of(script));
  REQUIRE(fast.choices().size() == 2);
  std::ostringstream text;
  for (const LinearChoice& choice : fast.choices()) text << choice << '\n';
  CHECK(text.str() == "fc1: 91.0 % zeros, dense 812 us, packed 700 us, sparse 301 us: sparse\n"
                      "fc2: 0.0 % zeros, dense 8 us, packed 7.9 us, sparse not tried below 20 % zeros: dense, the others within the margin\n");
  const LinearChoice& choice = fast.choices()[0];
  CHECK(choice.rows == 4);
  CHECK(choice.inputs == 10);
  CHECK(choice.outputs == 10);
}

TEST_CASE("dense stays unless another kernel wins by the margin") {
  LinearChoice c{.layer = "fc", .dense = 100, .sparse = 96};
  CHECK(c.fastest(0.05) == LinearKernel::dense);
  CHECK(c.fastest(0.03) == LinearKernel::sparse);
  c.sparse = 100;
  CHECK(c.fastest(0) == LinearKernel::dense);
  c.packed = 90, c.sparse = 88;
  CHECK(c.fastest(0.05) == LinearKernel::packed);
  c.packed = 98, c.sparse = 94;  // better than dense by the margin, than packed not
  CHECK(c.fastest(0.05) == LinearKernel::dense);
  c.sparse = 93;
  CHECK(c.fastest(0.05) == LinearKernel::sparse);
}

TEST_CASE("a share that is not quite all of the weights is not rounded up to it") {
  LinearChoice c{.layer = "fc", .sparsity = 0.9999, .dense = 0.0123, .sparse = 1e-7, .kernel = LinearKernel::sparse};
  CHECK(c.reason() == "fc: 99.9 % zeros, dense 12.3 ms, sparse 0.1 us: sparse");
}

TEST_CASE("where sparse was not tried the reason says for want of what; where it was, or the device has none, it does not") {
  EigenCpu b({.threads = 1});
  const auto net = thinned(b, models::Mlp<EigenCpu>(b, {40, 50}, Rng(1)), 0.5);
  const auto reason = [&](auto& device, const auto& model, double least) { return compile(device, model, Shape{4, 40}, {.least_sparsity = least, .runs = 1}).choices()[0].reason(); };
  CHECK(reason(b, net, 0.875).find(", sparse not tried below 87.5 % zeros: ") != std::string::npos);
  CHECK(reason(b, net, 0.2).find("not tried") == std::string::npos);
  Reference plain;
  const models::Mlp<Reference> same(plain, {40, 50}, Rng(1));
  CHECK(reason(plain, same, 0.875).find("sparse") == std::string::npos);
}

TEST_CASE("a model without zeros never gets a sparse kernel") {
  EigenCpu b({.threads = 2});
  const auto net = models::Mlp<EigenCpu>(b, models::lenet_300_100, Rng(1));
  auto fast = compile(b, net, Shape{60, 784}, {.runs = 2});
  for (const LinearChoice& choice : fast.choices()) {
    CHECK(!choice.sparse);
    CHECK(choice.sparse_needs == 0.2);
    CHECK(choice.kernel != LinearKernel::sparse);
    CHECK(choice.dense > 0);
  }
  const auto x = noise(b, {60, 784});
  CHECK(distance(b, predict(b, net, x), fast(x)) < 1e-5);
}

TEST_CASE("a compiled model is a snapshot") {
  EigenCpu b({.threads = 1});
  auto net = thinned(b, models::Mlp<EigenCpu>(b, {30, 20, 5}, Rng(1)), 0.8);
  auto fast = compile(b, net, Shape{6, 30}, {}, sparse_wins());
  const auto x = noise(b, {6, 30});
  const auto before = fast(x).to_host(b);
  net = thinned(b, net, 1.0);
  CHECK(fast(x).to_host(b) == before);
  CHECK(compile(b, net, Shape{6, 30}, {}, sparse_wins())(x).to_host(b) != before);
}

TEST_CASE("a transformer encoder is compiled as it is, with the names of its layers") {
  using namespace espalier::test;
  EigenCpu b({.threads = 2});
  const auto net = thinned(b, Encoder<EigenCpu>(b, {}, Rng(3)), 0.7);
  std::vector<std::int32_t> ids, positions, types;
  for (int i = 0; i < 36; ++i) ids.push_back(i * 7 % 97), positions.push_back(i % 12), types.push_back(i % 12 > 5);
  std::vector<float> key_bias(36, 0.0f);
  key_bias[11] = key_bias[35] = -1e9f;
  const Shape shape{3, 12};
  const Sentences<EigenCpu> x{Ids<EigenCpu>::from(b, shape, ids), Ids<EigenCpu>::from(b, shape, positions), Ids<EigenCpu>::from(b, shape, types),
                              Tensor<EigenCpu>::from(b, shape, key_bias)};
  auto fast = compile(b, net, x, {}, sparse_wins());
  REQUIRE(fast.choices().size() == 14);
  CHECK(fast.choices()[0].layer == "bert.encoder.layer.0.attention.self.query");
  CHECK(fast.choices()[0].rows == 36);
  CHECK(fast.choices()[13].layer == "classifier");
  CHECK(fast.choices()[13].rows == 3);
  const auto found = fast(x);
  Eval<EigenCpu> eval(b);
  const auto expected = Encoder<EigenCpu>::forward(net, eval, x);
  CHECK(distance(b, expected.logits, found.logits) < 1e-5);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(distance(b, expected.layers[i].hidden, found.layers[i].hidden) < 1e-5);
    CHECK(distance(b, expected.layers[i].probabilities, found.layers[i].probabilities) < 1e-5);
  }
}

TEST_CASE("a VGG keeps its convolutions dense and its head as measured") {
  EigenCpu b({.threads = 2});
  const auto net = thinned(b, models::Vgg<EigenCpu>(b, {.stages = {{8}, {16}}, .hidden = 64}, Rng(4)), 0.9);
  auto fast = compile(b, net, Shape{5, 8, 8, 3}, {}, sparse_wins());
  REQUIRE(fast.choices().size() == 2);
  CHECK(fast.choices()[0].layer == "classifier.0");
  CHECK(fast.choices()[0].kernel == LinearKernel::sparse);
  const auto x = noise(b, {5, 8, 8, 3});
  CHECK(distance(b, predict(b, net, x), fast(x)) < 1e-5);
}

TEST_CASE("a device without such kernels keeps dense, with the bits of the model") {
  const auto check = [](auto& b) {
    using B = std::remove_reference_t<decltype(b)>;
    static_assert(!SparseBackend<B> && !PackingBackend<B>);
    const auto net = thinned(b, models::Mlp<B>(b, {12, 9, 4}, Rng(1)), 0.9);
    auto fast = compile(b, net, Shape{3, 12}, {}, Script::of({5e-6}));
    CHECK(fast.choices()[0].reason() == "fc1: " + str(static_cast<Index>(fast.choices()[0].sparsity * 1000) / 10) + "." +
                                            str(static_cast<Index>(fast.choices()[0].sparsity * 1000) % 10) + " % zeros, dense 5 us: dense");
    const auto x = Tensor<B>::full(b, {3, 12}, typename B::Scalar{0.25});
    CHECK(fast(x).to_host(b) == predict(b, net, x).to_host(b));
  };
  Reference reference;
  check(reference);
  BasicReference<double> doubles;
  check(doubles);
  test::OpaqueBackend<float> opaque;
  check(opaque);
  CHECK(opaque.live_blocks() == 0);
}

TEST_CASE("a layer that is used twice is measured once") {
  EigenCpu b({.threads = 1});
  const auto net = thinned(b, models::Mlp<EigenCpu>(b, {16, 16}, Rng(1)), 0.8);
  const Twice twice{net};
  auto fast = compile(b, twice, noise(b, {9, 16}), {}, sparse_wins());
  CHECK(fast.choices().size() == 1);
  const auto x = noise(b, {9, 16});
  CHECK(distance(b, predict(b, net, predict(b, net, x)), fast(x)) < 1e-5);
}

TEST_CASE("options are checked, and print as they are written") {
  EigenCpu b({.threads = 1});
  const auto net = models::Mlp<EigenCpu>(b, {4, 2}, Rng(1));
  CHECK_THROWS_WITH_AS(compile(b, net, Shape{1, 4}, {.margin = 1}), "CompileOptions.margin is 1; it must be at least 0 and below 1. Set it to 0.05.", PolicyError);
  CHECK_THROWS_AS(compile(b, net, Shape{1, 4}, {.least_sparsity = -0.1}), PolicyError);
  CHECK_THROWS_AS(compile(b, net, Shape{1, 4}, {.runs = 0}), PolicyError);
  CHECK_THROWS_AS(compile(b, net, Shape{1, 5}), ShapeError);
  std::ostringstream text;
  text << CompileOptions{.runs = 5};
  CHECK(text.str() == "CompileOptions{.margin = 0.05, .least_sparsity = 0.2, .runs = 5}");
}
