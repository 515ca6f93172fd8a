// SPDX-License-Identifier: Apache-2.0
// What a program's exit code means, and the one place where exceptions become one.
// Results are on standard output; what went wrong is one line on standard error that begins with "error:".
// A script can tell a bad flag from a full disk from a diverged run without reading the text.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "espalier/error.hpp"
#include "espalier/report/detail/utf8.hpp"
#include "espalier/report/stop_signal.hpp"

namespace espalier {

/// The exit codes of every program of espalier.
enum class ExitCode : int {
  done = 0,           // with --check: every claim held
  failed = 1,         // a file, bad data, memory, a device
  usage = 2,          // an unknown flag, a bad value
  diverged = 3,       // a loss or a gradient is no longer finite
  claim_failed = 4,   // --check, and a claim did not hold
  cannot_run = 77,    // no data or no device here; test drivers count it as skipped
  interrupted = 130,  // SIGINT, after a checkpoint
  terminated = 143,   // SIGTERM, after a checkpoint
};

/// The command line asks for something that does not exist.
struct UsageError : Error { using Error::Error; };
/// What the program needs is not on this machine; nothing is wrong with it otherwise.
struct CannotRun : Error { using Error::Error; };
/// --check was given and a claim did not hold.
struct ClaimFailed : Error { using Error::Error; };
/// A signal asked for a stop and the work was saved; the message says where.
struct Stopped : Error {
  Stopped(int signal, const std::string& message) : Error(message), number(signal) {}
  int number;  // SIGINT or SIGTERM
};

/// The code of a signal: 130 for SIGINT, 143 for SIGTERM.
inline ExitCode exit_code_of(int signal) { return static_cast<ExitCode>(128 + signal); }

namespace detail {

inline void complain(std::string_view label, std::string_view text) {
  const std::string line = str(label, printable(text), '\n');
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

/// Whether standard output is a pipe whose reader has gone.
inline bool reader_has_left() {
  pollfd out{STDOUT_FILENO, 0, 0};
  return ::poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

/// Standard output may be on a full disk; only now is it known. A reader that has left is not an error.
inline ExitCode flush_results(ExitCode code) {
  errno = 0;
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  const int reason = errno;
  if (written || code != ExitCode::done || reader_has_left()) return code;
  complain("error: ", str("standard output: the results could not be written",
                          reason != 0 ? str(" (", std::strerror(reason), ")") : std::string(),
                          "; a writable file or pipe is needed. Free space, or send the output elsewhere."));
  return ExitCode::failed;
}

}  // namespace detail

/// Calls `body`, which returns an ExitCode, an int or nothing, and returns the program's exit code.
/// An exception becomes a line on standard error and the code that fits:
///
///   int main(int argc, char** argv) { return espalier::run_main([&] { return demo(argc, argv); }); }
template <class Body>
int run_main(Body&& body) {
  const auto run = [&]() -> ExitCode {
    try {
      if constexpr (std::is_void_v<decltype(std::forward<Body>(body)())>) {
        std::forward<Body>(body)();
        return ExitCode::done;
      } else {
        return static_cast<ExitCode>(std::forward<Body>(body)());
      }
    } catch (const Stopped& stop) {
      detail::complain("", stop.what());
      return exit_code_of(stop.number);
    } catch (const CannotRun& reason) {
      detail::complain("SKIP: ", reason.what());
      return ExitCode::cannot_run;
    } catch (const UsageError& error) {
      detail::complain("error: ", error.what());
      return ExitCode::usage;
    } catch (const PolicyError& error) {
      detail::complain("error: ", error.what());
      return ExitCode::usage;
    } catch (const Diverged& error) {
      detail::complain("error: ", error.what());
      return ExitCode::diverged;
    } catch (const ClaimFailed& error) {
      detail::complain("error: ", error.what());
      return ExitCode::claim_failed;
    } catch (const std::bad_alloc&) {
      detail::complain("error: ", "memory: an allocation failed; more memory is needed. Use a smaller batch.");
      return ExitCode::failed;
    } catch (const std::exception& error) {
      detail::complain("error: ", error.what());
      return ExitCode::failed;
    } catch (...) {
      detail::complain("error: ",
                       "an exception of an unknown type ended the program; this is a defect. Please report it.");
      return ExitCode::failed;
    }
  };
  std::signal(SIGPIPE, SIG_IGN);  // a reader that leaves early ends neither a run nor its last messages
  return static_cast<int>(detail::flush_results(run()));
}

}  // namespace espalier
