// SPDX-License-Identifier: Apache-2.0
// A training program is killed with SIGKILL at seeded random moments, again and again, until one of its
// lives reaches the end: which must be, byte for byte, the end of a program that was never killed.
#include <doctest/doctest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/io/checkpoint.hpp>
#include <espalier/io/scores.hpp>
#include <espalier/io/weights.hpp>
#include <espalier/prune/score_collector.hpp>
#include <espalier/train/adam.hpp>

#include "io/scratch.hpp"
#include "train/toys.hpp"

using namespace espalier;

namespace checkpoint_kill_test {

using test::ScratchFolder;

namespace {

// Tells the parent of every step: one byte through a pipe.
struct Heartbeat {
  int pipe = -1;
  void step(const StepMetrics&) const {
    if (pipe >= 0 && ::write(pipe, ".", 1) != 1) ::_exit(7);
  }
};

// And gathers movement, which the checkpoints must carry.
template <Backend B>
struct Observed : Heartbeat {
  ScoreCollector<Movement, B> movement{};
  template <class M> void gradients(B& b, const M& net) { movement.gradients(b, net); }
  Scores scores(B& b) const { return movement.scores(b); }
  template <class M> void restore(B& b, const M& net, const Scores& scores) { movement.restore(b, net, scores); }
};

// The program: trains, with checkpoints in `folder`, and leaves weights and metrics there.
template <Backend B>
void program(B& b, const std::string& folder, Heartbeat heartbeat) {
  const auto images = test::toy_images(100, 1), others = test::toy_images(20, 2);
  test::ToyNet<B> net(b, Rng(1));
  const TrainOptions<Adam, MultiStep> options{.epochs = 6, .batch = 8, .clip_norm = 2, .schedule = {.from = 0.01, .at = {epochs(4)}},
                                              .normalise = test::toy_channels(), .augment = {.pad = 1, .flip = 0.5}, .seed = 4};
  Observed<B> observed{heartbeat};
  const auto result = train(b, net, images, others, options, observed, Checkpointer{.folder = folder, .every = iterations(3)});
  std::string csv = "epoch,loss,accuracy,test_loss,test_accuracy\n";
  for (const EpochMetrics& m : result.history) csv += str(m.epoch, ',', m.loss, ',', m.accuracy, ',', m.evaluation->loss, ',', m.evaluation->accuracy, '\n');
  write_file_atomically(folder + "/metrics.csv", csv);
  save_weights(b, net, folder + "/final.safetensors");
  save_scores(observed.scores(b), folder + "/scores.safetensors");
}

// Starts the program as a process of its own, waits for a random number of its steps and some random
// time, and kills it. Whether it reached the end first.
template <class Program>
bool live_and_die(Program program, Rng& rng) {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::close(ends[0]);
    try {
      program(Heartbeat{ends[1]});
    } catch (const std::exception& e) {
      static_cast<void>(!::write(2, e.what(), std::string_view(e.what()).size()));
      ::_exit(1);
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  char beat = 0;
  for (std::uint32_t left = rng.below(10); left > 0 && ::read(ends[0], &beat, 1) == 1; --left) {
  }
  ::usleep(rng.below(300));  // a fast machine must not finish in a few lives
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  ::close(ends[0]);
  if (WIFSIGNALED(status)) {
    CHECK(WTERMSIG(status) == SIGKILL);
    return false;
  }
  CHECK(WEXITSTATUS(status) == 0);
  return true;
}

template <class Make>
void killed_until_done(Make make, std::uint64_t seed) {
  const ScratchFolder whole, killed;
  {
    auto b = make(0);
    program(b, whole.path(), {});
  }
  Rng rng(seed);
  int kills = 0;
  while (!live_and_die([&](Heartbeat heartbeat) {
    auto b = make(kills);
    program(b, killed.path(), heartbeat);
  }, rng)) {
    ++kills;
    REQUIRE(kills < 1000);
  }
  MESSAGE("killed ", kills, " times");
  CHECK(kills >= 10);
  for (const char* name : {"metrics.csv", "final.safetensors", "scores.safetensors", "ckpt.78.safetensors", "latest"}) {
    CAPTURE(name);
    CHECK(read_file(killed / name) == read_file(whole / name));
  }
  // A kill in the middle of a write may leave its temporary file; a checkpoint's own are tidied up.
  std::size_t left = 0;
  for (const auto& entry : std::filesystem::directory_iterator(killed.path())) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("metrics.csv.") && !name.starts_with("final.safetensors.") && !name.starts_with("scores.safetensors.")) ++left;
  }
  CHECK(left == whole.entries());
}

}  // namespace

TEST_CASE("a run killed at random moments ends with the bytes of one never killed, metrics included") {
  killed_until_done([](int) { return Reference(); }, 1);
  killed_until_done([](int) { return Reference(); }, 2);
}

TEST_CASE("on EigenCpu, so it does if every life has another number of threads") {
  killed_until_done([](int life) { return EigenCpu({.threads = 1 + life % 4}); }, 3);
}

}  // namespace checkpoint_kill_test
