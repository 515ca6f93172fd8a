// SPDX-License-Identifier: Apache-2.0
// The weights that Frankle & Carbin 2019 (figure 2) and Han et al. 2015 count, biases left out.
#include <doctest/doctest.h>

#include <espalier/backend/reference.hpp>
#include <espalier/models/convnet.hpp>
#include <espalier/models/mlp.hpp>

using namespace espalier;
using R = Reference;

namespace {

struct Weights {
  Index all = 0, convolutions = 0;
  bool operator==(const Weights&) const = default;
};

template <class Net>
Weights weights(const Net& net) {
  Weights count;
  for_each_parameter(net, [&](const std::string& path, const auto& p) {
    if (!path.ends_with(".weight")) return;
    count.all += p.value.count();
    if (p.value.shape().rank() == 4) count.convolutions += p.value.count();
  });
  return count;
}

Weights weights(const models::ConvNetConfig& config) {
  R r;
  return weights(models::ConvNet<R>(r, config, Rng(1)));
}

}  // namespace

TEST_CASE("Conv-2 and Conv-4 have the paper's weights") {
  CHECK(weights(models::conv_2) == Weights{4'300'992, 38'592});  // printed: 4.3M / 38K
  CHECK(weights(models::conv_4) == Weights{2'425'024, 259'776});  // printed: 2.4M / 260K
}

TEST_CASE("Conv-6 has the weights of the same arithmetic, which are not those printed") {
  CHECK(weights(models::conv_6) == Weights{2'261'184, 1'144'512});  // printed: 1.7M / 1.1M
}

TEST_CASE("LeNet-300-100 has 266,200 weights in layers of 235,200, 30,000 and 1,000") {
  R r;
  const models::Mlp<R> net(r, models::lenet_300_100, Rng(1));
  CHECK(weights(net) == Weights{266'200, 0});
  std::vector<Index> layers;
  for_each_parameter(net, [&](const std::string& path, const auto& p) {
    if (path.ends_with(".weight")) layers.push_back(p.value.count());
  });
  CHECK(layers == std::vector<Index>{235'200, 30'000, 1'000});
  CHECK(parameter_count(net) == 266'610);
}

TEST_CASE("LeNet-5 has 430,500 weights, in Caffe's form") {
  CHECK(weights(models::lenet_5) == Weights{430'500, 25'500});
}
