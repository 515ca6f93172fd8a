// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <new>
#include <stdexcept>
#include <string>

#include "espalier/report/exit_codes.hpp"

using namespace espalier;

namespace exit_codes_test {

namespace {

struct Outcome {
  int code = -1;    // exit code, or -1
  int signal = 0;   // that killed it, or 0
  std::string err;  // what it wrote to standard error
};

/// Runs `body` in a child process and ends the child with what it returns. `meanwhile(pid, ready)` runs in the
/// parent; the child makes `ready` readable by writing to descriptor `go`.
template <class Body, class Meanwhile>
Outcome in_child(Body&& body, Meanwhile&& meanwhile) {
  int err[2], go[2];
  REQUIRE(::pipe(err) == 0);
  REQUIRE(::pipe(go) == 0);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::dup2(err[1], STDERR_FILENO);
    for (int signal : {SIGINT, SIGTERM, SIGPIPE}) std::signal(signal, SIG_DFL);
    ::alarm(20);  // a child that hangs fails its test
    ::_exit(body(go[1]));
  }
  ::close(err[1]);
  ::close(go[1]);
  meanwhile(child, go[0]);
  Outcome outcome;
  char buffer[512];
  for (ssize_t n; (n = ::read(err[0], buffer, sizeof buffer)) > 0;)
    outcome.err.append(buffer, static_cast<std::size_t>(n));
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  if (WIFEXITED(status)) outcome.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  ::close(err[0]);
  ::close(go[0]);
  return outcome;
}

template <class Body>
Outcome main_of(Body body) {
  return in_child([&](int) { return run_main(body); }, [](pid_t, int) {});
}

void wait_for(int ready) {
  char byte = 0;
  CHECK(::read(ready, &byte, 1) == 1);
}
void tell(int go) { static_cast<void>(!::write(go, "x", 1)); }

}  // namespace

TEST_CASE("each kind of failure has its exit code and its line on standard error") {
  CHECK(main_of([] {}).code == 0);
  CHECK(main_of([] { return 7; }).code == 7);
  CHECK(main_of([] { return ExitCode::claim_failed; }).code == 4);

  const auto check = [](const Outcome& outcome, int code, const std::string& err) {
    CHECK(outcome.code == code);
    CHECK(outcome.err == err);
  };
  check(main_of([] { throw IoError("a.bin: missing"); }), 1, "error: a.bin: missing\n");
  check(main_of([] { throw DataError("a.bin: short"); }), 1, "error: a.bin: short\n");
  check(main_of([] { throw ShapeError("conv: 3"); }), 1, "error: conv: 3\n");
  check(main_of([] { throw OutOfMemory("880 MB"); }), 1, "error: 880 MB\n");
  check(main_of([] { throw std::runtime_error("other"); }), 1, "error: other\n");
  check(main_of([] { throw UsageError("--epoch: unknown"); }), 2, "error: --epoch: unknown\n");
  check(main_of([] { throw PolicyError("fraction 1.5"); }), 2, "error: fraction 1.5\n");
  check(main_of([] { throw Diverged("step 412"); }), 3, "error: step 412\n");
  check(main_of([] { throw ClaimFailed("86.2 < 90"); }), 4, "error: 86.2 < 90\n");
  check(main_of([] { throw CannotRun("no GPU"); }), 77, "SKIP: no GPU\n");
  check(main_of([] { throw Stopped(SIGINT, "checkpoint: step 4"); }), 130, "checkpoint: step 4\n");
  check(main_of([] { throw Stopped(SIGTERM, "checkpoint: step 4"); }), 143, "checkpoint: step 4\n");
  CHECK(main_of([] { throw std::bad_alloc(); }).code == 1);
  const Outcome unknown = main_of([] { throw 42; });
  CHECK(unknown.code == 1);
  CHECK(unknown.err.substr(0, 7) == "error: ");
}

TEST_CASE("an error about a hostile file name does not drive the terminal") {
  CHECK(main_of([] { throw IoError("a\x1b[2J\n: missing"); }).err == "error: a?[2J?: missing\n");
}

TEST_CASE("results that cannot be written make the program fail; a reader that left does not") {
  const Outcome full = in_child(
      [](int) {
        if (std::freopen("/dev/full", "w", stdout) == nullptr) return 1;
        return run_main([] { std::printf("results\n"); });
      },
      [](pid_t, int) {});
  CHECK(full.code == 1);
  CHECK(full.err.find("standard output") != std::string::npos);

  const Outcome left = in_child(
      [](int) {
        int ends[2];
        if (::pipe(ends) != 0) return 1;
        ::dup2(ends[1], STDOUT_FILENO);
        ::close(ends[0]);
        return run_main([] {
          const StopSignal stop;
          std::printf("results\n");
          std::fflush(stdout);
          std::printf("more\n");
        });
      },
      [](pid_t, int) {});
  CHECK(left.signal == 0);
  CHECK(left.code == 0);
  CHECK(left.err.empty());
}

TEST_CASE("the first signal asks, so that training can write its checkpoint") {
  for (const int signal : {SIGINT, SIGTERM}) {
    CAPTURE(signal);
    const Outcome outcome = in_child(
        [](int go) {
          return run_main([&] {
            const StopSignal stop;
            tell(go);
            while (!stop.requested()) ::usleep(1000);
            throw Stopped(stop.number(), "saved");
          });
        },
        [&](pid_t child, int ready) {
          wait_for(ready);
          ::kill(child, signal);
        });
    CHECK(outcome.code == 128 + signal);
    CHECK(outcome.err == "saved\n");
  }
}

TEST_CASE("the second signal ends the program at once") {
  const Outcome outcome = in_child(
      [](int go) {
        const StopSignal stop;
        tell(go);
        while (!stop()) ::usleep(1000);
        tell(go);
        for (;;) ::usleep(1000);
        return 0;
      },
      [](pid_t child, int ready) {
        wait_for(ready);
        ::kill(child, SIGINT);
        wait_for(ready);
        ::kill(child, SIGINT);
      });
  CHECK(outcome.code == 130);
}

TEST_CASE("after the object the signals do what they did before") {
  const Outcome outcome = in_child(
      [](int go) {
        { const StopSignal stop; }
        tell(go);
        for (;;) ::usleep(1000);
        return 0;
      },
      [](pid_t child, int ready) {
        wait_for(ready);
        ::kill(child, SIGTERM);
      });
  CHECK(outcome.signal == SIGTERM);
}

TEST_CASE("a signal that was ignored at the start stays ignored") {
  const Outcome outcome = in_child(
      [](int) {
        std::signal(SIGINT, SIG_IGN);
        const StopSignal stop;
        ::raise(SIGINT);
        return stop.requested() ? 1 : 0;
      },
      [](pid_t, int) {});
  CHECK(outcome.code == 0);
}

TEST_CASE("there is one StopSignal at a time, and the next begins without a request") {
  const Outcome outcome = in_child(
      [](int) {
        {
          const StopSignal first;
          try {
            const StopSignal second;
            return 1;
          } catch (const Error&) {
          }
          ::raise(SIGINT);
          if (!first.requested()) return 2;
        }
        const StopSignal next;
        return next.requested() ? 3 : 0;
      },
      [](pid_t, int) {});
  CHECK(outcome.code == 0);
}

}  // namespace exit_codes_test
