// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <limits>
#include <string>

#include <espalier/backend/reference.hpp>
#include <espalier/io/checkpoint.hpp>
#include <espalier/report/stop_signal.hpp>
#include <espalier/train/adam.hpp>

#include "io/scratch.hpp"
#include "train/toys.hpp"

using namespace espalier;

namespace checkpoint_test {

using test::content;
using test::ScratchFolder;
using test::ToyNet;

namespace {

using Options = TrainOptions<Adam, MultiStep>;

Options options() {
  return {.epochs = 3, .batch = 8, .schedule = {.from = 0.01, .at = {iterations(7)}}, .normalise = test::toy_channels(), .augment = {.pad = 1, .flip = 0.5}, .seed = 4};
}

struct Run {
  Reference b;
  data::ImageSet images = test::toy_images(30, 1), others = test::toy_images(12, 2);
  ToyNet<Reference> net{b, Rng(1)};
  Trainer<Reference, ToyNet<Reference>, data::ImageSet, Adam, MultiStep, SoftmaxCrossEntropy> trainer;
  explicit Run(Options o = options()) : trainer(b, net, images, o) { trainer.evaluate_on(others); }
};

// Stops before the batch of this number.
auto after(Index steps) {
  return [polls = Index{0}, steps]() mutable { return polls++ == steps; };
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

void flip_bit(const std::string& path, std::size_t bit) {
  auto bytes = read_file(path);
  bytes[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
  write_file_atomically(path, std::span<const std::byte>(bytes));
}

}  // namespace

TEST_CASE("a run resumed from a checkpoint ends with the bytes of one never stopped, history included") {
  const ScratchFolder whole_folder;
  Run whole;
  const Checkpointer whole_checkpoints{.folder = whole_folder / "c", .every = iterations(5)};
  const auto expected = whole.trainer.run(NoObserver{}, whole_checkpoints);
  for (Index stop = 0; stop < 12; ++stop) {
    CAPTURE(stop);
    const ScratchFolder folder;
    const Checkpointer checkpoints{.folder = folder / "c", .every = iterations(5)};
    {
      Run first;
      CHECK(first.trainer.run(NoObserver{}, checkpoints, after(stop)).stopped);
    }
    Run second;
    second.net = ToyNet<Reference>(second.b, Rng(99));
    const Resumed resumed = checkpoints.resume(second.trainer);
    CHECK(resumed.step.iteration == stop);
    CHECK(resumed.path == checkpoints.folder + "/ckpt." + std::to_string(stop) + ".safetensors");
    CHECK(resumed.warnings.empty());
    CHECK(second.trainer.run(NoObserver{}, checkpoints).history == expected.history);
    CHECK(read_file(folder / "c/ckpt.12.safetensors") == read_file(whole_folder / "c/ckpt.12.safetensors"));
  }
  Run again;  // a run that is over stays as it is
  whole_checkpoints.resume(again.trainer);
  CHECK(again.trainer.finished());
  CHECK(again.trainer.run().history == expected.history);
  CHECK(content(again.b, again.net) == content(whole.b, whole.net));
}

TEST_CASE("train() itself resumes, and tells its observer") {
  const ScratchFolder folder;
  const Checkpointer checkpoints{.folder = folder.path()};
  const auto images = test::toy_images(30, 1);
  struct Watch {
    Index steps = 0;
    std::string from;
    void step(const StepMetrics&) { ++steps; }
    void resumed(const Resumed& r) { from = r.path; }
  };
  Reference b;
  ToyNet<Reference> net(b, Rng(1)), other(b, Rng(2));
  Watch first, second;
  CHECK(train(b, net, images, options(), first, checkpoints, after(6)).stopped);
  CHECK_FALSE(train(b, other, images, options(), second, checkpoints).stopped);
  CHECK(first.steps == 6);
  CHECK(first.from.empty());
  CHECK(second.steps == 6);
  CHECK(second.from == folder / "ckpt.6.safetensors");
}

TEST_CASE("the folder holds the newest checkpoints, as many as asked for, and a pointer to the last") {
  const ScratchFolder folder;
  Run run;
  run.trainer.run(NoObserver{}, Checkpointer{.folder = folder / "deep/er", .every = iterations(3), .keep = 2});
  CHECK(names_in(folder / "deep/er") == std::vector<std::string>{"ckpt.12.safetensors", "ckpt.9.safetensors", "latest"});
  CHECK(read_file(folder / "deep/er/latest") == test::bytes_of("ckpt.12.safetensors\n"));
  const auto file = SafetensorsFile::read(folder / "deep/er/ckpt.12.safetensors");
  for (const char* name : {"param/conv.weight", "buffer/norm.running_var", "opt/mean/head.weight", "opt/mean_square/head.bias"}) CHECK(file.find(name) != nullptr);
  const Json state = Json::parse(*file.find_metadata("espalier.checkpoint"));
  CHECK(state.at("step").at("iteration").as_int() == 12);
  CHECK(state.at("history").items().size() == 3);
  CHECK(state.at("configuration").as_string().find("Adam{.beta1 = 0.9") != std::string::npos);
}

TEST_CASE("masks are part of a checkpoint: dead weights stay dead after a resume") {
  const ScratchFolder folder;
  const Checkpointer checkpoints{.folder = folder.path()};
  Run first, second;
  MaskPart part = MaskPart::ones("head.weight", first.net.head.weight.outside_shape());
  part.kill(4);
  part.kill(11);
  first.trainer.optimizer().set_mask(first.b, first.net, Mask({part}));
  first.trainer.run(NoObserver{}, checkpoints, after(5));
  checkpoints.resume(second.trainer);
  second.trainer.run();
  first.trainer.run();
  CHECK(content(first.b, first.net) == content(second.b, second.net));
  CHECK(to_host(second.b, second.net.head.weight).values[4] == 0);
  CHECK(to_host(second.b, second.net.head.weight).values[11] == 0);
}

TEST_CASE("a damaged checkpoint is passed over for the one before, with the reason, and the end is the same") {
  const ScratchFolder whole_folder;
  Run whole;
  whole.trainer.run(NoObserver{}, Checkpointer{.folder = whole_folder.path(), .every = iterations(4)});
  const auto expected = read_file(whole_folder / "ckpt.12.safetensors");

  const auto damaged = [&](auto damage, const char* reason) {
    CAPTURE(reason);
    const ScratchFolder folder;
    const Checkpointer checkpoints{.folder = folder.path(), .every = iterations(4)};
    Run first;
    first.trainer.run(NoObserver{}, checkpoints, after(9));
    REQUIRE(names_in(folder.path()) == std::vector<std::string>{"ckpt.8.safetensors", "ckpt.9.safetensors", "latest"});
    damage(folder / "ckpt.9.safetensors");
    Run second;
    const Resumed resumed = checkpoints.resume(second.trainer);
    CHECK(resumed.step.iteration == 8);
    REQUIRE(resumed.warnings.size() == 1);
    CHECK_MESSAGE(resumed.warnings[0].find(reason) != std::string::npos, resumed.warnings[0]);
    second.trainer.run(NoObserver{}, checkpoints);
    CHECK(read_file(folder / "ckpt.12.safetensors") == expected);
    CHECK(std::filesystem::exists(folder / "ckpt.9.safetensors.damaged"));
  };
  damaged([](const std::string& p) { std::filesystem::resize_file(p, std::filesystem::file_size(p) - 10); }, "cut short");
  damaged([](const std::string& p) { std::filesystem::resize_file(p, 0); }, "ckpt.9.safetensors");
  damaged([](const std::string& p) { flip_bit(p, 8 * (read_file(p).size() - 100)); }, "the checksum of tensor '");
  damaged([](const std::string& p) {
    auto file = SafetensorsFile::read(p);
    auto writer = SafetensorsWriter::from(file);
    std::string text = *file.find_metadata("espalier.checkpoint");
    text.replace(text.find("\"iteration\":9"), 13, "\"iteration\":7");
    writer.metadata("espalier.checkpoint", text);
    writer.save(p);
  }, "the checksum of its metadata");

  const ScratchFolder folder;
  Run first;
  const Checkpointer checkpoints{.folder = folder.path(), .every = iterations(4)};
  first.trainer.run(NoObserver{}, checkpoints, after(9));
  for (const char* name : {"ckpt.8.safetensors", "ckpt.9.safetensors"}) std::filesystem::resize_file(folder / name, 50);
  Run second;
  const auto before = content(second.b, second.net);
  CHECK_THROWS_WITH_AS(checkpoints.resume(second.trainer), doctest::Contains("found no checkpoint that is whole among 2"), DataError);
  CHECK(content(second.b, second.net) == before);
}

TEST_CASE("no flipped bit of a checkpoint goes unnoticed") {
  const ScratchFolder folder;
  Run run;
  const Checkpointer checkpoints{.folder = folder.path()};
  checkpoints.save(run.trainer);
  const auto bytes = read_file(folder / "ckpt.0.safetensors");
  Rng rng(3);
  int noticed = 0, harmless = 0;
  for (int i = 0; i < 400; ++i) {
    auto changed = bytes;
    const std::size_t bit = rng.below(static_cast<std::uint32_t>(8 * bytes.size()));
    changed[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    try {
      const auto file = SafetensorsFile::parse(changed);
      detail::verified(file, "a checkpoint");
      // What nothing depends on: the key "format" and its value, and the padding of the header.
      harmless += file.find_metadata("format") == nullptr || *file.find_metadata("format") != "pt";
      noticed += file.find_metadata("format") != nullptr && *file.find_metadata("format") == "pt" ? 0 : 1;
    } catch (const DataError&) {
      ++noticed;
    }
  }
  CHECK(noticed == 400);
  CHECK(harmless < 8);
}

// dlib#2059: a load that failed left its target corrupted.
TEST_CASE("a checkpoint of other options or data is refused and changes nothing") {
  const ScratchFolder folder;
  const Checkpointer checkpoints{.folder = folder.path()};
  Run first;
  first.trainer.run(NoObserver{}, checkpoints, after(5));
  const auto refused = [&](Run& run, const char* reason) {
    const auto before = content(run.b, run.net);
    const auto state = run.trainer.state();
    std::string text;
    try {
      checkpoints.resume(run.trainer);
    } catch (const Error& e) {
      text = e.what();
    }
    CHECK_MESSAGE(text.find(reason) != std::string::npos, text);
    CHECK(content(run.b, run.net) == before);
    CHECK(run.trainer.state() == state);
    CHECK(std::filesystem::exists(folder / "ckpt.5.safetensors"));
  };
  auto other_seed = options();
  other_seed.seed = 5;
  Run seed(other_seed);
  refused(seed, ".seed = 4, .drop_last = false}, needed {");
  Run data;
  data.images.pixels[77] ^= 1;
  refused(data, "data with fingerprint");
}

TEST_CASE("a checkpoint of another architecture is refused with the differences") {
  const ScratchFolder folder;
  const Checkpointer checkpoints{.folder = folder.path()};
  Run first;
  checkpoints.save(first.trainer);
  Reference b;
  const auto images = test::toy_images(30, 1);
  Linear<Reference> flat;
  Rng rng(1);
  flat = Linear<Reference>(b, 1, 3, {}, rng);
  Trainer other(b, flat, images, options());
  CHECK_THROWS_WITH_AS(checkpoints.resume(other), doctest::Contains("2 missing from the file: 'param/weight', 'param/bias'; 7 in the file but not in the network"), DataError);
}

TEST_CASE("more epochs may be asked for than the run was saved with") {
  const ScratchFolder folder;
  const Checkpointer checkpoints{.folder = folder.path()};
  auto more = options();
  more.epochs = 5;
  Run whole(more), first, second(more);
  whole.trainer.run();
  first.trainer.run(NoObserver{}, checkpoints);
  checkpoints.resume(second.trainer);
  second.trainer.run();
  CHECK(content(second.b, second.net) == content(whole.b, whole.net));
  CHECK(second.trainer.history() == whole.trainer.history());
}

TEST_CASE("a checkpoint that does not fit on the disk leaves the one before, and says what is missing") {
  const ScratchFolder folder;
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    int code = 1;
    try {
      Run run;
      const Checkpointer checkpoints{.folder = folder.path(), .every = iterations(4)};
      run.trainer.run(NoObserver{}, checkpoints, after(4));
      const rlimit small{3000, 3000};
      ::setrlimit(RLIMIT_FSIZE, &small);
      run.trainer.run(NoObserver{}, checkpoints);
    } catch (const IoError& e) {
      const std::string text = e.what();
      code = text.find("ckpt.8.safetensors: cannot write: ") != std::string::npos && text.find("it needs ") != std::string::npos ? 42 : 2;
    } catch (...) {
      code = 3;
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 42);
  CHECK(names_in(folder.path()) == std::vector<std::string>{"ckpt.4.safetensors", "latest"});
  Run second;
  CHECK(Checkpointer{.folder = folder.path()}.resume(second.trainer).step.iteration == 4);
}

TEST_CASE("a folder that cannot be made or written is an error with its path") {
  Run run;
  CHECK_THROWS_WITH_AS((Checkpointer{.folder = "/dev/full/c"}.save(run.trainer)), doctest::Contains("/dev/full/c: "), IoError);
  CHECK_THROWS_WITH_AS((Checkpointer{.folder = "/proc/nothing"}.save(run.trainer)), doctest::Contains("/proc/nothing: "), IoError);
}

TEST_CASE("a diverged run names its last good checkpoint, which is finite and stays") {
  const ScratchFolder folder;
  const Checkpointer checkpoints{.folder = folder.path(), .every = iterations(1)};
  Reference b;
  const auto images = test::toy_images(40, 1);
  ToyNet<Reference> net(b, Rng(1));
  struct Spoil {
    ToyNet<Reference>& net;
    void step(const StepMetrics& m) {
      if (m.step.iteration == 4) net.conv.weight.value.data()[0] = std::numeric_limits<float>::quiet_NaN();
    }
  };
  CHECK_THROWS_WITH_AS(train(b, net, images, options(), Spoil{net}, checkpoints),
                       doctest::Contains(("checkpoint at step 4: found parameter 'conv.weight' (1 of 54 values), needed finite numbers; none was written. The last good checkpoint is " + folder.path() + "/ckpt.3.safetensors").c_str()), Diverged);
  ToyNet<Reference> wild(b, Rng(1));
  auto hot = options();
  hot.schedule.from = 1e30;
  const ScratchFolder other;
  std::string text;
  try {
    train(b, wild, images, hot, NoObserver{}, Checkpointer{.folder = other.path(), .every = iterations(1)});
  } catch (const Diverged& e) {
    text = e.what();
  }
  MESSAGE(text);
  CHECK(text.find(other.path() + "/ckpt.") != std::string::npos);
}

TEST_CASE("left-overs of killed writers are removed, those of living ones are not") {
  const ScratchFolder folder;
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  int status = 0;
  ::waitpid(child, &status, 0);
  const std::string dead = "ckpt.3.safetensors." + std::to_string(child) + ".0.tmp", alive = "latest." + std::to_string(::getppid()) + ".1.tmp";
  folder.file(dead, {});
  folder.file(alive, {});
  folder.file("other.1.2.tmp", {});
  Run run;
  CHECK(Checkpointer{.folder = folder.path()}.resume(run.trainer).path.empty());
  CHECK(names_in(folder.path()) == std::vector<std::string>{alive, "other.1.2.tmp"});
}

TEST_CASE("after one SIGINT the batch is finished and a checkpoint written, from which the run goes on as if nothing had been") {
  const ScratchFolder folder;
  const Checkpointer checkpoints{.folder = folder.path(), .every = epochs(9)};
  struct Interrupt {
    void step(const StepMetrics& m) {
      if (m.step.iteration == 5) ::raise(SIGINT);
    }
  };
  Run whole, first, second;
  whole.trainer.run();
  {
    const StopSignal stop;
    const TrainResult result = first.trainer.run(Interrupt{}, checkpoints, stop);
    CHECK(result.stopped);
    CHECK(result.step.iteration == 5);
    CHECK(stop.number() == SIGINT);
  }
  CHECK(checkpoints.resume(second.trainer).step.iteration == 5);
  second.trainer.run();
  CHECK(content(second.b, second.net) == content(whole.b, whole.net));
}

TEST_CASE("a checkpointer out of range is refused at the door") {
  Run run;
  CHECK_THROWS_WITH_AS((Checkpointer{}.resume(run.trainer)), doctest::Contains("folder = \"\""), PolicyError);
  CHECK_THROWS_WITH_AS((Checkpointer{.folder = "x", .keep = 0}.resume(run.trainer)), doctest::Contains("keep = 0"), PolicyError);
  CHECK_THROWS_WITH_AS((Checkpointer{.folder = "x", .every = epochs(0)}.resume(run.trainer)), doctest::Contains("every = 0"), PolicyError);
}

}  // namespace checkpoint_test
