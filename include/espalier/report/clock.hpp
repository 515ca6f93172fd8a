// SPDX-License-Identifier: Apache-2.0
// The clock of progress lines and latency measurements: a call that returns seconds.
// Whoever measures takes it as a parameter, so that tests decide what time it is.
#pragma once

#include <chrono>

namespace espalier {

/// Seconds since an arbitrary start; never goes backwards.
struct SteadySeconds {
  double operator()() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
};

}  // namespace espalier
