// SPDX-License-Identifier: Apache-2.0
// Which coupled channels of a masked network can go: the largest set such that whatever counts for the
// network's result, and stays, reads of it nothing, or constants that its bias can take.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <espalier/prune/channel_groups.hpp>
#include <espalier/prune/detail/contribution.hpp>
#include <espalier/prune/detail/dependence.hpp>

namespace espalier::detail {

// Where a weight's constants can go.
struct Sink {
  std::string path{};     // of a bias, or of a running mean; empty if nowhere
  double sign = 1;        // a running mean is subtracted
  std::string because{};  // why nowhere
};

// How dead a channel is that can go.
enum class Death { unread, zero, constant };

class DeadSet {
 public:
  /// `all` are the groups of the masked network, whose weights' dead ones are zero.
  DeadSet(Dependence found, const ChannelGroups& all) : d_(std::move(found)), all_(all) {
    d_.graph = tied_by_slices(std::move(d_.graph));
    reads_.resize(static_cast<std::size_t>(d_.graph.channel_count()));
    for (std::size_t r = 0; r < d_.readings.size(); ++r) {
      ChannelReading& reading = d_.readings[r];
      for (int& id : reading.in) id = d_.graph.find(id);
      for (int& id : reading.out) id = d_.graph.find(id);
      for (std::size_t c = 0; c < reading.in.size(); ++c)
        reads_[static_cast<std::size_t>(reading.in[c])].push_back({static_cast<int>(r), static_cast<Index>(c)});
      uses_[reading.weight].push_back(static_cast<int>(r));
    }
    find_sinks();
    find_channels();
    counts_.resize(static_cast<std::size_t>(d_.sites));
    for (const int site : d_.needed) counts_[static_cast<std::size_t>(site)] = true;
    bring_back();
    keep_one_a_group();
  }

  /// By group and channel: whether it goes, how dead it is, and why it stays although it is dead (or empty).
  bool goes(std::size_t group, Index channel) const { return gone_[at(group, channel)] && spared_[group] != channel; }
  Death death(std::size_t group, Index channel) const {
    Death death = Death::unread;
    for (const auto& read : reads_[at(group, channel)])
      for_each_live_row(read, [&](Index row) {
        const ChannelReading& r = reading(read);
        const bool zero = !r.linear || contribution(r.weight, row, read.position % r.slices()).value == 0;
        death = std::max(death, zero ? Death::zero : Death::constant);
        return true;
      });
    return death;
  }
  std::string stays_because(std::size_t group, Index channel) const {
    if (!all_.groups[group].frozen_because.empty() || goes(group, channel)) return {};
    const auto why = need(at(group, channel));
    if (spared_[group] == channel || !why) return "the last of its group";
    return why->empty() ? other_writer(static_cast<int>(at(group, channel))) : *why;
  }

  /// What goes into biases and running means: path -> one number an output, before anything is cut.
  std::map<std::string, std::vector<double>> folds() const {
    std::map<std::string, std::vector<double>> folds;
    for (const auto& entry : uses_) {
      const ChannelReading& r = d_.readings[static_cast<std::size_t>(entry.second.front())];
      const Sink& sink = sinks_.at(r.weight);
      if (!r.linear || sink.path.empty()) continue;
      const Links& links = d_.links.at(r.weight);
      std::vector<double> add(r.out.size());
      for (Index row = 0; row < links.rows(); ++row) {
        if (!row_counts(entry.second, row)) continue;
        for (Index slice = 0; slice < links.slices(); ++slice)
          if (links(row, slice) && gone_[static_cast<std::size_t>(r.in[static_cast<std::size_t>(r.position(row, slice))])])
            add[static_cast<std::size_t>(row)] += sink.sign * contribution(r.weight, row, slice).value;
      }
      if (std::any_of(add.begin(), add.end(), [](double v) { return v != 0; })) folds.emplace(sink.path, std::move(add));
    }
    return folds;
  }

 private:
  struct Read {
    int reading;
    Index position;  // in ChannelReading::in
  };

