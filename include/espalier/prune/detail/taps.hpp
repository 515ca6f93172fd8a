// SPDX-License-Identifier: Apache-2.0
// Runs a masked network on noise and notes what each channel depends on. What can change follows from the
// mask's bits and from what the ops say about their channels; the noise only shows the values of what
// cannot, and holds the ops to their word.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <espalier/op/batch_norm.hpp>
#include <espalier/op/conv2d.hpp>
#include <espalier/op/linear.hpp>
#include <espalier/prune/detail/dependence.hpp>

namespace espalier::detail {

template <Backend B>
struct Tapped {
  Tensor<B> value;
  Channels channels;
  std::vector<bool> varies;
  int site = 0;      // of the first channel
  int made_by = -1;  // a reading
  const Shape& shape() const { return value.shape(); }
};

// The context: computes as Eval does, and follows channels as Trace does.
template <Backend B>
class Taps {
 public:
  using Device = B;
  using Value = Tapped<B>;
  static constexpr bool computes = true;

  template <Module M>
  Taps(B& b, const M& net, const Mask& mask) : b_(b) {
    detail::for_each_listed(net, [&](const std::string& path, const auto& member) { found_.paths[&member] = path; });
    for_each_parameter(net, [&](const std::string& path, const auto& p) { found_.links[&p] = Links(path, p.outside_shape(), mask.find(path)); });
  }

  B& device() { return b_; }
  bool training() const { return false; }

  Value input(Tensor<B> x) {
    Value value = fresh(std::move(x));
    for (Index i = 0; i < value.shape().channels(); ++i) value.channels.push_back(found_.graph.make());
    value.varies.assign(value.channels.size(), true);
    return value;
  }
  void output(const Value& result) {
    use(result);
    need(result);
  }
  Dependence take() { return std::move(found_); }

  template <class O, class... Operands>
  Value apply(const O& op, const Operands&... operands) {
    Given given;
    (add(given, operands), ...);
    typename O::template Saved<B> unused{};
    Value y = fresh(op.forward(b_, given.in, unused));
    for (const Value* x : given.values)
      if (x != nullptr) use(*x);

    std::vector<ChannelFlow::Operand> global;
    for (int i = 0; i < given.in.size(); ++i) {
      const Value* x = given.values[static_cast<std::size_t>(i)];
      global.push_back({given.in[i].shape(), x == nullptr ? nullptr : &x->channels, given.parameters[static_cast<std::size_t>(i)]});
    }
    ChannelFlow flow(found_.graph, std::move(global));
    op.channels(flow);
    y.channels = flow.take_out();

    if constexpr (std::is_same_v<O, op::Linear>) {
      const Shape& x = given.in[0].shape();
      read_linearly(given, y, {.n = x[0], .h = x.rows() / x[0], .w = 1, .in = x.channels(), .out = y.shape().channels()}, op.activation);
      return y;
    } else if constexpr (std::is_same_v<O, op::Conv2d>) {
      if (!op.depthwise) {
        read_linearly(given, y, op.sizes(given.in[0].shape(), given.in[1].shape()), op.activation);
        return y;
      }
    } else if constexpr (std::is_same_v<O, op::BatchNorm<B>>) {
      ++found_.norm_uses[op.running_mean];
      if (const int maker = given.values[0]->made_by; maker >= 0) found_.readings[static_cast<std::size_t>(maker)].normed_by = op.running_mean;
    }
    follow(op, given, y);
    return y;
  }

 private:
  struct Given {
    Inputs<B> in;
    std::vector<const Value*> values;      // null where a parameter stands
    std::vector<const void*> parameters;   // null where a value stands
  };
  static void add(Given& given, const Value& x) {
    given.in.push(x.value);
    given.values.push_back(&x);
    given.parameters.push_back(nullptr);
  }
  static void add(Given& given, const Parameter<B>& p) {
    given.in.push(p.value);
    given.values.push_back(nullptr);
    given.parameters.push_back(&p);
  }
  template <class P> static void add(Given& given, const std::optional<P>& p) { if (p) add(given, *p); }
  template <class V> static void add(Given& given, const std::vector<V>& all) { for (const auto& v : all) add(given, v); }

