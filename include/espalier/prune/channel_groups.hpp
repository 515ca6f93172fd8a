// SPDX-License-Identifier: Apache-2.0
// The unit of structured pruning: channels that several layers share and that can only be removed
// together. Groups are read off a dry run; each says who writes, scales and reads its channels, and
// why it must stay if it must.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <espalier/nn/cost.hpp>

namespace espalier {

/// One parameter's share in a group: which slices of it belong to which channel.
struct ChannelPart {
  std::string path;  // "features.0.weight"
  ChannelRole role = ChannelRole::producer;
  int axis = 0;  // of the outside shape: [out, in, ...]
  std::vector<std::vector<Index>> slices{};  // per channel of the group, ascending
  const HostTensor* value = nullptr;         // outside layout; null for structural counts
  const HostTensor* gradient = nullptr;      // null if the parameter has none

  /// The values of one slice along axis 0: a filter, a row, or one element.
  std::span<const float> row(const HostTensor& tensor, Index slice) const {
    const std::size_t length = tensor.shape[0] == 0 ? 0 : tensor.values.size() / static_cast<std::size_t>(tensor.shape[0]);
    return std::span<const float>(tensor.values).subspan(static_cast<std::size_t>(slice) * length, length);
  }
};

/// Coupled channels, in the order of their first producer's outputs.
struct ChannelGroup {
  std::string name;  // the layer that writes it first, "+n" if n more layers write it, "#2" if it is that name's second
  Index channels = 0;
  std::vector<ChannelPart> parts{};
  std::string frozen_because{};  // empty if it may be pruned

  std::vector<std::string> producers() const {
    std::vector<std::string> layers;
    for (const auto& part : parts)
      if (part.role == ChannelRole::producer) layers.push_back(layer_of(part.path));
    return layers;
  }
};

/// All groups of a network, with host copies of its parameters (outside layout).
struct ChannelGroups {
  std::vector<ChannelGroup> groups;
  std::map<std::string, HostTensor> values, gradients;

  ChannelGroups() = default;
  ChannelGroups(ChannelGroups&&) = default;  // moving keeps the map's nodes, to which the parts point
  ChannelGroups& operator=(ChannelGroups&&) = default;
};

namespace detail {

// Where a network declares its parameters, buffers and counts.
struct Owner {
  std::string path;
  int place = 0;  // in the order of declaration
};

template <Module M>
std::unordered_map<const void*, Owner> owners_of(const M& net) {
  std::unordered_map<const void*, Owner> owners;
  detail::for_each_listed(net, [&](const std::string& path, const auto& member) { owners[&member] = {path, static_cast<int>(owners.size())}; });
  return owners;
}

// Channels that use the same slice of the same tensor are one: a layer that is applied twice has only one set of filters.
inline ChannelGraph tied_by_slices(ChannelGraph graph) {
  std::map<std::tuple<const void*, int, Index>, int> first;
  for (const auto& m : graph.members()) {
    const auto [found, is_new] = first.try_emplace({m.owner, m.axis, m.index}, m.channel);
    if (!is_new) graph.unite(found->second, m.channel);
  }
  return graph;
}

// The channels that are one, and everything they own.
struct ChannelClass {
  using Key = std::tuple<int, int, ChannelRole>;  // owner's place, axis, role
  std::map<Key, std::vector<Index>> slices;
  std::string frozen_because;

