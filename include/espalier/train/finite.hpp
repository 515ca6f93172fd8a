// SPDX-License-Identifier: Apache-2.0
// Finds the first tensor that holds a NaN or an infinity, for the message that a diverged run ends with.
#pragma once

#include <optional>
#include <string>

#include <espalier/autograd/tape.hpp>
#include <espalier/config.hpp>
#include <espalier/nn/module.hpp>

namespace espalier {

namespace detail {

struct NotFinite {
  template <class T> ESPALIER_HD T operator()(Index, const T& x) const { return x - x == T{0} ? T{0} : T{1}; }
};

/// "3 of 4096 values" that are not finite, or nothing.
template <Backend B>
std::optional<std::string> not_finite(B& b, const Tensor<B>& t) {
  if (t.count() == 0) return {};
  auto found = Tensor<B>::empty(b, {1});
  b.sum(t.count(), NotFinite{}, found.data(), t.data());
  const auto count = static_cast<double>(found.item(b));
  if (count == 0) return {};
  return str(count, " of ", t.count(), " values");
}

template <Backend B, Module M>
std::string path_of(const M& net, const Parameter<B>* wanted) {
  std::string found;
  for_each_parameter(net, [&](const std::string& path, const Parameter<B>& p) {
    if (&p == wanted) found = path;
  });
  return found;
}

}  // namespace detail

/// The first parameter or buffer that is not finite, by path, as a clause; nothing if all are.
template <Backend B, Module M>
std::optional<std::string> first_not_finite(B& b, const M& net) {
  std::optional<std::string> first;
  detail::for_each_listed(net, [&](const std::string& path, const auto& member) {
    if constexpr (requires { member.value.shape(); }) {
      if (first) return;
      if (const auto text = detail::not_finite(b, member.value))
        first = str(detail::is_parameter<std::remove_cvref_t<decltype(member)>> ? "parameter '" : "buffer '", path, "' (", *text, ")");
    }
  });
  return first;
}

/// The first result on a tape that is not finite, by op and parameter; before a backward pass, which releases results.
template <Backend B, Module M>
std::optional<std::string> first_not_finite(B& b, const Tape<B>& tape, const M& net) {
  std::optional<std::string> first;
  tape.for_each([&](std::size_t index, std::string_view op, const Tensor<B>& value, const Parameter<B>* parameter) {
    if (first) return;
    if (const auto text = detail::not_finite(b, value)) {
      const std::string path = parameter ? detail::path_of<B>(net, parameter) : std::string();
      first = index == 0 ? str("the input (", *text, ")") : str("the result of ", op, path.empty() ? std::string() : str(" with '", path, "'"), ", number ", index, " on the tape (", *text, ")");
    }
  });
  return first;
}

/// The first gradient that is not finite, by path.
template <Backend B, Module M>
std::optional<std::string> first_gradient_not_finite(B& b, const M& net) {
  std::optional<std::string> first;
  for_each_parameter(net, [&](const std::string& path, const Parameter<B>& p) {
    if (first || !p.has_gradient) return;
    if (const auto text = detail::not_finite(b, p.gradient)) first = str("the gradient of '", path, "' (", *text, ")");
  });
  return first;
}

}  // namespace espalier
