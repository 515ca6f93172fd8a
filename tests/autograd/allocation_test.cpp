// SPDX-License-Identifier: Apache-2.0
// A warm training step allocates nothing: neither from the backend's pool nor by operator new, which
// this program replaces to count.
#include <doctest/doctest.h>

#include <vector>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/op/flatten.hpp>
#include <espalier/op/loss.hpp>
#include <espalier/op/pool.hpp>
#include <espalier/train/sgd.hpp>

#include <common/count_allocations.hpp>

using namespace espalier;

namespace {

template <Backend B>
struct Net {
  Conv2d<B> conv;
  BatchNorm<B> norm;
  Dropout dropout{0.2};
  Linear<B> head;

  Net(B& b, Rng& rng) : conv(b, 2, 4, {.bias = Bias::zeros}, rng), norm(b, 4), head(b, 4 * 3 * 3, 5, {}, rng) {}
  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("first_convolution_of_the_network", self.conv);
    visit("bn", self.norm);
    visit("head", self.head);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    auto h = espalier::forward(ctx, self.norm, espalier::forward(ctx, self.conv, x), Activation::relu);
    h = espalier::forward(ctx, self.dropout, ctx.apply(op::MaxPool{}, h));
    return espalier::forward(ctx, self.head, ctx.apply(op::Flatten{}, h));
  }
};

// Two steps warm up, twenty are counted. One member's name is longer than what a string holds inside.
template <Backend B>
void check_training(B& b) {
  Rng rng(1);
  Net<B> net(b, rng);
  std::vector<float> pixels(4 * 6 * 6 * 2);
  for (float& p : pixels) p = rng.normal();
  const std::vector<std::int32_t> classes{0, 3, 1, 4};
  Tape<B> tape(b);
  auto optimiser = Sgd{}.over(b, net);
  float last = 0;
  const auto step = [&] {
    tape.clear();
    const auto labels = Ids<B>::from(b, {4}, classes);
    const auto loss = tape.apply(op::CrossEntropy<B>{&labels}, forward(tape, net, tape.input(Tensor<B>::from(b, {4, 6, 6, 2}, pixels))));
    tape.backward(loss);
    last = loss.value().item(b);
    optimiser.step(b, net, 0.05);
  };
  step();
  const float first = last;
  step();
  const long news_before = news;
  const std::size_t system_before = b.pool().system_allocations();
  for (int i = 0; i < 20; ++i) step();
  CHECK(news == news_before);
  CHECK(b.pool().system_allocations() == system_before);
  CHECK(last < first);  // it did train
}

}  // namespace

TEST_CASE("operator new is counted") {
  const long before = news;
  ::operator delete(::operator new(100));
  CHECK(news == before + 1);
}

TEST_CASE("a warm training step on the reference asks neither the pool nor operator new for memory") {
  Reference b;
  check_training(b);
}

TEST_CASE("a warm training step on EigenCpu asks neither the pool nor operator new for memory") {
  for (int threads : {1, 3}) {
    CAPTURE(threads);
    EigenCpu b({.threads = threads});
    check_training(b);
  }
}
