// SPDX-License-Identifier: Apache-2.0
// Laws of random networks, whatever couples their channels: masked and shrunk ones compute the same, and the order of a
// group's channels means nothing.
#include <doctest/doctest.h>

#include <numeric>
#include <set>

#include <espalier/backend/reference.hpp>

#include "agreement.hpp"

using namespace espalier;
using namespace espalier::test;

namespace mask_equals_shrink_test {

using R = Reference;

namespace {

const Shape image{1, RandomNet<R>::side, RandomNet<R>::side, RandomNet<R>::in};

template <Criterion C>
Structured<C> policy_of(Rng& rng) {
  Structured<C> policy{.keep_at_least = 1};
  policy.linear = rng.bernoulli(0.5) ? LinearLayers::prune : LinearLayers::keep;
  policy.round_to = rng.bernoulli(0.3) ? 2 : 1;
  const double remove = 0.3 + 0.4 * rng.uniform_double();
  switch (rng.below(3)) {
    case 0: policy.amount = Fraction{remove}; break;
    case 1: policy.amount = PerLayer{{{"*", remove}}}; break;
    default: policy.amount = Global{.remove = 0.3, .scale = rng.bernoulli(0.5) ? Global::Scale::none : Global::Scale::group_mean};
  }
  if (!std::holds_alternative<Global>(policy.amount) && rng.bernoulli(0.3)) policy.selection = Selection::greedy;
  return policy;
}

// A plan for a random network, or none where no policy can find anything to prune in it.
std::optional<Plan> random_plan(R& r, const RandomNet<R>& net, Rng rng) {
  try {
    switch (rng.below(5)) {
      case 0: return plan(r, net, image, policy_of<L2Norm>(rng));
      case 1: return plan(r, net, image, policy_of<GeometricMedian>(rng));
      case 2: return plan(r, net, image, policy_of<Taylor>(rng));
      case 3: return plan(r, net, image, policy_of<Random>(rng));
      default: return plan(r, net, image, policy_of<L1Norm>(rng));
    }
  } catch (const PolicyError&) {
    return std::nullopt;
  }
}

// The slices along an axis in another order: slice i is what slice from[i] was.
HostTensor reordered(const HostTensor& t, int axis, const std::vector<Index>& from) {
  Index inner = 1;
  for (int i = axis + 1; i < t.shape.rank(); ++i) inner *= t.shape[i];
  const Index extent = t.shape[axis];
  HostTensor out{t.shape, {}};
  for (Index o = 0; o < t.shape.count(); o += extent * inner)
    for (const Index slice : from) {
      const auto at = t.values.begin() + o + slice * inner;
      out.values.insert(out.values.end(), at, at + inner);
    }
  return out;
}

// Channel i of the group becomes what channel order[i] was, in all that writes, scales, shifts, carries and reads it.
void permute(R& r, RandomNet<R>& net, const ChannelGroup& group, const std::vector<std::size_t>& order) {
  const auto move = [&](const std::string& path, auto& member, Layout layout) {
    for (const ChannelPart& part : group.parts) {
      if (part.path != path) continue;
      const HostTensor host = to_host(r, member);
      std::vector<Index> from(static_cast<std::size_t>(host.shape[part.axis]));
      std::iota(from.begin(), from.end(), Index{0});
      for (std::size_t i = 0; i < order.size(); ++i)
        for (std::size_t k = 0; k < part.slices[i].size(); ++k) from[static_cast<std::size_t>(part.slices[i][k])] = part.slices[order[i]][k];
      member.value = from_host(r, reordered(host, part.axis, from), layout);
    }
  };
  for_each_parameter(net, [&](const std::string& path, auto& p) { move(path, p, p.layout); });
  for_each_buffer(net, [&](const std::string& path, auto& buffer) { move(path, buffer, Layout::plain); });
}

// Some groups hold channels that own unequal numbers of slices; those cannot change places.
bool interchangeable(const ChannelGroup& group) {
  return group.frozen_because.empty() && group.channels > 1 && std::all_of(group.parts.begin(), group.parts.end(), [](const ChannelPart& part) {
    return std::all_of(part.slices.begin(), part.slices.end(), [&](const auto& slices) { return slices.size() == part.slices[0].size(); });
  });
}

// Checks that a plan takes the same channels from both networks, those of group g at their new places. False where the
// criterion does not decide: it cannot score the group, or finds equal scores, of which the lower channel stays.
template <Criterion C>
bool same_channels_go(R& r, const RandomNet<R>& net, const RandomNet<R>& permuted, std::size_t g, const std::vector<std::size_t>& order) {
  const ChannelGroups all = channel_groups(r, net, image);
  Structured<C> policy{.amount = Fraction{0.5}, .linear = LinearLayers::prune, .keep_at_least = 1};
  for (const ChannelGroup& group : all.groups) {
    const bool scaled = std::any_of(group.parts.begin(), group.parts.end(), [](const ChannelPart& part) { return part.role == ChannelRole::scale; });
    if (std::is_same_v<C, BatchNormScale> && !scaled)
      for (const std::string& layer : group.producers()) policy.skip.push_back(layer);
  }
  if (!espalier::detail::exclusion(all.groups[g], policy).empty()) return false;
  const auto scores = espalier::detail::scores_of(all.groups[g], C{});
  if (std::set<double>(scores.begin(), scores.end()).size() < scores.size()) return false;
  const Plan before = plan(r, net, image, policy), after = plan(r, permuted, image, policy);
  CAPTURE(before.policy);
  REQUIRE(before.groups.size() == after.groups.size());
  for (std::size_t i = 0; i < before.groups.size(); ++i) {
    CAPTURE(before.groups[i].name);
    std::vector<Index> found;
    for (const Index channel : after.groups[i].remove) found.push_back(i == g ? static_cast<Index>(order[static_cast<std::size_t>(channel)]) : channel);
    std::sort(found.begin(), found.end());
    CHECK(found == before.groups[i].remove);
  }
  return true;
}

}  // namespace

TEST_CASE("masked and shrunk random networks agree in outputs, gradients and running statistics") {
  R r;
  int planned = 0;
  std::set<std::string> met;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    RandomNet<R> net(r, seed);
    CAPTURE(seed);
    CAPTURE(net.kinds);
    season(r, net, image, seed);
    const auto p = random_plan(r, net, Rng(seed).split("policy"));
    if (!p) continue;
    CAPTURE(p->policy);
    ++planned;
    for (const auto& layer : net.layers) met.insert(kind_names[static_cast<std::size_t>(layer.kind)]);
    check_agreement(r, net, *p);
    check_plan(r, net, *p);
  }
  CHECK(planned > 200);
  CHECK(met.size() == kind_names.size());
}

