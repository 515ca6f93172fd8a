// SPDX-License-Identifier: Apache-2.0
// A plan carried out: mask() keeps every shape and silences the channels, shrink() cuts them out. For
// one plan the two networks compute the same.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <espalier/nn/mask.hpp>
#include <espalier/prune/channel_groups.hpp>
#include <espalier/prune/plan.hpp>

namespace espalier {
namespace detail {

// The slices of every member that a plan touches: path -> axis -> which slices (true).
struct PlannedSlices {
  std::map<std::string, std::map<int, std::vector<bool>>> of;

  void mark(const ChannelPart& part, const std::vector<Index>& remove, Index extent) {
    auto& marks = of[part.path][part.axis];
    marks.resize(static_cast<std::size_t>(extent));
    for (const Index channel : remove)
      for (const Index slice : part.slices[static_cast<std::size_t>(channel)]) marks[static_cast<std::size_t>(slice)] = true;
  }
};

// The extents of every member by path, in the outside layout; an Extent counts as one axis.
template <class M>
std::map<std::string, Shape> outside_shapes(const M& net) {
  std::map<std::string, Shape> shapes;
  detail::for_each_listed(net, [&](const std::string& path, const auto& member) {
    if constexpr (requires { member.outside_shape(); }) shapes[path] = member.outside_shape();
    else if constexpr (requires { member.value.shape(); }) shapes[path] = member.value.shape();
    else shapes[path] = Shape{member.value};
  });
  return shapes;
}

// Finds the plan's groups in a network and collects the slices of parts whose role passes the filter.
// Throws PlanError if the plan was made for another network.
template <Backend B, Module M, class F>
PlannedSlices slices_of(const M& net, const Plan& plan, F wanted) {
  const auto groups = find_groups<B>(net, plan.input);
  const auto shapes = outside_shapes(net);
  PlannedSlices marked;
  for (const auto& planned : plan.groups) {
    const auto group = std::find_if(groups.begin(), groups.end(), [&](const ChannelGroup& g) { return g.name == planned.name; });
    if (group == groups.end())
      throw PlanError(str("the plan has a group '", planned.name, "', the network has none of that name; was the plan made for another network?"));
    if (group->channels != planned.channels)
      throw PlanError(str("group '", planned.name, "' has ", group->channels, " channels, the plan was made for ", planned.channels,
                          ". Was the network shrunk already?"));
    if (planned.remove.empty()) continue;
    if (!group->frozen_because.empty())
      throw PlanError(str("group '", planned.name, "' cannot be pruned: ", group->frozen_because, "; remove it from the plan"));
    for (const Index channel : planned.remove)
      if (channel < 0 || channel >= planned.channels)
        throw PlanError(str("group '", planned.name, "' has no channel ", channel, "; it has ", planned.channels));
    if (planned.keep() < 1) throw PlanError(str("the plan removes all ", planned.channels, " channels of group '", planned.name, "'; keep at least one"));
    for (const auto& part : group->parts)
      if (wanted(part.role)) marked.mark(part, planned.remove, shapes.at(part.path)[part.axis]);
  }
  return marked;
}

inline HostTensor without(const HostTensor& t, int axis, const std::vector<bool>& removed) {
  Index outer = 1, inner = 1;
  for (int i = 0; i < axis; ++i) outer *= t.shape[i];
  for (int i = axis + 1; i < t.shape.rank(); ++i) inner *= t.shape[i];
  const Index extent = t.shape[axis];
  HostTensor kept;
  for (Index o = 0; o < outer; ++o)
    for (Index i = 0; i < extent; ++i)
      if (!removed[static_cast<std::size_t>(i)]) {
        const auto from = t.values.begin() + (o * extent + i) * inner;
        kept.values.insert(kept.values.end(), from, from + inner);
      }
  kept.shape = t.shape.with(axis, extent - static_cast<Index>(std::count(removed.begin(), removed.end(), true)));
  return kept;
}

// f(flat index) for every element of the marked slices.
template <class F>
void for_each_marked(const Shape& shape, int axis, const std::vector<bool>& marked, F f) {
  Index inner = 1;
  for (int i = axis + 1; i < shape.rank(); ++i) inner *= shape[i];
  const Index extent = shape[axis];
  for (Index i = 0; i < shape.count(); ++i)
    if (marked[static_cast<std::size_t>(i / inner % extent)]) f(i);
}

inline void silence(HostTensor& t, int axis, const std::vector<bool>& removed) {
  for_each_marked(t.shape, axis, removed, [&](Index i) { t.values[static_cast<std::size_t>(i)] = 0; });
}

// The slices that a mask silences: everything that writes, scales or shifts a planned channel.
template <Backend B, Module M>
PlannedSlices silenced_slices(const M& net, const Plan& plan) {
  return slices_of<B>(net, plan, [](ChannelRole role) { return role != ChannelRole::reader && role != ChannelRole::statistic; });
}

}  // namespace detail

/// A copy of the network in which the planned channels are exactly zero wherever they are read: the
/// filters, biases, batch norm scales *and shifts* that make them are set to zero. Shapes, file size
/// and speed stay what they were; shrink() changes those.
/// Throws PlanError if the plan does not fit the network.
template <Backend B, Module M>
M mask(B& b, const M& net, const Plan& plan) {
  const auto dead = detail::silenced_slices<B>(net, plan);
  M masked = net;
  for_each_parameter(masked, [&](const std::string& path, auto& p) {
    const auto found = dead.of.find(path);
    if (found == dead.of.end()) return;
    HostTensor host = to_host(b, p);
    for (const auto& [axis, removed] : found->second) detail::silence(host, axis, removed);
    p.value = from_host(b, host, p.layout);
    p.has_gradient = false;
  });
  return masked;
}

/// What mask() sets to zero, as a Mask for the optimiser: training under it is training the shrunk network.
/// It names exactly the parameters that the plan touches, biases and normalisations among them.
/// Throws PlanError if the plan does not fit the network.
template <Backend B, Module M>
Mask mask_of(const M& net, const Plan& plan) {
  const auto dead = detail::silenced_slices<B>(net, plan);
  std::vector<MaskPart> parts;
  for_each_parameter(net, [&](const std::string& path, const auto& p) {
    const auto found = dead.of.find(path);
    if (found == dead.of.end()) return;
    parts.push_back(MaskPart::ones(path, p.outside_shape()));
    for (const auto& [axis, removed] : found->second)
      detail::for_each_marked(p.outside_shape(), axis, removed, [&](Index i) { parts.back().kill(i); });
  });
  return Mask(std::move(parts));
}

/// A network of the same type with the planned channels cut out of every tensor that writes, scales,
/// or reads them. Throws PlanError if the plan does not fit the network.
template <Backend B, Module M>
M shrink(B& b, const M& net, const Plan& plan) {
  const auto dead = detail::slices_of<B>(net, plan, [](ChannelRole) { return true; });
  M slim = net;
  detail::for_each_listed(slim, [&](const std::string& path, auto& member) {
    const auto found = dead.of.find(path);
    if (found == dead.of.end()) return;
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(member)>, Extent>) {
      const auto& removed = found->second.at(0);
      member.value -= static_cast<Index>(std::count(removed.begin(), removed.end(), true));
    } else {
      HostTensor host = to_host(b, member);
      for (const auto& [axis, removed] : found->second) host = detail::without(host, axis, removed);
      if constexpr (requires { member.layout; }) {
        member = {from_host(b, host, member.layout), member.layout, member.init};
      } else {
        member.value = from_host(b, host, Layout::plain);
      }
    }
  });
  return slim;
}

}  // namespace espalier
