// SPDX-License-Identifier: Apache-2.0
// Kills a program before and after every system call by which it saves a checkpoint, names it in `latest`
// and removes an old one. The executable's own write, fsync, rename and unlink come before the C library's.
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include <espalier/backend/reference.hpp>
#include <espalier/io/checkpoint.hpp>

#include "io/scratch.hpp"
#include "train/toys.hpp"

namespace {

enum class Death { never, before, after };
Death death = Death::never;
int calls_left = -1, calls_seen = 0;

template <class Call>
long counted(Call call) {
  ++calls_seen;
  if (death == Death::never || --calls_left != 0) return call();
  if (death == Death::before) ::_exit(9);
  call();
  ::_exit(9);
}

}  // namespace

extern "C" {
ssize_t write(int fd, const void* data, std::size_t size) {
  return counted([&] { return ::syscall(SYS_write, fd, data, size); });
}
int fsync(int fd) {
  return static_cast<int>(counted([&] { return ::syscall(SYS_fsync, fd); }));
}
int rename(const char* from, const char* to) noexcept {
  return static_cast<int>(counted([&] { return ::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0); }));
}
int unlink(const char* path) noexcept {
  return static_cast<int>(counted([&] { return ::syscall(SYS_unlinkat, AT_FDCWD, path, 0); }));
}
}

using namespace espalier;

namespace {

struct Run {
  Reference b;
  data::ImageSet images = test::toy_images(30, 1);
  test::ToyNet<Reference> net{b, Rng(1)};
  TrainOptions<Sgd> options{.epochs = 3, .batch = 8, .normalise = test::toy_channels()};
  Trainer<Reference, test::ToyNet<Reference>, data::ImageSet, Sgd, Constant, SoftmaxCrossEntropy> trainer{b, net, images, options};
};

auto after(Index steps) {
  return [polls = Index{0}, steps]() mutable { return polls++ == steps; };
}

}  // namespace

TEST_CASE("killed at any call of save, rotate and `latest`, a run resumes from the old or the new checkpoint to the same end") {
  const test::ScratchFolder whole;
  Run expected;
  expected.trainer.run(NoObserver{}, Checkpointer{.folder = whole.path()});

  // The third save also removes the first checkpoint.
  const auto save_third = [](Run& run, const Checkpointer& checkpoints) {
    run.trainer.run(NoObserver{}, checkpoints, after(3));
  };
  const auto save_two = [](Run& run, const Checkpointer& checkpoints) {
    run.trainer.run(NoObserver{}, checkpoints, after(2));
    run.trainer.run(NoObserver{}, checkpoints, after(3));
  };
  int calls = 0;
  {
    const test::ScratchFolder folder;
    const Checkpointer checkpoints{.folder = folder.path(), .every = epochs(9)};
    Run run;
    save_two(run, checkpoints);
    calls_seen = 0;
    save_third(run, checkpoints);
    calls = calls_seen;
  }
  MESSAGE(calls, " calls");
  REQUIRE(calls >= 9);  // write, fsync, rename, fsync of the folder, twice, and one unlink
  int from_new = 0;
  for (const Death kind : {Death::before, Death::after})
    for (int k = 1; k <= calls; ++k) {
      CAPTURE(k);
      const test::ScratchFolder folder;
      const Checkpointer checkpoints{.folder = folder.path(), .every = epochs(9)};
      const pid_t child = ::fork();
      if (child == 0) {
        Run run;
        save_two(run, checkpoints);
        death = kind;
        calls_left = k;
        save_third(run, checkpoints);
        ::_exit(0);
      }
      int status = 0;
      ::waitpid(child, &status, 0);
      CHECK(WEXITSTATUS(status) == 9);
      Run next;
      const Resumed resumed = checkpoints.resume(next.trainer);
      CHECK(resumed.warnings.empty());
      CHECK((resumed.step.iteration == 5 || resumed.step.iteration == 8));
      from_new += resumed.step.iteration == 8 ? 1 : 0;
      next.trainer.run(NoObserver{}, checkpoints);
      CHECK(read_file(folder / "ckpt.12.safetensors") == read_file(whole / "ckpt.12.safetensors"));
      CHECK(folder.entries() == 3);
    }
  CHECK(from_new > 0);
  CHECK(from_new < 2 * calls);
}
