// SPDX-License-Identifier: Apache-2.0
// What a mask of single weights lets go for real: channels that nobody reads any more, and channels that
// nothing writes any more, which are constants. They are found through the channel groups, folded into
// biases, and shrunk away.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include <espalier/prune/detail/dead_set.hpp>
#include <espalier/prune/detail/taps.hpp>
#include <espalier/prune/planning.hpp>

namespace espalier {

/// The dead channels of one group; all lists ascend.
struct DeadGroup {
  /// Dead channels that stay, and why.
  struct Kept {
    std::string because;
    std::vector<Index> channels{};
    bool operator==(const Kept&) const = default;
  };
  std::string name{};  // of the ChannelGroup
  Index channels = 0;  // before
  std::vector<Index> unread{};    // go: whoever reads them through a live weight does not count
  std::vector<Index> zero{};      // go: they are exactly 0 wherever they are read
  std::vector<Index> constant{};  // go: their values are folded into what reads them
  std::vector<Kept> kept{};
  bool operator==(const DeadGroup&) const = default;
};

/// What the constants of removed channels add to a bias or, negative, to a batch norm's running mean.
struct Fold {
  std::string path;
  std::vector<double> add{};  // one number an output, of the layer as it is before it is shrunk
  bool operator==(const Fold&) const = default;
};

/// Which channels of a masked network can go, as a value. The plan removes them; the folds make up for
/// what they contributed.
struct DeadChannels {
  Plan plan;
  std::vector<DeadGroup> groups;  // as plan.groups
  std::vector<Fold> folds;
  bool operator==(const DeadChannels&) const = default;
};

/// One line a group that changes or could not, and a line of sums.
inline void append(std::string& out, const DeadChannels& found) {
  const auto several = [](std::size_t n, const char* what) { return n == 0 ? std::string{} : str(", ", n, ' ', what); };
  out += str("dead channels: ", found.plan.removed(), " go, ", found.plan.parameters_before, " -> ", found.plan.parameters_after, " parameters, ",
             found.plan.multiply_adds_before, " -> ", found.plan.multiply_adds_after, " multiply-adds\n");
  for (std::size_t g = 0; g < found.groups.size(); ++g) {
    const DeadGroup& group = found.groups[g];
    const PlannedGroup& planned = found.plan.groups[g];
    if (planned.remove.empty() && group.kept.empty()) continue;
    out += str("  ", group.name, ": ", group.channels, " -> ", planned.keep());
    out += several(group.unread.size(), "unread") + several(group.zero.size(), "zero") + several(group.constant.size(), "constant");
    for (const auto& kept : group.kept) out += str("; ", kept.channels.size(), kept.channels.size() == 1 ? " stays: " : " stay: ", kept.because);
    out += '\n';
  }
  for (const Fold& fold : found.folds) out += str("  constants go into ", fold.path, '\n');
}
inline std::ostream& operator<<(std::ostream& to, const DeadChannels& found) { return to << str(found); }

namespace detail {

// Two different images of noise, and what the network does with their channels.
template <Backend B, Module M>
Dependence dependence(B& b, const M& masked, const Shape& input, const Mask& mask) {
  const Shape two = input.with(0, 2);
  std::vector<typename B::Scalar> noise(static_cast<std::size_t>(two.count()));
  Rng rng(0);
  for (auto& v : noise) v = static_cast<typename B::Scalar>(rng.normal());
  Taps<B> taps(b, masked, mask);
  taps.output(M::forward(masked, taps, taps.input(Tensor<B>::from(b, two, noise))));
  return taps.take();
}

template <Backend B, Module M>
DeadChannels find_dead(B& b, const M& masked, const Shape& input, const Mask& mask) {
  const ChannelGroups all = channel_groups(b, masked, input);
  const DeadSet dead(dependence(b, masked, input, mask), all);
  DeadChannels found;
  found.plan.input = input;
  found.plan.policy = str("dead channels of a mask with ", mask.survivors(), " of ", mask.weights(), " weights alive");
  for (std::size_t g = 0; g < all.groups.size(); ++g) {
    DeadGroup group{.name = all.groups[g].name, .channels = all.groups[g].channels};
    std::vector<Index> remove;
    for (Index c = 0; c < group.channels; ++c) {
      if (!dead.goes(g, c)) {
        const std::string because = dead.stays_because(g, c);
        if (because.empty()) continue;  // it is alive, or frozen
        auto kept = std::find_if(group.kept.begin(), group.kept.end(), [&](const auto& k) { return k.because == because; });
        if (kept == group.kept.end()) kept = group.kept.insert(kept, {.because = because});
        kept->channels.push_back(c);
        continue;
      }
      remove.push_back(c);
      const Death death = dead.death(g, c);
      (death == Death::unread ? group.unread : death == Death::zero ? group.zero : group.constant).push_back(c);
    }
    std::string kept_because = all.groups[g].frozen_because;
    if (kept_because.empty() && remove.empty()) kept_because = group.kept.empty() ? "all of its channels are alive" : group.kept.front().because;
    found.plan.groups.push_back(planned(all.groups[g], std::move(remove), std::move(kept_because)));
    found.groups.push_back(std::move(group));
  }
  for (auto& [path, add] : dead.folds()) found.folds.push_back({.path = path, .add = std::move(add)});

  const NetworkCost before = cost<B>(masked, input), after = cost<B>(shrink(b, masked, found.plan), input);
  found.plan.parameters_before = before.parameters, found.plan.parameters_after = after.parameters;
  found.plan.multiply_adds_before = before.multiply_adds, found.plan.multiply_adds_after = after.multiply_adds;
  return found;
}

}  // namespace detail

/// Finds the channels of the masked network that can go without changing what it computes in evaluation
/// mode. Nothing is touched. `input` is the shape of one input, batch 1.
///
/// A channel goes if every output that counts for the result, and reads it through a live weight, reads a
/// constant there, and has a bias (or a batch norm behind it) to take that constant. That covers channels that
/// nobody reads, and is closed both ways: who goes no longer reads, and who reads only constants is one.
/// The network's inputs and outputs stay, and at least one channel of each group.
///
/// What cannot change follows from the mask's bits alone; its values are read off a run on noise.
/// Throws StaleState if the mask does not fit the network.
template <Backend B, Module M>
DeadChannels find_dead_channels(B& b, const M& net, const Shape& input, const Mask& mask) {
  return detail::find_dead(b, espalier::mask(b, net, mask), input, mask);
}

/// A copy of the masked network whose biases and running means hold the folded constants: what is ready for
/// mask(b, net, plan) or shrink(b, net, plan), and for nothing else, since its constants now count twice.
/// Throws PlanError if the folds do not fit the network.
template <Backend B, Module M>
M fold_constants(B& b, const M& masked, const DeadChannels& found) {
  M folded = masked;
  std::size_t done = 0;
  detail::for_each_listed(folded, [&](const std::string& path, auto& member) {
    if constexpr (requires { member.init; }) {
      const auto fold = std::find_if(found.folds.begin(), found.folds.end(), [&](const Fold& f) { return f.path == path; });
      if (fold == found.folds.end()) return;
      HostTensor host = to_host(b, member);
      if (host.values.size() != fold->add.size())
        throw PlanError(str("constants for '", path, "': found ", fold->add.size(), " of them, needed ", host.values.size(),
                            "; fold into the network that they were found in"));
      for (std::size_t i = 0; i < host.values.size(); ++i) host.values[i] = static_cast<float>(static_cast<double>(host.values[i]) + fold->add[i]);
      member.value = from_host(b, host, Layout::plain);
      if constexpr (requires { member.has_gradient; }) member.has_gradient = false;
      ++done;
    }
  });
  if (done != found.folds.size())
    throw PlanError(str("constants for ", found.folds.size(), " biases and running means: found ", done,
                        " of them in the network, needed all; fold into the network that they were found in"));
  return folded;
}

/// The mask of shrink(b, net, plan): the bits of what survives of the mask of `net`.
/// Throws StaleState if the mask does not fit the network, PlanError if the plan does not.
template <Backend B, Module M>
Mask shrink_mask(const M& net, const Mask& mask, const Plan& plan) {
  check_fits(mask, net);
  const auto dead = detail::slices_of<B>(net, plan, [](ChannelRole) { return true; });
  std::vector<MaskPart> parts;
  for (const MaskPart& part : mask.parts()) {
    const auto bits = part.unpacked();
    HostTensor kept{part.shape, std::vector<float>(bits.begin(), bits.end())};
    if (const auto found = dead.of.find(part.path); found != dead.of.end())
      for (const auto& [axis, removed] : found->second) kept = detail::without(kept, axis, removed);
    parts.push_back(MaskPart::ones(part.path, kept.shape));
    for (std::size_t i = 0; i < kept.values.size(); ++i)
      if (kept.values[i] == 0) parts.back().kill(static_cast<Index>(i));
  }
  return Mask(std::move(parts));
}

/// A masked network without its dead channels: what is left, of the same type, and the mask of what is left.
template <class M>
struct WithoutDead {
  M net;
  Mask mask;
  DeadChannels found;
};

/// Removes the dead channels of the masked network. In evaluation mode the result computes what
/// mask(b, net, mask) does, up to rounding; the weights that survive keep their bits, biases and running means
/// apart. Removing again removes nothing more.
///
/// In training mode that holds where all that goes is `unread`, gradients and training steps included, but for a dropout
/// behind a layer that is cut, which draws by position (prune/structured_ticket.hpp has more). Without a
/// constant the forward pass is the same only if it met no batch norm, whose batch statistics of a constant
/// are not the running ones; and the bias that made it no longer learns.
/// Throws StaleState if the mask does not fit the network.
template <Backend B, Module M>
WithoutDead<M> remove_dead(B& b, const M& net, const Shape& input, const Mask& mask) {
  const M masked = espalier::mask(b, net, mask);
  DeadChannels found = detail::find_dead(b, masked, input, mask);
  M slim = shrink(b, fold_constants(b, masked, found), found.plan);
  Mask rest = shrink_mask<B>(net, mask, found.plan);
  return {std::move(slim), std::move(rest), std::move(found)};
}

}  // namespace espalier
