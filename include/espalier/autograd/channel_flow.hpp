// SPDX-License-Identifier: Apache-2.0
// What operations do to channels. A dry run gives every channel of every activation a number; each op
// says which numbers it passes on, ties together or makes, and which parameter slices belong to them.
// Channels tied together, directly or not, can only be removed together: that is all of structured
// pruning's coupling, residual adds, flattening, concatenation and grouped convolutions included.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <espalier/autograd/parameter.hpp>

namespace espalier {

/// What a parameter slice is to a channel.
enum class ChannelRole {
  producer,  // the filter (or row) that writes the channel: scored, and zeroed by a mask
  scale,     // the channel's multiplier in a normalisation: zeroed by a mask
  shift,     // its bias: zeroed by a mask
  filter,    // a depthwise filter that carries the channel on: zeroed by a mask
  statistic, // its running statistics
  reader,    // the slice of a later layer that reads the channel
};

/// The union-find over the channels of one dry run.
class ChannelGraph {
 public:
  /// `owner` is the address of a Parameter, Buffer or Extent; `axis` counts as the outside world does.
  struct Member {
    int channel;
    const void* owner;
    int axis;
    Index index;
    ChannelRole role;
  };
  struct Frozen {
    int channel;
    std::string reason;
  };

  int make() {
    parent_.push_back(static_cast<int>(parent_.size()));
    return parent_.back();
  }
  int find(int channel) const {
    while (parent_[static_cast<std::size_t>(channel)] != channel) {
      int& up = parent_[static_cast<std::size_t>(channel)];
      up = parent_[static_cast<std::size_t>(up)];
      channel = up;
    }
    return channel;
  }
  /// The lower number stays the representative.
  void unite(int a, int b) {
    a = find(a), b = find(b);
    if (a != b) parent_[static_cast<std::size_t>(a < b ? b : a)] = a < b ? a : b;
  }
  void add(Member member) { members_.push_back(member); }
  void freeze(int channel, std::string reason) { frozen_.push_back({channel, std::move(reason)}); }

  int channel_count() const { return static_cast<int>(parent_.size()); }
  const std::vector<Member>& members() const { return members_; }
  const std::vector<Frozen>& frozen() const { return frozen_; }

 private:
  mutable std::vector<int> parent_;
  std::vector<Member> members_;
  std::vector<Frozen> frozen_;
};

/// The channel numbers of an activation's last axis.
using Channels = std::vector<int>;

/// What one op says about its channels, through the operands in the order of its inputs.
class ChannelFlow {
 public:
  struct Operand {
    Shape shape;                     // inside shape
    const Channels* channels;        // activations
    const void* parameter = nullptr; // parameters
  };

  ChannelFlow(ChannelGraph& graph, std::vector<Operand> operands) : graph_(graph), operands_(std::move(operands)) {}

  int operand_count() const { return static_cast<int>(operands_.size()); }
  const Shape& shape(int operand) const { return at(operand).shape; }
  const Channels& in(int operand) const { return *at(operand).channels; }

  /// The output has these channels.
  void out(Channels channels) { out_ = std::move(channels); }
  /// The output has the channels of an input, and is zero wherever the input's channel is.
  void through(int operand = 0) { out_ = in(operand); }

  /// The output has new channels, written by the slices of `parameter` along its outside axis 0.
  /// With `period`, channels that many apart are tied together (convolution in groups).
  void produce(int parameter, Index count, Index period) {
    Channels fresh;
    for (Index i = 0; i < count; ++i) {
      fresh.push_back(graph_.make());
      if (i >= period) graph_.unite(fresh.back(), fresh[static_cast<std::size_t>(i % period)]);
      note(fresh.back(), at(parameter).parameter, 0, i, ChannelRole::producer);
    }
    out_ = std::move(fresh);
  }
  /// The channels of `operand` are read by the slices of `parameter` along its outside axis 1;
  /// input channels `period` apart share a slice and are tied together.
  void read(int operand, int parameter, Index period) {
    const Channels& channels = in(operand);
    for (std::size_t i = 0; i < channels.size(); ++i) {
      const auto slot = i % static_cast<std::size_t>(period);
      graph_.unite(channels[i], channels[slot]);
      if (i < static_cast<std::size_t>(period)) note(channels[i], at(parameter).parameter, 1, static_cast<Index>(i), ChannelRole::reader);
    }
  }
  /// The entries of `owner`'s axis 0 belong to the output's channels, one each.
  void follow(const void* owner, ChannelRole role) {
    for (std::size_t i = 0; i < out_.size(); ++i) note(out_[i], owner, 0, static_cast<Index>(i), role);
  }
  void follow(int parameter, ChannelRole role) { follow(at(parameter).parameter, role); }
  /// `count` new channels that hold zeros, counted by `extent`.
  Channels zeros(const Extent* extent) {
    Channels fresh;
    for (Index i = 0; i < extent->value; ++i) {
      fresh.push_back(graph_.make());
      note(fresh.back(), extent, 0, i, ChannelRole::statistic);
    }
    return fresh;
  }
  /// Channel i of one operand and channel i of the other live and die together.
  void couple(int a, int b) {
    for (std::size_t i = 0; i < in(a).size(); ++i) graph_.unite(in(a)[i], in(b)[i]);
  }
  void unite(int channel, int other) { graph_.unite(channel, other); }
  /// Channels that must stay, and why.
  void freeze(int operand, std::string_view reason) {
    for (int channel : in(operand)) graph_.freeze(channel, std::string(reason));
  }
  /// The output has new channels that no pruning may touch.
  void barrier(Index count, std::string_view reason) {
    Channels fresh;
    for (Index i = 0; i < count; ++i) {
      fresh.push_back(graph_.make());
      graph_.freeze(fresh.back(), std::string(reason));
    }
    out_ = std::move(fresh);
  }

  Channels take_out() { return std::move(out_); }

 private:
  const Operand& at(int operand) const { return operands_[static_cast<std::size_t>(operand)]; }
  void note(int channel, const void* owner, int axis, Index index, ChannelRole role) { graph_.add({channel, owner, axis, index, role}); }

  ChannelGraph& graph_;
  std::vector<Operand> operands_;
  Channels out_;
};

}  // namespace espalier
