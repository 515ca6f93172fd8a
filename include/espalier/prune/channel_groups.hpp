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
  std::string name;  // the layer that writes it first, "+n" if n more layers write it
  Index channels = 0;
  std::vector<ChannelPart> parts;
  std::string frozen_because;  // empty if it may be pruned

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

// The groups without values: what a dry run alone can tell. A group holds the channels with the same
// set of (parameter, axis, role); channels that share only a part of their layers fall into groups of their own.
template <Backend B, Module M>
std::vector<ChannelGroup> find_groups(const M& net, const Shape& input) {
  std::unordered_map<const void*, std::pair<std::string, int>> owners;  // path and place in the declaration
  for_each_member(net, [&](const std::string& path, const auto& member) { owners[&member] = {path, static_cast<int>(owners.size())}; });

  const Trace<B> trace = dry_run<B>(net, input);
  const ChannelGraph& graph = trace.graph();
  using Key = std::tuple<int, int, ChannelRole>;  // owner's place, axis, role
  std::map<int, std::map<Key, std::vector<Index>>> classes;  // representative -> slices
  std::map<int, std::string> frozen;
  std::map<int, const void*> owner_at;
  for (const auto& m : graph.members()) {
    const int place = owners.at(m.owner).second;
    owner_at[place] = m.owner;
    classes[graph.find(m.channel)][{place, m.axis, m.role}].push_back(m.index);
  }
  for (const auto& f : graph.frozen()) frozen.emplace(graph.find(f.channel), f.reason);

  std::map<std::vector<Key>, std::size_t> index;  // signature -> group
  std::vector<ChannelGroup> groups;
  for (auto& [representative, slices] : classes) {
    std::vector<Key> signature;
    bool has_producer = false;
    for (const auto& [key, ignored] : slices) {
      has_producer = has_producer || std::get<2>(key) == ChannelRole::producer;
      if (std::get<2>(key) != ChannelRole::statistic) signature.push_back(key);
    }
    if (!has_producer) continue;
    const auto reason = frozen.find(representative);
    const auto [found, is_new] = index.emplace(signature, groups.size());
    if (is_new) groups.emplace_back();
    ChannelGroup& group = groups[found->second];
    if (reason != frozen.end()) group.frozen_because = reason->second;
    for (auto& [key, indices] : slices) {
      const auto& path = owners.at(owner_at.at(std::get<0>(key))).first;
      auto part = std::find_if(group.parts.begin(), group.parts.end(), [&](const ChannelPart& p) {
        return p.path == path && p.axis == std::get<1>(key) && p.role == std::get<2>(key);
      });
      if (part == group.parts.end()) {
        group.parts.push_back({.path = path, .role = std::get<2>(key), .axis = std::get<1>(key)});
        part = std::prev(group.parts.end());
      }
      part->slices.resize(static_cast<std::size_t>(group.channels));
      std::sort(indices.begin(), indices.end());
      part->slices.push_back(indices);
    }
    ++group.channels;
    for (auto& part : group.parts) part.slices.resize(static_cast<std::size_t>(group.channels));
  }
  for (auto& group : groups) {
    std::stable_sort(group.parts.begin(), group.parts.end(), [](const ChannelPart& a, const ChannelPart& b) { return a.role < b.role; });
    const auto layers = group.producers();
    group.name = layers.front();
    if (layers.size() > 1) group.name += str("+", layers.size() - 1);
  }
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