  const ChannelReading& reading(const Read& read) const { return d_.readings[static_cast<std::size_t>(read.reading)]; }
  std::size_t at(std::size_t group, Index channel) const { return static_cast<std::size_t>(channels_[group][static_cast<std::size_t>(channel)]); }
  std::string layer(const void* weight) const { return str('\'', layer_of(d_.paths.at(weight)), '\''); }
  bool row_counts(const ChannelReading& r, Index row) const { return counts_[static_cast<std::size_t>(r.out_site + static_cast<int>(row))]; }
  bool row_counts(const std::vector<int>& readings, Index row) const {
    return std::any_of(readings.begin(), readings.end(), [&](int r) { return row_counts(d_.readings[static_cast<std::size_t>(r)], row); });
  }

  // f(row) for the outputs that count and read this through a live weight, until f says false. An op whose
  // rows are not known counts as one row.
  template <class F>
  bool for_each_live_row(const Read& read, F f) const {
    const ChannelReading& r = reading(read);
    if (!r.linear) return !r.read[static_cast<std::size_t>(read.position)] || f(0);
    const Links& links = d_.links.at(r.weight);
    const Index first = read.position / r.slices() * r.rows();
    for (Index row = first; row < first + r.rows(); ++row)
      if (row_counts(r, row) && links(row, read.position % r.slices()) && !f(row)) return false;
    return true;
  }

  Contribution contribution(const void* weight, Index row, Index slice) const {
    return detail::contribution(all_.values.at(d_.paths.at(weight)), d_.readings, uses_.at(weight), row, slice);
  }

  void find_sinks() {
    std::map<const void*, std::vector<const void*>> weights_of;  // by bias
    for (const auto& r : d_.readings)
      if (r.bias != nullptr) weights_of[r.bias].push_back(r.weight);
    for (const auto& entry : uses_) {
      const void* const weight = entry.first;
      const std::vector<int>& readings = entry.second;
      Sink& sink = sinks_[weight];
      const ChannelReading& first = d_.readings[static_cast<std::size_t>(readings.front())];
      const auto all = [&](auto holds) {
        return std::all_of(readings.begin(), readings.end(), [&](int r) { return holds(d_.readings[static_cast<std::size_t>(r)]); });
      };
      if (first.bias != nullptr) {
        const auto& sharers = weights_of.at(first.bias);
        const bool own = std::all_of(sharers.begin(), sharers.end(), [&](const void* other) { return other == weight; });
        if (own && all([&](const ChannelReading& r) { return r.bias == first.bias; })) sink.path = d_.paths.at(first.bias);
        else sink.because = str(layer(weight), " shares its bias, which cannot take a constant of one layer");
      } else if (first.normed_by != nullptr && d_.norm_uses.at(first.normed_by) == static_cast<int>(readings.size()) &&
                 all([&](const ChannelReading& r) { return r.bias == nullptr && r.normed_by == first.normed_by && r.uses == 1 && !r.activated; })) {
        sink = {.path = d_.paths.at(first.normed_by), .sign = -1};
      } else {
        sink.because = str(layer(weight), " has no bias that could take the constant, nor a batch norm of its own");
      }
    }
  }

  // Of each group's channels, the representative in the graph. At first all go that may.
  void find_channels() {
    std::map<std::pair<std::string, Index>, int> written;
    for (const auto& m : d_.graph.members())
      if (m.role == ChannelRole::producer) written[{d_.paths.at(m.owner), m.index}] = d_.graph.find(m.channel);
    gone_.resize(reads_.size());
    for (const auto& group : all_.groups) {
      const auto part = std::find_if(group.parts.begin(), group.parts.end(), [](const ChannelPart& p) { return p.role == ChannelRole::producer; });
      auto& channels = channels_.emplace_back();
      for (const auto& slices : part->slices) {
        channels.push_back(written.at({part->path, slices.front()}));
        gone_[static_cast<std::size_t>(channels.back())] = group.frozen_because.empty();
      }
    }
    spared_.assign(all_.groups.size(), -1);
  }

