// SPDX-License-Identifier: Apache-2.0
// Ctrl-C that loses nothing: the first SIGINT or SIGTERM sets a flag which training polls between batches, so
// that it can write a checkpoint and leave with 130 or 143. The second leaves at once.
// SIGPIPE is ignored: a reader that goes away must not cost a checkpoint.
#pragma once

#include <csignal>
#include <unistd.h>

#include <atomic>

#include "espalier/error.hpp"

namespace espalier {

namespace detail {

/// A handler has no argument but the number, so its flag has to be static: 0, or the first signal.
inline std::atomic<int> first_signal{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

extern "C" inline void espalier_on_stop(int signal) {
  int none = 0;
  if (!first_signal.compare_exchange_strong(none, signal)) ::_exit(128 + signal);
}

}  // namespace detail

/// Catches SIGINT and SIGTERM while it lives and restores what was there before. One at a time.
/// A signal that was ignored when the program started (nohup, a background job) stays ignored.
class StopSignal {
 public:
  /// Throws Error where another StopSignal lives.
  StopSignal() {
    if (live().exchange(true)) {
      throw Error(
          "StopSignal: a second one was made while the first lives; one is needed per program. Pass the first.");
    }
    detail::first_signal = 0;
    struct sigaction catching{}, ignoring{};
    catching.sa_handler = detail::espalier_on_stop;
    catching.sa_flags = SA_RESTART;
    ::sigemptyset(&catching.sa_mask);
    ignoring.sa_handler = SIG_IGN;
    ::sigemptyset(&ignoring.sa_mask);
    replace(SIGINT, catching, old_int_);
    replace(SIGTERM, catching, old_term_);
    ::sigaction(SIGPIPE, &ignoring, &old_pipe_);
  }
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  ~StopSignal() {
    ::sigaction(SIGINT, &old_int_, nullptr);
    ::sigaction(SIGTERM, &old_term_, nullptr);
    ::sigaction(SIGPIPE, &old_pipe_, nullptr);
    live() = false;
  }

  /// Whether to stop at the next good moment.
  bool requested() const noexcept { return number() != 0; }
  bool operator()() const noexcept { return requested(); }

  /// The signal that came: SIGINT or SIGTERM, or 0.
  int number() const noexcept { return detail::first_signal.load(); }

 private:
  static std::atomic<bool>& live() {
    static std::atomic<bool> one{false};
    return one;
  }
  static void replace(int signal, const struct sigaction& with, struct sigaction& old) {
    ::sigaction(signal, nullptr, &old);
    if (old.sa_handler != SIG_IGN) ::sigaction(signal, &with, nullptr);
  }

  struct sigaction old_int_{}, old_term_{}, old_pipe_{};
};

}  // namespace espalier
