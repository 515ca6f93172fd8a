// SPDX-License-Identifier: Apache-2.0
// What an observer gathered, in checkpoints and in files of its own: a run that was stopped decides what one never
// stopped decides.
#include <doctest/doctest.h>

#include <string>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/backend/reference.hpp>
#include <espalier/io/checkpoint.hpp>
#include <espalier/io/scores.hpp>
#include <espalier/io/ticket.hpp>
#include <espalier/io/weights.hpp>
#include <espalier/prune/gradual.hpp>
#include <espalier/prune/iterative.hpp>
#include <espalier/prune/score_collector.hpp>
#include <espalier/prune/unstructured.hpp>
#include <espalier/train/adam.hpp>

#include "io/scratch.hpp"
#include "train/toys.hpp"

using namespace espalier;

namespace scores_test {

using test::content;
using test::ScratchFolder;
using test::ToyNet;
using B = Reference;
using Net = ToyNet<B>;

namespace {

constexpr Index steps = 12;  // 3 epochs of 4 batches

TrainOptions<Adam, MultiStep> options(Index epochs = 3) {
  return {.epochs = epochs, .batch = 8, .schedule = {.from = 0.01, .at = {iterations(7)}}, .normalise = test::toy_channels(), .augment = {.pad = 1, .flip = 0.5}, .seed = 4};
}
const data::ImageSet& images() {
  static const data::ImageSet set = test::toy_images(30, 1);
  return set;
}

// Stops before the batch of this number.
auto after(Index count) {
  return [polls = Index{0}, count]() mutable { return polls++ == count; };
}

// An observer of a program's own, around a collector.
struct Around {
  ScoreCollector<Movement, B> movement{};
  Index seen = 0;
  void step(const StepMetrics&) { ++seen; }
  void gradients(B& b, const Net& net) { movement.gradients(b, net); }
  Scores scores(B& b) const { return movement.scores(b); }
  void restore(B& b, const Net& net, const Scores& scores) { movement.restore(b, net, scores); }
};

}  // namespace

TEST_CASE_TEMPLATE("a run stopped at any step and resumed has gathered the same, bit for bit, and so have its checkpoints", Observer, ScoreCollector<Movement, B>, ScoreCollector<Snip, B>, Around) {
  B b;
  const ScratchFolder whole_folder;
  Net whole(b, Rng(1));
  Observer expected;
  train(b, whole, images(), options(), expected, Checkpointer{.folder = whole_folder / "c", .every = iterations(5)});
  CHECK(expected.scores(b).steps == steps);
  CHECK(load_scores(whole_folder / "c/ckpt.12.safetensors") == expected.scores(b));
  for (Index stop = 0; stop < steps; ++stop) {
    CAPTURE(stop);
    const ScratchFolder folder;
    const Checkpointer checkpoints{.folder = folder / "c", .every = iterations(5)};
    {
      Net net(b, Rng(1));
      Observer first;
      CHECK(train(b, net, images(), options(), first, checkpoints, after(stop)).stopped);
    }
    Net net(b, Rng(99));
    Observer second;
    train(b, net, images(), options(), second, checkpoints);
    CHECK(second.scores(b) == expected.scores(b));
    CHECK(read_file(folder / "c/ckpt.12.safetensors") == read_file(whole_folder / "c/ckpt.12.safetensors"));
  }
}

TEST_CASE("pruning by movement while training, stopped at any step and resumed, ends with the same mask and weights") {
  B b;
  const GradualPruning<GlobalMovement, LinearSparsity> moving{.decide = {.keep_at_least = 1}, .sparsity = {.from = 0.2, .to = 0.6, .begin = iterations(4), .end = iterations(10), .frequency = iterations(3)}};
  Net whole(b, Rng(1));
  ScoreCollector<Movement, B> expected;
  const auto [mask, result] = prune_gradually(b, whole, images(), options(), moving, expected);
  for (Index stop = 0; stop < steps; ++stop) {
    CAPTURE(stop);
    const ScratchFolder folder;
    const Checkpointer checkpoints{.folder = folder / "c", .every = iterations(2)};
    {
      Net net(b, Rng(1));
      ScoreCollector<Movement, B> first;
      CHECK(prune_gradually(b, net, images(), options(), moving, first, checkpoints, after(stop)).second.stopped);
    }
    Net net(b, Rng(99));
    ScoreCollector<Movement, B> second;
    CHECK(prune_gradually(b, net, images(), options(), moving, second, checkpoints).first == mask);
    CHECK(content(b, net) == content(b, whole));
    CHECK(second.scores(b) == expected.scores(b));
  }
}

TEST_CASE("rounds go on from a ticket and the scores saved beside it as if they had never stopped") {
  B b;
  const ScratchFolder folder;
  const IterativePruning<GlobalMovement, LotteryRewind> policy{.decide = {.remove = 0.3, .keep_at_least = 1}, .rounds = 3};
  ScoreCollector<Movement, B> expected;
  const auto whole = whole_ticket(b, Net(b, Rng(3)), images(), options(), 6);
  const auto [last, trained] = prune_iteratively(b, whole, images(), options(), policy, [&](const Ticket<Net>& ticket, const auto&) {
    if (ticket.round != 2) return;
    save_ticket(b, ticket, folder / "ticket");  // the one that was just trained: its training comes again
  }, expected);

  ScoreCollector<Movement, B> first, second;
  prune_iteratively(b, whole, images(), options(), policy, [&](const Ticket<Net>& ticket, const auto&) {
    if (ticket.round == 1) save_scores(first.scores(b), folder / "scores");
  }, first);
  const Net full(b, Rng(9));
  second.restore(b, full, load_scores(folder / "scores"));
  CHECK(second.steps() == 12);
  const auto [again, same] = prune_iteratively(b, load_ticket(b, full, folder / "ticket").ticket, images(), options(), policy, [](const auto&, const auto&) {}, second);
  CHECK(again.mask == last.mask);
  CHECK(content(b, same.net) == content(b, trained.net));
  CHECK(second.scores(b) == expected.scores(b));

  ScoreCollector<Movement, B> forgetful;  // without them it decides something else
  const auto other = prune_iteratively(b, load_ticket(b, full, folder / "ticket").ticket, images(), options(), policy, [](const auto&, const auto&) {}, forgetful);
  CHECK(other.first.mask != last.mask);
}

TEST_CASE("a checkpoint without scores, or with those of another rule, is refused, and run and observer stay as they were") {
  B b;
  const ScratchFolder folder;
  const Checkpointer checkpoints{.folder = folder.path()};
  Net plain(b, Rng(1)), net(b, Rng(2));
  train(b, plain, images(), options(), NoObserver{}, checkpoints, after(5));
  ScoreCollector<Movement, B> movement;
  Trainer trainer(b, net, images(), options());
  trainer.run_to(2, movement);
  const auto untouched = content(b, net);
  const Scores gathered = movement.scores(b);
  const auto refused = [&](const char* why) {
    CHECK_THROWS_WITH_AS(checkpoints.resume(trainer, movement), doctest::Contains(why), StaleState);
    CHECK(trainer.step().iteration == 2);
    CHECK(content(b, net) == untouched);
    CHECK(movement.scores(b) == gathered);
  };
  refused("found no scores after 5 steps, needed those of Movement; resume with the observer that the run began with");

  // Whoever wants to gather from there on says so: by resuming without the observer.
  Net late(b, Rng(3));
  Trainer from_there(b, late, images(), options());
  checkpoints.resume(from_there);
  ScoreCollector<Taylor, B> taylor;
  from_there.run_to(7, taylor);
  CHECK(taylor.steps() == 2);
  checkpoints.save(from_there, taylor);
  refused("found scores of the rule 'Taylor', needed its own");

  // A reader that gathers nothing reads a checkpoint that carries scores.
  Net reader(b, Rng(4));
  Trainer read(b, reader, images(), options());
  CHECK(checkpoints.resume(read).step.iteration == 7);
}

TEST_CASE("an observer is set back when the run refuses the checkpoint's state, or the file is damaged") {
  B b;
  const ScratchFolder folder;
  const Checkpointer checkpoints{.folder = folder.path(), .every = epochs(9)};
  Net net(b, Rng(1));
  ScoreCollector<Movement, B> first, second;
  train(b, net, images(), options(), first, checkpoints, after(5));
  Trainer trainer(b, net, images(), options());
  trainer.run_to(2, second);
  const Scores gathered = second.scores(b);
  const std::string path = folder / "ckpt.5.safetensors";
  const auto file = SafetensorsFile::read(path);
  Json state = espalier::detail::verified(file, "a checkpoint");
  state["step"]["epoch_length"] = Index{5};
  espalier::detail::ChecksummingWriter writer;
  for (const TensorEntry& entry : file.entries()) {
    const HostTensor tensor = espalier::detail::host_tensor(file, entry.name);
    writer.add(entry.name, tensor.shape.extents(), std::span<const float>(tensor.values));
  }
  espalier::detail::seal(writer, state);
  writer.file.save(path);
  CHECK_THROWS_WITH_AS(checkpoints.resume(trainer, second), doctest::Contains("found 5 batches an epoch"), StaleState);
  CHECK(second.scores(b) == gathered);

  auto bytes = read_file(path);
  bytes.back() ^= std::byte{1};
  write_file_atomically(path, std::span<const std::byte>(bytes));
  CHECK_THROWS_AS(checkpoints.resume(trainer, second), DataError);
  CHECK(second.scores(b) == gathered);
  CHECK(trainer.step().iteration == 2);
}

TEST_CASE("scores are files of their own: the same values back, damage and other files refused with a sentence") {
  B b;
  const ScratchFolder folder;
  Net net(b, Rng(1));
  ScoreCollector<Movement, B> movement;
  train(b, net, images(), options(), movement);
  const Scores scores = movement.scores(b);
  save_scores(scores, folder / "scores");
  CHECK(load_scores(folder / "scores") == scores);
  save_scores(Scores{.rule = "Mine"}, folder / "none");
  CHECK(load_scores(folder / "none") == Scores{.rule = "Mine"});

  auto bytes = read_file(folder / "scores");
  bytes.back() ^= std::byte{1};
  write_file_atomically(folder / "damaged", std::span<const std::byte>(bytes));
  CHECK_THROWS_WITH_AS(load_scores(folder / "damaged"), doctest::Contains("damaged"), DataError);
  save_weights(b, net, folder / "weights");
  CHECK_THROWS_WITH_AS(load_scores(folder / "weights"), doctest::Contains("needed a file of save_scores, or a checkpoint; use another file"), DataError);
  train(b, net, images(), options(), NoObserver{}, Checkpointer{.folder = folder / "c"});
  CHECK_THROWS_WITH_AS(load_scores(folder / "c/ckpt.12.safetensors"), doctest::Contains("found no scores, needed some"), DataError);
}

}  // namespace scores_test
