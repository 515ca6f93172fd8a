// SPDX-License-Identifier: Apache-2.0
// Channel coupling by hand: which channels each op ties together, passes on, makes or freezes.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include <espalier/autograd/trace.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/op/add.hpp>
#include <espalier/op/attention.hpp>
#include <espalier/op/batch_norm.hpp>
#include <espalier/op/conv2d.hpp>
#include <espalier/op/flatten.hpp>
#include <espalier/op/layer_norm.hpp>
#include <espalier/op/linear.hpp>
#include <espalier/op/loss.hpp>
#include <espalier/op/pool.hpp>

using namespace espalier;

namespace channel_flow_test {

namespace {

struct Fixture {
  Reference b;
  Trace<Reference> trace;

  Parameter<Reference> weight(const Shape& inside) { return {Tensor<Reference>::zeros(b, inside), inside.rank() == 4 ? Layout::convolution : inside.rank() == 2 ? Layout::linear : Layout::plain}; }
  // The class of each channel.
  std::vector<int> classes(const Traced& t) const {
    std::vector<int> found;
    for (int channel : t.channels()) found.push_back(trace.graph().find(channel));
    return found;
  }
  std::vector<ChannelGraph::Member> members(int of, ChannelRole role) const {
    std::vector<ChannelGraph::Member> found;
    for (const auto& m : trace.graph().members())
      if (trace.graph().find(m.channel) == of && m.role == role) found.push_back(m);
    return found;
  }
  std::string frozen(int of) const {
    for (const auto& f : trace.graph().frozen())
      if (trace.graph().find(f.channel) == of) return f.reason;
    return "";
  }
};

int distinct(std::vector<int> all) {
  std::sort(all.begin(), all.end());
  return static_cast<int>(std::unique(all.begin(), all.end()) - all.begin());
}

}  // namespace

TEST_CASE("uniting channels keeps the lowest number, whatever the order") {
  ChannelGraph graph;
  for (int i = 0; i < 6; ++i) CHECK(graph.make() == i);
  graph.unite(5, 4);
  graph.unite(4, 1);
  graph.unite(2, 5);
  CHECK(graph.find(5) == 1);
  CHECK(graph.find(2) == 1);
  CHECK(graph.find(3) == 3);
  CHECK(graph.channel_count() == 6);
}

TEST_CASE_FIXTURE(Fixture, "a dense convolution reads its input channels and makes new ones") {
  const auto w = weight({3, 3, 2, 4}), bias = weight({4});
  const auto x = trace.input({1, 8, 8, 2});
  const auto y = trace.apply(op::Conv2d{.pad_h = 1, .pad_w = 1}, x, w, bias);
  CHECK(distinct(classes(y)) == 4);
  const auto producer = members(classes(y)[2], ChannelRole::producer), shift = members(classes(y)[2], ChannelRole::shift);
  REQUIRE(producer.size() == 1);
  CHECK((producer[0].owner == &w && producer[0].axis == 0 && producer[0].index == 2));
  REQUIRE(shift.size() == 1);
  CHECK((shift[0].owner == &bias && shift[0].index == 2));
  const auto reader = members(classes(x)[1], ChannelRole::reader);
  REQUIRE(reader.size() == 1);
  CHECK((reader[0].owner == &w && reader[0].axis == 1 && reader[0].index == 1));
  CHECK(frozen(classes(x)[0]) == "the network's input");
  CHECK(frozen(classes(y)[0]) == "");
  trace.output(y);
  CHECK(frozen(classes(y)[3]) == "the network's output");
}

TEST_CASE_FIXTURE(Fixture, "a convolution in groups ties channels at equal places of its groups, on both sides") {
  const auto stem = weight({1, 1, 3, 6}), w = weight({3, 3, 3, 4});
  const auto x = trace.apply(op::Conv2d{}, trace.input({1, 8, 8, 3}), stem);
  const auto y = trace.apply(op::Conv2d{.groups = 2}, x, w);
  const auto in = classes(x), out = classes(y);
  CHECK(distinct(in) == 3);
  CHECK((in[0] == in[3] && in[1] == in[4] && in[2] == in[5]));
  CHECK(distinct(out) == 2);
  CHECK((out[0] == out[2] && out[1] == out[3]));
  CHECK(members(in[1], ChannelRole::reader).size() == 1);    // one slice for both groups
  CHECK(members(out[1], ChannelRole::producer).size() == 2);
}

TEST_CASE_FIXTURE(Fixture, "a depthwise convolution carries channels on, several filters to one") {
  const auto stem = weight({1, 1, 3, 2}), w = weight({3, 3, 1, 4});
  const auto x = trace.apply(op::Conv2d{}, trace.input({1, 8, 8, 3}), stem);
  const auto y = trace.apply(op::Conv2d{.depthwise = true}, x, w);
  CHECK(classes(y) == std::vector<int>{classes(x)[0], classes(x)[0], classes(x)[1], classes(x)[1]});
  CHECK(members(classes(x)[1], ChannelRole::filter).size() == 2);
}

TEST_CASE_FIXTURE(Fixture, "flatten gives each feature its channel, and a linear layer reads H W columns of it") {
  const auto stem = weight({1, 1, 3, 2}), w = weight({12, 5});
  const auto x = trace.apply(op::Conv2d{}, trace.input({1, 2, 3, 3}), stem);
  const auto features = trace.apply(op::Flatten{}, x);
  const auto y = trace.apply(op::Linear{}, features, w);
  const auto in = classes(x), flat = classes(features);
  for (std::size_t i = 0; i < 12; ++i) CHECK(flat[i] == in[i / 6]);
  const auto readers = members(in[1], ChannelRole::reader);
  REQUIRE(readers.size() == 6);
  CHECK(readers[0].index == 6);
  CHECK(readers[5].index == 11);
  CHECK(distinct(classes(y)) == 5);
}

TEST_CASE_FIXTURE(Fixture, "residual sums tie channels pairwise, concat sets them side by side, padding appends its own") {
  const auto w1 = weight({1, 1, 3, 2}), w2 = weight({1, 1, 3, 2}), w3 = weight({1, 1, 3, 4});
  const auto x = trace.input({1, 4, 4, 3});
  const auto a = trace.apply(op::Conv2d{}, x, w1), c = trace.apply(op::Conv2d{}, x, w2);
  const auto both = trace.apply(op::Concat{}, a, c);
  CHECK(distinct(classes(both)) == 4);
  const auto sum = trace.apply(op::Add{}, a, c);
  CHECK(classes(a) == classes(c));
  CHECK(classes(sum) == classes(a));
  CHECK(distinct(classes(both)) == 2);
  const Extent before{1}, after{1};
  const auto padded = trace.apply(op::PadChannels{.before = &before, .after = &after}, sum);
  CHECK(distinct(classes(padded)) == 4);
  CHECK((classes(padded)[1] == classes(a)[0] && classes(padded)[2] == classes(a)[1]));
  const auto wide = trace.apply(op::Conv2d{}, x, w3);
  trace.apply(op::Add{}, padded, wide);
  CHECK(members(classes(padded)[0], ChannelRole::producer).size() == 1);   // the zeros follow the convolution they are added to
  CHECK(members(classes(padded)[0], ChannelRole::statistic)[0].owner == &before);
  CHECK(members(classes(padded)[1], ChannelRole::producer).size() == 3);
}

TEST_CASE_FIXTURE(Fixture, "a batch norm's scale, shift and statistics belong to its channels, its residual is tied") {
  const auto w = weight({1, 1, 3, 2}), gamma = weight({2}), beta = weight({2});
  const Buffer<Reference> mean{Tensor<Reference>::zeros(b, {2})}, var{Tensor<Reference>::zeros(b, {2})};
  const auto x = trace.apply(op::Conv2d{}, trace.input({1, 4, 4, 3}), w);
  const auto other = trace.apply(op::Conv2d{}, trace.input({1, 4, 4, 3}), w);
  const auto y = trace.apply(op::BatchNorm<Reference>{.running_mean = &mean, .running_var = &var}, x, gamma, beta, other);
  CHECK(classes(y) == classes(other));
  CHECK(members(classes(y)[1], ChannelRole::scale)[0].owner == &gamma);
  CHECK(members(classes(y)[1], ChannelRole::shift)[0].owner == &beta);
  CHECK(members(classes(y)[1], ChannelRole::statistic).size() == 2);
}

TEST_CASE_FIXTURE(Fixture, "what may not be pruned says why") {
  const auto w = weight({4, 4}), gamma = weight({4}), beta = weight({4});
  const auto hidden = trace.apply(op::Linear{}, trace.input({2, 3, 4}), w);
  trace.apply(op::LayerNorm{}, hidden, gamma, beta);
  CHECK(frozen(classes(hidden)[0]) == "layer norm mixes its channels: removing one changes the statistics of the others");
  const auto q = trace.apply(op::Linear{}, trace.input({2, 3, 4}), w), k = trace.apply(op::Linear{}, trace.input({2, 3, 4}), w);
  const auto scores = trace.apply(op::AttentionScores<Reference>{.heads = 2}, q, k);
  CHECK(frozen(classes(q)[0]) == "attention heads are removed whole, not by channel");
  CHECK(frozen(classes(k)[3]) != "");
  CHECK(scores.shape() == Shape{2, 2, 3, 3});
  const auto labels = Ids<Reference>::from(b, {2}, std::vector<std::int32_t>{0, 1});
  const auto logits = trace.apply(op::Linear{}, trace.input({2, 4}), w);
  trace.apply(op::CrossEntropy<Reference>{&labels}, logits);
  CHECK(frozen(classes(logits)[2]) == "the classes of a cross-entropy");
}

TEST_CASE_FIXTURE(Fixture, "a dry run lists ops with shapes, costs and parameters, and computes nothing") {
  const auto w = weight({3, 3, 2, 4});
  const auto y = trace.apply(op::MaxPool{}, trace.apply(op::Conv2d{.pad_h = 1, .pad_w = 1}, trace.input({2, 8, 8, 2}), w));
  CHECK(y.shape() == Shape{2, 4, 4, 4});
  REQUIRE(trace.ops().size() == 2);
  CHECK(trace.ops()[0].name == "conv2d");
  CHECK(trace.ops()[0].in == Shape{2, 8, 8, 2});
  CHECK(trace.ops()[0].cost.multiply_adds == 2 * 64 * 4 * 18);
  CHECK(trace.ops()[0].parameters == std::vector<const void*>{&w});
  CHECK(trace.ops()[1].cost.pool_reads == 2 * 16 * 4 * 4);
}

}  // namespace channel_flow_test
