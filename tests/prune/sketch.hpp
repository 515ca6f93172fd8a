// SPDX-License-Identifier: Apache-2.0
// Small networks written down in place: named layers, and a generic lambda that wires them.
#pragma once

#include <string>
#include <vector>

#include <espalier/backend/reference.hpp>
#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/op/add.hpp>
#include <espalier/op/flatten.hpp>
#include <espalier/op/gelu.hpp>
#include <espalier/op/pool.hpp>

namespace espalier::test {

/// Sketch net{[](auto& run, const auto& x) { return run("head", run("conv1", x)); }}; net.conv("conv1", 3, 8); ...
template <class Wiring>
struct Sketch {
  using R = Reference;
  template <class Layer>
  struct Named {
    std::string name;
    Layer layer;
  };

  std::vector<Named<Conv2d<R>>> convs{};
  std::vector<Named<BatchNorm<R>>> norms{};
  std::vector<Named<Linear<R>>> linears{};
  Wiring wiring;

  explicit Sketch(Wiring w) : wiring(w) {}

  Sketch& conv(const std::string& name, Index in, Index out, ConvOptions o = {.kernel = 1, .pad = 0}) {
    Rng rng = Rng(7).split(name);
    R r;
    convs.push_back({name, Conv2d<R>(r, in, out, o, rng)});
    return *this;
  }
  Sketch& norm(const std::string& name, Index channels) {
    R r;
    norms.push_back({name, BatchNorm<R>(r, channels)});
    return *this;
  }
  Sketch& linear(const std::string& name, Index in, Index out, LinearOptions o = {}) {
    Rng rng = Rng(7).split(name);
    R r;
    linears.push_back({name, Linear<R>(r, in, out, o, rng)});
    return *this;
  }

  // Runs a layer by its name, or applies an op.
  template <class Self, class Context>
  struct Run {
    Self& self;
    Context& ctx;
    using Value = typename Context::Value;

    Value operator()(const std::string& name, const Value& x) {
      for (auto& c : self.convs)
        if (c.name == name) return espalier::forward(ctx, c.layer, x);
      for (auto& n : self.norms)
        if (n.name == name) return espalier::forward(ctx, n.layer, x);
      for (auto& l : self.linears)
        if (l.name == name) return espalier::forward(ctx, l.layer, x);
      throw Error("the sketch has no layer '" + name + "'");
    }
    template <class O, class... Operands>
    Value apply(const O& op, const Operands&... operands) {
      return ctx.apply(op, operands...);
    }
    /// For ops that are given its parameters by hand.
    auto& linear(const std::string& name) {
      for (auto& l : self.linears)
        if (l.name == name) return l.layer;
      throw Error("the sketch has no linear layer '" + name + "'");
    }
    /// A batch norm with a residual.
    Value sum(const std::string& name, const Value& x, const Value& residual) {
      for (auto& n : self.norms)
        if (n.name == name) return BatchNorm<R>::forward_add(n.layer, ctx, x, residual, Activation::none);
      throw Error("the sketch has no norm '" + name + "'");
    }
    Value relu(const Value& x) { return ctx.apply(op::Relu{}, x); }
    Value add(const Value& a, const Value& b) { return ctx.apply(op::Add{}, a, b); }
    template <class... Values>
    Value concat(const Values&... values) {
      return ctx.apply(op::Concat{}, values...);
    }
    Value flatten(const Value& x) { return ctx.apply(op::Flatten{}, x); }
    Value average(const Value& x) { return ctx.apply(op::GlobalAvgPool{}, x); }
  };

  template <class Self, class Visit>
  static void members(Self& self, Visit&& visit) {
    for (auto& c : self.convs) visit(c.name.c_str(), c.layer);
    for (auto& n : self.norms) visit(n.name.c_str(), n.layer);
    for (auto& l : self.linears) visit(l.name.c_str(), l.layer);
  }
  template <class Self, class Context>
  static typename Context::Value forward(Self& self, Context& ctx, const typename Context::Value& x) {
    Run<Self, Context> run{self, ctx};
    return self.wiring(run, x);
  }
};

/// Sets a parameter, given as the outside world sees it.
template <class Net>
void set(Net& net, const std::string& path, const std::vector<float>& values) {
  Reference r;
  bool found = false;
  for_each_parameter(net, [&](const std::string& name, auto& p) {
    if (name != path) return;
    found = true;
    p.value = from_host(r, HostTensor{p.outside_shape(), values}, p.layout);
  });
  if (!found) throw Error("no parameter '" + path + "'");
}

/// A parameter or buffer, as the outside world sees it.
template <class Net>
HostTensor get(const Net& net, const std::string& path) {
  Reference r;
  HostTensor host;
  for_each_member(net, [&](const std::string& name, const auto& member) {
    if constexpr (requires { to_host(r, member); })
      if (name == path) host = to_host(r, member);
  });
  return host;
}

}  // namespace espalier::test
