// SPDX-License-Identifier: Apache-2.0
// How policies name layers.
#pragma once

#include <string_view>

namespace espalier::detail {

/// '*' stands for any run of characters.
inline bool matches(std::string_view selector, std::string_view path) {
  if (selector.empty()) return path.empty();
  if (selector.front() != '*') return !path.empty() && selector.front() == path.front() && matches(selector.substr(1), path.substr(1));
  for (std::size_t i = 0; i <= path.size(); ++i)
    if (matches(selector.substr(1), path.substr(i))) return true;
  return false;
}

}  // namespace espalier::detail