  Value fresh(Tensor<B> tensor) {
    Value value{std::move(tensor), {}, {}, found_.sites, -1};
    found_.sites += static_cast<int>(value.shape().channels());
    return value;
  }
  void need(const Value& x) {
    for (std::size_t c = 0; c < x.channels.size(); ++c) found_.needed.push_back(x.site + static_cast<int>(c));
  }
  void use(const Value& x) {
    if (x.made_by >= 0) ++found_.readings[static_cast<std::size_t>(x.made_by)].uses;
  }

  // A layer whose rows are known: output k can change if a live weight of its row reads what can.
  void read_linearly(const Given& given, Value& y, const ConvShape& sizes, Activation activation) {
    const Value& x = *given.values[0];
    ChannelReading r{.weight = given.parameters[1], .linear = true, .sizes = sizes, .activated = activation != Activation::none};
    r.in = x.channels, r.out = y.channels;
    r.in_site = x.site, r.out_site = y.site;
    r.varies = x.varies;
    if (given.parameters.size() > 2) r.bias = given.parameters[2];
    tap(r, x);
    const Links& links = found_.links.at(r.weight);
    for (Index row = 0; row < links.rows(); ++row) {
      Index slice = 0;
      while (slice < links.slices() && !(links(row, slice) && r.varies[static_cast<std::size_t>(r.position(row, slice))])) ++slice;
      y.varies.push_back(slice < links.slices());
    }
    r.out_varies = y.varies;
    y.made_by = static_cast<int>(found_.readings.size());
    found_.steps.push_back({.reading = y.made_by});
    found_.readings.push_back(std::move(r));
  }

  // The values of the channels that cannot change. One that does change belies an op's statement, and varies.
  void tap(ChannelReading& r, const Value& x) {
    if (std::find(r.varies.begin(), r.varies.end(), false) == r.varies.end()) return;
    const auto host = x.value.to_host(b_);
    for (const auto v : host) r.scale = std::max(r.scale, std::abs(static_cast<double>(v)));
    const auto channels = r.in.size(), samples = static_cast<std::size_t>(x.shape()[0]), positions = host.size() / channels / samples;
    for (std::size_t c = 0; c < channels; ++c) {
      if (r.varies[c]) continue;
      std::vector<double> plane(positions);
      bool steady = std::isfinite(r.scale);
      for (std::size_t p = 0; p < positions; ++p) {
        plane[p] = static_cast<double>(host[p * channels + c]);
        for (std::size_t n = 1; n < samples; ++n)
          steady = steady && std::abs(static_cast<double>(host[(n * positions + p) * channels + c]) - plane[p]) <= constant_tolerance * r.scale;
      }
      if (steady) r.constants.emplace(static_cast<Index>(c), std::move(plane));
      else r.varies[c] = true;
    }
  }

  // Any other op, by its own statement, on a graph of its own: there, what the channels share elsewhere
  // does not blur what this op does with them.
  template <class O>
  void follow(const O& op, const Given& given, Value& y) {
    ChannelGraph local;
    std::vector<Channels> ids(given.values.size());
    std::vector<ChannelFlow::Operand> operands;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (given.values[i] != nullptr)
        for (std::size_t c = 0; c < given.values[i]->channels.size(); ++c) ids[i].push_back(local.make());
      operands.push_back({given.in[static_cast<int>(i)].shape(), given.values[i] == nullptr ? nullptr : &ids[i], given.parameters[i]});
    }
    ChannelFlow flow(local, std::move(operands));
    op.channels(flow);
    const Channels out = flow.take_out();
    const bool reads = note_readers(O::name, local, given, ids);

    const auto origins = origins_of(local, given, ids);
    const bool any_varies = std::any_of(given.values.begin(), given.values.end(), [](const Value* x) {
      return x != nullptr && std::find(x->varies.begin(), x->varies.end(), true) != x->varies.end();
    });
    const bool mixes = !local.frozen().empty();  // its channels, or what is no operand
    const auto fates = fates_of(local, out);
    ChannelStep step;
    bool writes = false;
    for (std::size_t o = 0; o < out.size(); ++o) {
      const auto origin = origins.find(local.find(out[o]));
      bool varies = mixes;
      if (fates[o].written) varies = varies || (!fates[o].dead && any_varies);
      else if (origin == origins.end()) varies = varies || !fates[o].zero;
      if (origin != origins.end())
        for (const Origin& from : origin->second) {
          if (fates[o].cut && from.operand == scaled<O>(origin->second)) continue;
          varies = varies || from.varies;
          step.carries.emplace_back(from.site, y.site + static_cast<int>(o));
        }
      y.varies.push_back(varies);
      writes = writes || fates[o].written;
    }
    found_.steps.push_back(std::move(step));
    if (mixes || (writes && !reads))
      for (const Value* x : given.values)
        if (x != nullptr) need(*x);
  }

