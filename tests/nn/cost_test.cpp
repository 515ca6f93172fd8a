// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/backend/reference.hpp>
#include <espalier/nn/cost.hpp>
#include <espalier/nn/layers.hpp>
#include <espalier/op/pool.hpp>

using namespace espalier;

namespace cost_test {

namespace {

struct Net {
  Conv2d<Reference> conv;
  BatchNorm<Reference> bn;
  Linear<Reference> fc;

  Net(Reference& b, Rng rng) : conv(b, 3, 8, {.bias = Bias::zeros}, rng), bn(b, 8), fc(b, 8, 10, {}, rng) {}

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    visit("conv", self.conv);
    visit("bn", self.bn);
    visit("fc", self.fc);
  }
  template <class Self, class Context>
  static auto forward(Self& self, Context& ctx, const typename Context::Value& x) {
    const auto h = espalier::forward(ctx, self.bn, espalier::forward(ctx, self.conv, x), Activation::relu);
    return espalier::forward(ctx, self.fc, ctx.apply(op::GlobalAvgPool{}, h));
  }
};

}  // namespace

TEST_CASE("parameters, multiply-adds and bytes, layer by layer and in all") {
  Reference b;
  const Net net(b, Rng(1));
  const NetworkCost c = cost<Reference>(net, {1, 6, 6, 3});
  REQUIRE(c.layers.size() == 4);
  const auto layer = [&](std::size_t i, const char* name, Index parameters, Index multiply_adds, Index bytes) {
    CAPTURE(name);
    CHECK(c.layers[i].name == name);
    CHECK(c.layers[i].parameters == parameters);
    CHECK(c.layers[i].multiply_adds == multiply_adds);
    CHECK(c.layers[i].bytes == bytes);
  };
  layer(0, "conv", 224, 6 * 6 * 216, 896);  // 3 x 3 x 3 x 8 weights and 8 biases
  layer(1, "bn", 16, 0, 128);               // scale and shift, running mean and variance
  layer(2, "global_avg_pool", 0, 0, 0);
  layer(3, "fc", 90, 80, 360);
  CHECK(c.parameters == 330);
  CHECK(c.multiply_adds == 7856);
  CHECK(c.bytes == 1384);
  CHECK(cost<Reference>(net, {5, 6, 6, 3}).multiply_adds == 5 * 7856);
}

TEST_CASE("Liu et al.'s count adds biases, normalisation, ReLU and what a pooling reads") {
  Reference b;
  const NetworkCost c = cost<Reference>(Net(b, Rng(1)), {1, 6, 6, 3});
  CHECK(c.flops_of_rethinking_reference() == 2 * 7856 + (288 + 10) + 2 * 288 + 288 + 288);
}

}  // namespace cost_test
