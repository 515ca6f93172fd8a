// SPDX-License-Identifier: Apache-2.0
// What a module is: a plain struct that lists its members by name, once. Parameters, saving, masks,
// reports and shrinking walk that list; the names joined by dots are PyTorch's.
#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include <espalier/autograd/parameter.hpp>

namespace espalier {

namespace detail {

// A name, because nvcc refuses a lambda inside a concept.
struct VisitsNothing {
  template <class T>
  void operator()(const char*, T&) const {}
};

}  // namespace detail

/// A Module names its members and runs on any context.
///
/// Write
///   template <class Self, class Visit> static void members(Self& self, Visit&& visit)
///     { visit("weight", self.weight); visit("conv", self.conv); ... }
///   members may be Parameters, Buffers, Extents, Modules, and optionals, variants and vectors of them
///   (elements are named 0, 1, ...; an empty name adds nothing to the path).
///   template <class Self, class Context> static auto forward(Self& self, Context&, const typename Context::Value& x)
/// Laws  copying a module copies its parameters; a const module learns nothing and keeps its running statistics.
template <class M>
concept Module = std::is_class_v<M> && requires(M& m) { M::members(m, detail::VisitsNothing{}); };

namespace detail {

template <class T> inline constexpr bool is_parameter = false;
template <Backend B> inline constexpr bool is_parameter<Parameter<B>> = true;
template <class T> inline constexpr bool is_buffer = false;
template <Backend B> inline constexpr bool is_buffer<Buffer<B>> = true;

inline std::string joined(const std::string& path, const char* name) {
  return path.empty() ? name : *name == '\0' ? path : path + '.' + name;
}
// A walk that needs no names builds none.
struct NoPath {};
inline NoPath joined(NoPath, const char*) { return {}; }

template <class T, class Path, class F>
void walk(T& member, const Path& path, F& f) {
  using Bare = std::remove_const_t<T>;
  if constexpr (is_parameter<Bare> || is_buffer<Bare> || std::is_same_v<Bare, Extent>) {
    f(path, member);
  } else if constexpr (Module<Bare>) {
    Bare::members(member, [&](const char* name, auto& part) { walk(part, joined(path, name), f); });
  } else if constexpr (requires { member.has_value(); }) {
    if (member) walk(*member, path, f);
  } else if constexpr (requires { member.valueless_by_exception(); }) {
    std::visit([&](auto& active) { walk(active, path, f); }, member);
  } else if constexpr (requires { member.begin(); }) {
    std::size_t i = 0;
    for (auto& element : member) walk(element, joined(path, std::to_string(i++).c_str()), f);
  } else {
    static_assert(Module<Bare>, "a member visited here must be a Parameter, Buffer, Extent or Module, or an optional, variant or vector of them");
  }
}

// The backend of a module that is a template over it alone, as all of ours are.
template <class M> struct BackendOf {};
template <template <Backend> class M, Backend B> struct BackendOf<M<B>> { using type = B; };

// One of a module's members: exactly one pointer is set.
template <Backend B, bool is_const>
struct MemberEntry {
  template <class T> using To = std::conditional_t<is_const, const T*, T*>;
  std::string path;
  To<Parameter<B>> parameter = nullptr;
  To<espalier::Buffer<B>> buffer = nullptr;
  To<Extent> extent = nullptr;
};

// Walking costs a compiler much for each new f, so the library walks a module in one way, which makes a list.
template <Backend B, class M>
[[gnu::noinline]] auto members_of(M& module) {
  constexpr bool is_const = std::is_const_v<M>;
  std::vector<MemberEntry<B, is_const>> list;
  auto add = [&list](const std::string& path, auto& member) {
    auto& entry = list.emplace_back();
    entry.path = path;
    using Bare = std::remove_cvref_t<decltype(member)>;
    if constexpr (std::is_same_v<Bare, Parameter<B>>) entry.parameter = &member;
    else if constexpr (std::is_same_v<Bare, espalier::Buffer<B>>) entry.buffer = &member;
    else if constexpr (std::is_same_v<Bare, Extent>) entry.extent = &member;
    else static_assert(std::is_same_v<Bare, Extent>, "a module that is a template over its backend holds members of that backend only; keep those of another outside, or in a module that is no template over a backend alone");
  };
  walk(module, std::string{}, add);
  return list;
}

// f(path, member) for every member, where f takes each of the three kinds; it may change what a member holds, but not
// which members there are.
template <class M, class F>
void for_each_listed(M& module, F f) {
  using Of = BackendOf<std::remove_const_t<M>>;
  if constexpr (requires { typename Of::type; }) {
    for (const auto& entry : members_of<typename Of::type>(module)) {
      if (entry.parameter != nullptr) f(entry.path, *entry.parameter);
      else if (entry.buffer != nullptr) f(entry.path, *entry.buffer);
      else f(entry.path, *entry.extent);
    }
  } else {
    walk(module, std::string{}, f);
  }
}

}  // namespace detail

/// f(path, member) for every Parameter, Buffer and Extent, in the order of declaration. f is asked for the kinds that the
/// module has.
template <class M, class F>
void for_each_member(M& module, F f) {
  detail::walk(module, std::string{}, f);
}

/// f(path, parameter) for everything that learns.
template <class M, class F>
void for_each_parameter(M& module, F f) {
  detail::for_each_listed(module, [&](const std::string& path, auto& member) {
    if constexpr (detail::is_parameter<std::remove_cvref_t<decltype(member)>>) f(path, member);
  });
}

/// f(parameter) for everything that learns: without names, and so without building a string.
template <class M, class F>
void for_each_unnamed_parameter(M& module, F f) {
  auto visit = [&](detail::NoPath, auto& member) {
    if constexpr (detail::is_parameter<std::remove_cvref_t<decltype(member)>>) f(member);
  };
  detail::walk(module, detail::NoPath{}, visit);
}

/// f(path, buffer) for everything that is kept but not learnt.
template <class M, class F>
void for_each_buffer(M& module, F f) {
  detail::for_each_listed(module, [&](const std::string& path, auto& member) {
    if constexpr (detail::is_buffer<std::remove_cvref_t<decltype(member)>>) f(path, member);
  });
}

/// f(path, extent) for every structural count.
template <class M, class F>
void for_each_extent(M& module, F f) {
  detail::for_each_listed(module, [&](const std::string& path, auto& member) {
    if constexpr (std::is_same_v<std::remove_cvref_t<decltype(member)>, Extent>) f(path, member);
  });
}

/// Learnable elements.
template <class M>
Index parameter_count(const M& module) {
  Index count = 0;
  for_each_parameter(module, [&](const std::string&, const auto& p) { count += p.value.count(); });
  return count;
}

/// Forgets all gradients (their memory is kept).
template <class M>
void clear_gradients(M& module) {
  for_each_unnamed_parameter(module, [](auto& p) { p.has_gradient = false; });
}

}  // namespace espalier