  // Where a channel of a result comes from.
  struct Origin {
    int operand;
    int site;
    bool varies;
  };
  static std::map<int, std::vector<Origin>> origins_of(const ChannelGraph& local, const Given& given, const std::vector<Channels>& ids) {
    std::map<int, std::vector<Origin>> origins;  // by representative
    for (std::size_t i = 0; i < ids.size(); ++i)
      for (std::size_t c = 0; c < ids[i].size(); ++c)
        origins[local.find(ids[i][c])].push_back({static_cast<int>(i), given.values[i]->site + static_cast<int>(c), given.values[i]->varies[c]});
    return origins;
  }
  // Which operand a filter or scale multiplies: the first of a batch norm, whose residual is added; else the only one.
  template <class O>
  static int scaled(const std::vector<Origin>& origins) {
    if constexpr (std::is_same_v<O, op::BatchNorm<B>>) return 0;
    else return std::all_of(origins.begin(), origins.end(), [&](const Origin& o) { return o.operand == origins.front().operand; }) ? origins.front().operand : -1;
  }

  // What parameters do to a channel of a result.
  struct Fate {
    bool written = false, dead = false;  // by a row that may be dead
    bool cut = false;                    // its filter or scale is dead
    bool zero = false;                   // it is new and holds zeros, if it has no origin
  };
  std::vector<Fate> fates_of(const ChannelGraph& local, const Channels& out) const {
    std::vector<Fate> fates(out.size());
    std::vector<bool> zeros(static_cast<std::size_t>(local.channel_count()));
    for (const auto& m : local.members()) {
      if (m.role == ChannelRole::statistic) zeros[static_cast<std::size_t>(m.channel)] = true;  // ChannelFlow::zeros
      const auto at = static_cast<std::size_t>(m.index);
      if (at >= out.size() || out[at] != m.channel) continue;
      if (m.role == ChannelRole::producer) fates[at].written = true, fates[at].dead = !found_.links.at(m.owner).row(m.index);
      if (m.role == ChannelRole::filter || m.role == ChannelRole::scale) fates[at].cut = fates[at].cut || !found_.links.at(m.owner).row(m.index);
    }
    for (std::size_t o = 0; o < out.size(); ++o) fates[o].zero = zeros[static_cast<std::size_t>(out[o])];
    return fates;
  }

  // Readers in ops of which only the channels are known: no fold can be right for them, but zero can go.
  bool note_readers(std::string_view name, const ChannelGraph& local, const Given& given, const std::vector<Channels>& ids) {
    struct Reads {
      const void* weight = nullptr;
      std::map<int, bool> live{};  // by representative
    };
    std::map<std::string, Reads> reads;  // by path, so that the order is the same in every run
    for (const auto& m : local.members()) {
      if (m.role != ChannelRole::reader) continue;
      const Links& links = found_.links.at(m.owner);
      Reads& of_weight = reads[links.path()];
      of_weight.weight = m.owner;
      bool& live = of_weight.live[local.find(m.channel)];
      for (Index row = 0; row < links.rows() && !live; ++row) live = links(row, m.index);
    }
    for (const auto& entry : reads)
      for (std::size_t i = 0; i < ids.size(); ++i) {
        if (given.values[i] == nullptr) continue;
        const Value& x = *given.values[i];
        ChannelReading r{.weight = entry.second.weight, .op = std::string(name), .in = x.channels, .in_site = x.site, .varies = x.varies};
        for (const int id : ids[i]) {
          const auto found = entry.second.live.find(local.find(id));
          r.read.push_back(found != entry.second.live.end() && found->second);
        }
        tap(r, x);
        found_.steps.push_back({.reading = static_cast<int>(found_.readings.size())});
        found_.readings.push_back(std::move(r));
      }
    return !reads.empty();
  }

  B& b_;
  Dependence found_;
};

}  // namespace espalier::detail