TEST_CASE("a group's channels in another order compute the same, and each criterion removes the same of them") {
  R r;
  int by_l1 = 0, by_l2 = 0, by_scale = 0, by_median = 0;
  std::set<std::string> met;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    RandomNet<R> net(r, seed);
    CAPTURE(seed);
    CAPTURE(net.kinds);
    season(r, net, image, seed);
    Rng rng = Rng(seed).split("permutation");
    const auto groups = espalier::detail::find_groups<R>(net, image);
    std::vector<std::size_t> open;
    for (std::size_t g = 0; g < groups.size(); ++g)
      if (interchangeable(groups[g])) open.push_back(g);
    if (open.empty()) continue;
    const std::size_t g = open[rng.below(static_cast<std::uint32_t>(open.size()))];
    CAPTURE(groups[g].name);
    std::vector<std::size_t> order(static_cast<std::size_t>(groups[g].channels));
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(static_cast<std::uint32_t>(i - 1))]);  // none keeps its place

    RandomNet<R> permuted = net;
    permute(r, permuted, groups[g], order);
    const auto x = random_images(r, image.with(0, 4), Rng(2));
    CHECK(difference(predict(r, net, x).to_host(r), predict(r, permuted, x).to_host(r)) <= 1e-5);
    by_l1 += same_channels_go<L1Norm>(r, net, permuted, g, order) ? 1 : 0;
    by_l2 += same_channels_go<L2Norm>(r, net, permuted, g, order) ? 1 : 0;
    by_scale += same_channels_go<BatchNormScale>(r, net, permuted, g, order) ? 1 : 0;
    by_median += same_channels_go<GeometricMedian>(r, net, permuted, g, order) ? 1 : 0;
    for (const auto& layer : net.layers) met.insert(kind_names[static_cast<std::size_t>(layer.kind)]);
  }
  CHECK(std::min({by_l1, by_l2, by_median}) > 150);
  CHECK(by_scale > 100);
  CHECK(met.size() == kind_names.size());
}

}  // namespace mask_equals_shrink_test