  // Backwards through the network, until nothing changes: what counts leads to what it comes from, and
  // brings back the channels that it cannot do without.
  void bring_back() {
    for (bool changes = true; changes;) {
      changes = false;
      for (auto step = d_.steps.rbegin(); step != d_.steps.rend(); ++step) {
        for (const auto& [from, to] : step->carries)
          if (counts_[static_cast<std::size_t>(to)]) counts_[static_cast<std::size_t>(from)] = true;
        if (step->reading < 0) continue;
        const ChannelReading& r = d_.readings[static_cast<std::size_t>(step->reading)];
        for (std::size_t c = 0; c < r.in.size(); ++c) {
          const auto channel = static_cast<std::size_t>(r.in[c]), site = static_cast<std::size_t>(r.in_site) + c;
          if (counts_[site] && !gone_[channel]) continue;
          const bool serves = for_each_live_row({step->reading, static_cast<Index>(c)}, [&](Index row) {
            if (!gone_[channel]) return false;
            return !r.varies[c] && not_foldable(r, static_cast<Index>(c), row).empty();
          });
          if (serves) continue;
          changes = changes || gone_[channel];
          gone_[channel] = false;
          counts_[site] = true;
        }
      }
    }
  }

  // What keeps a channel: nothing; "", a reader of what varies; or the first fold that cannot be, in words.
  std::optional<std::string> need(std::size_t channel) const {
    std::optional<std::string> need;
    for (const Read& read : reads_[channel]) {
      const bool constant = for_each_live_row(read, [&](Index row) {
        if (reading(read).varies[static_cast<std::size_t>(read.position)]) return false;
        const std::string because = not_foldable(reading(read), read.position, row);
        if (!because.empty() && !need) need = because;
        return true;
      });
      if (!constant) return "";
    }
    return need;
  }

  std::string not_foldable(const ChannelReading& r, Index position, Index row) const {
    if (!r.linear) {
      const auto& plane = r.constants.at(position);
      if (std::all_of(plane.begin(), plane.end(), [](double v) { return v == 0; })) return {};
      return str(layer(r.weight), " reads its constant through '", r.op, "', which is not known to be linear");
    }
    const Contribution c = contribution(r.weight, row, position % r.slices());
    const auto times = uses_.at(r.weight).size();
    if (!c.uniform && times > 1) return str(layer(r.weight), " is applied ", times, " times and does not read the same constant each time");
    if (!c.uniform && !c.flat) return str("its constant is not the same at all the positions that ", layer(r.weight), " reads");
    if (!c.uniform) return str(layer(r.weight), " pads with zeros, so at the border it reads another value than its constant");
    if (c.value == 0) return {};
    if (r.bias != nullptr && !d_.links.at(r.bias).row(row)) return str("the bias of ", layer(r.weight), " that should take the constant is dead in the mask");
    return sinks_.at(r.weight).because;
  }

  // Of a group that would vanish, a channel that nobody reads stays behind, whatever it computes. If all are
  // read, the first constant comes back, with what it needs.
  void keep_one_a_group() {
    for (bool changes = true; changes;) {
      changes = false;
      for (std::size_t g = 0; g < channels_.size(); ++g) {
        spared_[g] = -1;
        if (!std::all_of(channels_[g].begin(), channels_[g].end(), [&](int channel) { return gone_[static_cast<std::size_t>(channel)]; })) continue;
        for (Index c = 0; c < static_cast<Index>(channels_[g].size()) && spared_[g] < 0; ++c)
          if (death(g, c) == Death::unread) spared_[g] = c;
        if (spared_[g] >= 0) continue;
        gone_[at(g, 0)] = false;
        bring_back();
        changes = true;
      }
    }
  }

  // Of a channel with several writers, some of which write a constant: who still writes it.
  std::string other_writer(int channel) const {
    const void* writer = nullptr;
    bool dead = false, several = false;
    for (const auto& r : d_.readings)
      for (std::size_t row = 0; row < r.out.size(); ++row) {
        if (r.out[row] != channel) continue;
        if (!r.out_varies[row]) dead = true;
        else several = several || (writer != nullptr && writer != r.weight), writer = r.weight;
      }
    if (!dead || writer == nullptr) return {};
    return several ? "other layers still write it" : str(layer(writer), " still writes it");
  }

  Dependence d_;
  const ChannelGroups& all_;
  std::vector<std::vector<Read>> reads_;          // by representative
  std::map<const void*, std::vector<int>> uses_;  // readings by weight
  std::map<const void*, Sink> sinks_;             // by weight
  std::vector<std::vector<int>> channels_;        // by group: representatives
  std::vector<bool> gone_;                        // by representative
  std::vector<bool> counts_;                      // by site: whether the network's result depends on it, as far as is known
  std::vector<Index> spared_;                     // by group: a gone channel that stays behind, or -1
};

}  // namespace espalier::detail
