// SPDX-License-Identifier: Apache-2.0
// Small networks written down in place: named layers, and a generic lambda that wires them. All sketches of
// a file are of one type, because a compiler takes seconds for each type of network that is planned, shrunk or trained.
#pragma once

#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include <espalier/backend/reference.hpp>
#include <espalier/nn/layers.hpp>
#include <espalier/nn/run.hpp>
#include <espalier/op/add.hpp>
#include <espalier/op/flatten.hpp>
#include <espalier/op/gelu.hpp>
#include <espalier/op/pool.hpp>

namespace espalier::test {

/// using Sketch = SketchOn<Trace<Reference>, Eval<Reference>>;  // the contexts that the file runs its networks on
/// Sketch net{[](auto& run, const auto& x) { return run("head", run("conv1", x)); }}; net.conv("conv1", 3, 8); ...
template <class... Contexts>
struct SketchOn {
  using R = Reference;
  template <class Layer>
  struct Named {
    std::string name;
    Layer layer;
  };

  std::vector<Named<Conv2d<R>>> convs{};
  std::vector<Named<BatchNorm<R>>> norms{};
  std::vector<Named<Linear<R>>> linears{};

  template <class F>
  explicit SketchOn(F wiring) : wiring_(std::make_shared<F>(std::move(wiring))), ways_{call<F, Contexts>...} {}

  SketchOn& conv(const std::string& name, Index in, Index out, ConvOptions o = {.kernel = 1, .pad = 0}) {
    Rng rng = Rng(7).split(name);
    R r;
    convs.push_back({name, Conv2d<R>(r, in, out, o, rng)});
    return *this;
  }
  SketchOn& norm(const std::string& name, Index channels) {
    R r;
    norms.push_back({name, BatchNorm<R>(r, channels)});
    return *this;
  }
  SketchOn& linear(const std::string& name, Index in, Index out, LinearOptions o = {}) {
    Rng rng = Rng(7).split(name);
    R r;
    linears.push_back({name, Linear<R>(r, in, out, o, rng)});
    return *this;
  }

  // Runs a layer by its name, or applies an op.
  template <class Context>
  struct Run {
    using Value = typename Context::Value;
    using Self = std::conditional_t<std::is_same_v<Context, Tape<R>>, SketchOn, const SketchOn>;  // who learns changes
    Self& self;
    Context& ctx;

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
    Run<Context> run{self, ctx};
    return std::get<Way<Context>>(self.ways_)(self.wiring_.get(), run, x);
  }

 private:
  // The lambda on one context, its type forgotten.
  template <class Context>
  using Way = typename Context::Value (*)(const void*, Run<Context>&, const typename Context::Value&);
  template <class F, class Context>
  static typename Context::Value call(const void* wiring, Run<Context>& run, const typename Context::Value& x) {
    return (*static_cast<const F*>(wiring))(run, x);
  }

  std::shared_ptr<const void> wiring_;
  std::tuple<Way<Contexts>...> ways_;
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
