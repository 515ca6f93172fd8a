// SPDX-License-Identifier: Apache-2.0
// On how many threads the host works beside a backend. The contract asks for no such number, because a device has
// none; a backend whose options name `threads` means it for the host too.
#pragma once

#include <concepts>

#include <espalier/backend/concept.hpp>

namespace espalier {

/// `threads` of the backend's options, 1 where it has no such option.
template <Backend B>
int host_threads(const B& b) {
  if constexpr (requires { { b.options().threads } -> std::convertible_to<int>; }) return b.options().threads;
  else return 1;
}

}  // namespace espalier
