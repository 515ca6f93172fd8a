// SPDX-License-Identifier: Apache-2.0
// How policies are checked at the door: each knows the ranges of its own fields, and the entry point
// that takes it asks once, before anything is computed.
#pragma once

#include <string_view>

#include <espalier/error.hpp>

namespace espalier::detail {

/// Throws PolicyError unless the condition holds.
inline void require_field(bool holds, std::string_view policy, std::string_view field, double found, std::string_view range) {
  if (!holds) throw PolicyError(str(policy, ": found ", field, " = ", found, ", needed ", range, "; correct the policy"));
}
/// Runs a policy's own checks, if it has any.
template <class P>
void check_policy(const P& policy) {
  if constexpr (requires { policy.validate(); }) policy.validate();
}

}  // namespace espalier::detail
