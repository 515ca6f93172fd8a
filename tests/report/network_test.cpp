// SPDX-License-Identifier: Apache-2.0
// Before and after, layer by layer. A scripted clock decides how long each layer takes.
#include <espalier/report/network.hpp>

#include <vector>

#include <doctest/doctest.h>

#include <espalier/backend/reference.hpp>
#include <espalier/models/mlp.hpp>

using namespace espalier;

namespace network_test {

namespace {

// Each timed op reads the clock twice; the op then took the next of `seconds`.
struct ScriptedClock {
  const std::vector<double>& seconds;
  std::size_t reads = 0;
  double now = 0;
  double operator()() {
    if (reads % 2 == 1) now += seconds[reads / 2];
    ++reads;
    return now;
  }
};

struct Networks {
  Reference device;
  models::Mlp<Reference> dense{device, {6, 8, 4, 3}, Rng(1)}, slim{device, {6, 4, 4, 3}, Rng(2)};
  Shape input{1, 6};
};

// The ops of a forward pass of an Mlp of three layers; each linear layer takes its ReLU along.
constexpr std::size_t ops = 3;

}  // namespace

TEST_CASE("a layer that lost multiply-adds and is not faster is flagged, with both medians") {
  Networks n;
  REQUIRE(cost<Reference>(n.dense, n.input).layers.size() == ops);
  // dense: fc1 5 s, fc2 4 s, fc3 3 s; slim: fc1 2 s, fc2 4 s, fc3 9 s. fc3 lost nothing.
  const std::vector<double> script{5, 4, 3, 2, 4, 9};
  const auto flagged = layers_not_faster(n.device, n.dense, n.slim, n.input, {.warm_up = 0, .runs = 1}, ScriptedClock{script});
  REQUIRE(flagged.size() == 1);
  CHECK(flagged[0].layer == "fc2");
  CHECK(flagged[0].before == 4);
  CHECK(flagged[0].after == 4);
}

TEST_CASE("layers that got faster are not flagged, and warm-up runs do not count") {
  Networks n;
  // One warm-up run in which the slim network is slow, then one run in which it is fast.
  const std::vector<double> script{5, 4, 3, 5, 4, 3, 50, 50, 50, 4, 3, 3};
  CHECK(layers_not_faster(n.device, n.dense, n.slim, n.input, {.warm_up = 1, .runs = 1}, ScriptedClock{script}).empty());
}

TEST_CASE("the median of the runs speaks for a layer") {
  Networks n;
  const std::vector<double> script{1, 0, 0, 9, 0, 0, 2, 0, 0};
  const auto layers = layer_latencies(n.device, n.dense, n.input, {.warm_up = 0, .runs = 3}, ScriptedClock{script});
  REQUIRE(layers.size() == ops);
  CHECK(layers[0].name == "fc1");
  CHECK(layers[0].stats.median == 2);
  CHECK(layers[0].stats.p95 == 9);
  CHECK(layers[0].stats.runs == 3);
}

TEST_CASE("the cost table gives parameters, multiply-adds and bytes, by layer and in all") {
  Networks n;
  const Table table = cost_table(cost<Reference>(n.dense, n.input), cost<Reference>(n.slim, n.input));
  const std::string csv = to_csv(table);
  CHECK(csv == "layer,output,parameters,parameters_after,MACs,macs_after,bytes,bytes_after\n"
               "fc1,4,56,28,48,24,224,112\n"
               "fc2,4,36,20,32,16,144,80\n"
               "fc3,3,15,15,12,12,60,60\n"
               "total,,107,63,92,52,428,252\n");
}

}  // namespace network_test