  bool has_producer() const {
    return std::any_of(slices.begin(), slices.end(), [](const auto& s) { return std::get<2>(s.first) == ChannelRole::producer; });
  }
  // Classes that agree in this form one group. Counts of zero channels may differ within a group.
  std::pair<std::vector<Key>, std::string> signature() const {
    std::vector<Key> keys;
    for (const auto& [key, ignored] : slices)
      if (std::get<2>(key) != ChannelRole::statistic) keys.push_back(key);
    return {keys, frozen_because};
  }
};

// Adds one channel to a group.
inline void append_channel(ChannelGroup& group, ChannelClass& channel, const std::map<int, std::string>& paths) {
  for (auto& [key, indices] : channel.slices) {
    const auto& [place, axis, role] = key;
    const std::string& path = paths.at(place);
    auto part = std::find_if(group.parts.begin(), group.parts.end(),
                             [&, axis = axis, role = role](const ChannelPart& p) { return p.path == path && p.axis == axis && p.role == role; });
    if (part == group.parts.end()) {
      group.parts.push_back({.path = path, .role = role, .axis = axis});
      part = std::prev(group.parts.end());
    }
    part->slices.resize(static_cast<std::size_t>(group.channels));
    std::sort(indices.begin(), indices.end());
    indices.erase(std::unique(indices.begin(), indices.end()), indices.end());
    part->slices.push_back(indices);
  }
  ++group.channels;
  for (auto& part : group.parts) part.slices.resize(static_cast<std::size_t>(group.channels));
}

// The first producer, "+n" for n more, and "#2", "#3", ... where a layer's channels fall into several such groups.
inline void name_groups(std::vector<ChannelGroup>& groups) {
  std::map<std::string, int> uses;
  for (auto& group : groups) {
    const auto layers = group.producers();
    group.name = layers.front();
    if (layers.size() > 1) group.name += str('+', layers.size() - 1);
    if (const int use = ++uses[group.name]; use > 1) group.name += str('#', use);
  }
}

// The groups without values: what a dry run alone can tell. A group holds the channels with the same
// set of (parameter, axis, role); channels that share only a part of their layers fall into groups of their own.
// Throws PlanError if forward() uses what members() does not list.
template <Backend B, Module M>
std::vector<ChannelGroup> find_groups(const M& net, const Shape& input) {
  const auto owners = owners_of(net);
  const ChannelGraph graph = tied_by_slices(dry_run<B>(net, input).graph());
  std::map<int, ChannelClass> classes;  // by representative
  std::map<int, std::string> paths;     // by place
  for (const auto& m : graph.members()) {
    const auto owner = owners.find(m.owner);
    if (owner == owners.end())
      throw PlanError("forward() uses a parameter, buffer or count that members() does not list; visit all of them, or pruning would miss it");
    paths.emplace(owner->second.place, owner->second.path);
    classes[graph.find(m.channel)].slices[{owner->second.place, m.axis, m.role}].push_back(m.index);
  }
  for (const auto& f : graph.frozen())
    if (const auto found = classes.find(graph.find(f.channel)); found != classes.end() && found->second.frozen_because.empty())
      found->second.frozen_because = f.reason;

  std::map<std::pair<std::vector<ChannelClass::Key>, std::string>, std::size_t> index;
  std::vector<ChannelGroup> groups;
  for (auto& [representative, channel] : classes) {
    if (!channel.has_producer()) continue;
    const auto [found, is_new] = index.emplace(channel.signature(), groups.size());
    if (is_new) groups.push_back({.name = {}, .frozen_because = channel.frozen_because});
    append_channel(groups[found->second], channel, paths);
  }
  for (auto& group : groups)
    std::stable_sort(group.parts.begin(), group.parts.end(), [](const ChannelPart& a, const ChannelPart& b) { return a.role < b.role; });
  name_groups(groups);
  return groups;
}

}  // namespace detail

/// The channel groups of a network for one input shape, in the order of the computation.
/// Throws ShapeError if its layers do not fit each other.
template <Backend B, Module M>
ChannelGroups channel_groups(B& b, const M& net, const Shape& input) {
  ChannelGroups all;
  all.groups = detail::find_groups<B>(net, input);
  for_each_parameter(net, [&](const std::string& path, const auto& p) {
    all.values.emplace(path, to_host(b, p));
    if (p.has_gradient) all.gradients.emplace(path, to_host(b, p.gradient, p.layout));
  });
  for (auto& group : all.groups)
    for (auto& part : group.parts) {
      if (const auto value = all.values.find(part.path); value != all.values.end()) part.value = &value->second;
      if (const auto gradient = all.gradients.find(part.path); gradient != all.gradients.end()) part.gradient = &gradient->second;
    }
  return all;
}

}  // namespace espalier
