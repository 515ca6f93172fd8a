// SPDX-License-Identifier: Apache-2.0
// Weight-level pruning and its baselines (Liu, Sun, Zhou, Huang & Darrell, Rethinking the Value of Network
// Pruning, ICLR 2019, section 4.3; after Han et al. 2015):
//
//   1. Train a large network.
//   2. Rank the weights of all convolutions together by magnitude; the smallest go, in one shot.
//   3. Fine-tune the survivors at the last learning rate, for a quarter of the epochs.
//   4. Scratch-E: new weights under the same mask, trained for the same epochs as the large network.
//   5. Scratch-B: the same for equal compute, epochs * MACs(large) / MACs(sparse).
//   6. The same sparsity in rounds: prune a little, fine-tune, prune again.
//
// And what of it becomes smaller for real: channels that no live weight writes or reads are cut out.
//
//   global_magnitude --quick                            Fashion-MNIST, seconds
//   global_magnitude --dry-run --json                   which layers keep what, no training
//   global_magnitude --sparsity 0.8 --sparsity 0.95 --seeds 3 --epochs 4
//   global_magnitude --arch vgg16 --data CIFAR_DIR --train-images 50000 --epochs 160      the paper's recipe: days on two cores
//
// The paper's networks for this are VGG-19, PreResNet-110 and DenseNet-BC-100; of these --arch has VGG-19.
// Expect (its table for unstructured pruning): at small sparsity training from scratch does as well as
// fine-tuning; at 95 % fine-tuning wins.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include <espalier/io/ticket.hpp>
#include <espalier/prune/dead_channels.hpp>
#include <espalier/prune/iterative.hpp>
#include <espalier/prune/unstructured.hpp>

#include "../common/side_by_side.hpp"
#include "results.hpp"

namespace examples {

inline const Program global_magnitude_program{
    .name = "global_magnitude",
    .summary = "Removes single weights by magnitude, one-shot and in rounds, and compares fine-tuning with training from scratch (Liu et al. 2019).",
    .usage = "Examples:\n"
             "  global_magnitude --quick                                      Fashion-MNIST, seconds\n"
             "  global_magnitude --dry-run                                    what each layer keeps, at new weights\n"
             "  global_magnitude --sparsity 0.8 --sparsity 0.95 --seeds 3     Fashion-MNIST, minutes\n"
             "  global_magnitude --arch vgg16 --data CIFAR_DIR --train-images 50000 --epochs 160\n",
    .archs = {"small-vgg", "lenet300", "vgg16", "vgg19", "resnet20", "resnet56"},
    .rounds = true,
    .sparsities = true,
    .lacks = {"--iterations", "--fraction", "--plan", "--check"}};

template <class Device>
esp::ExitCode global_magnitude(const Options& given, Device (*make_device)(int threads)) {
  using B = Device;
  Options o = given;
  if (o.sparsities.empty()) o.sparsities = o.quick ? std::vector<double>{0.8} : std::vector<double>{0.3, 0.8, 0.95};
  if (!o.train_images) o.train_images = o.quick ? 2000 : 20000;
  const Images images = o.dry_run ? Images{} : load_images(o);
  const esp::Shape input = !o.dry_run ? images.one() : o.arch == "small-vgg" || o.arch == "lenet300" ? esp::Shape{1, 28, 28, 1} : esp::Shape{1, 32, 32, 3};
  B first_device = make_device(o.threads);
  const AnyNet<B> of_first_seed = make_net(first_device, o, input, esp::Rng(o.seed));
  using Net = AnyNet<B>;
  const auto smallest = [ignore = not_pruned(of_first_seed)](double sparsity) { return esp::GlobalMagnitude{.sparsity = sparsity, .ignore = ignore, .keep_at_least = 1}; };
  if (!o.dry_run && !o.model.empty()) throw esp::UsageError("--model goes with --dry-run here: the experiment trains its own networks from new weights. Leave out one of the two.");
  if (o.dry_run) return print_layers(o, first_device, of_first_seed, input, smallest);

  const esp::Index epochs = o.epochs.value_or(o.quick ? 2 : 4), batch = o.batch.value_or(64), rounds = o.rounds.value_or(o.quick ? 2 : 4);
  const esp::Index fine_tune = o.fine_tune_epochs.value_or(std::max<esp::Index>(epochs / 4, 1));
  const auto options_for = [&](std::uint64_t seed, esp::Index for_epochs) {
    const double half = static_cast<double>(for_epochs) / 2;
    return esp::TrainOptions<esp::Sgd, esp::MultiStep>{.epochs = for_epochs, .batch = batch, .optimizer = {.momentum = 0.9, .weight_decay = 1e-4},
        .schedule = {.from = o.lr.value_or(images.color ? 0.1 : 0.05), .factor = 0.1, .at = {esp::epochs(half), esp::epochs(half * 1.5)}},
        .normalise = images.normalise, .augment = {.pad = images.color ? 4 : 0, .flip = images.color ? 0.5 : 0}, .seed = seed, .prefetch = 0};
  };
  const esp::Index length = (images.train.count + batch - 1) / batch;
  Session session(o, "global_magnitude-" + o.arch, 1, configuration_json(o, images));
  Points points(session, o.resume);

  // The networks that later steps start from are kept in files: a job takes them from there, and so does a run that goes on.
  esp::detail::make_folder(session.path("tickets"));
  const auto file_of = [&](const std::string& kind, std::uint64_t seed, esp::Index level) {
    return session.path(esp::str("tickets/seed-", seed, "-", kind, "-", level, ".safetensors"));
  };
  const auto train_and_measure = [&](B& device, const std::string& kind, std::uint64_t seed, esp::Index level, const esp::Ticket<Net>& ticket, const auto& options) {
    const auto start = Seconds::now();
    const auto trained = train_ticket(device, ticket, images.train, options, {}, esp::NoTicketObserver{}, session.stop());
    if (trained.stopped) return;
    esp::save_ticket(device, esp::Ticket<Net>{.weights = trained.net, .mask = ticket.mask, .at = trained.end, .until = ticket.until}, file_of(kind, seed, level));
    points.add({.kind = kind, .seed = seed, .round = level, .survivors = ticket.mask.survivors(), .weights = ticket.mask.weights(), .iterations = ticket.until - ticket.at.step.iteration,
                .final_accuracy = esp::evaluate(device, trained.net, images.test, images.normalise, 256).accuracy, .seconds = Seconds::since(start), .fingerprint = fingerprint(device, trained.net)});
  };
  const auto initial = [&](B& device, std::uint64_t seed) {
    return whole_ticket(device, make_net(device, o, input, esp::Rng(seed)), images.train, options_for(seed, epochs), epochs * length);
  };
  const auto load = [&](B& device, const Net& net, const std::string& file) {
    auto kept = esp::load_ticket(device, net, file).ticket;
    return esp::TrainedTicket<Net>{.net = std::move(kept.weights), .end = std::move(kept.at)};
  };

  // What is done with the trained network at one sparsity: each kind is a job of its own.
  const auto prune = [&](B& device, const std::string& kind, std::uint64_t seed, std::size_t i) {
    const esp::Index level = static_cast<esp::Index>(i) + 1;
    const auto recipe = options_for(seed, epochs);
    const auto whole = initial(device, seed);
    const auto dense = load(device, whole.weights, file_of("dense", seed, 0));
    const esp::Snapshot<Net> start{whole.weights, whole.at};
    // 2. The smallest weights go, in one shot.
    const esp::Mask mask = smallest(o.sparsities[i]).next(device, dense.net, whole.mask);

    // 3. Fine-tune the survivors.
    const esp::FineTuneWeights tune{.train = esp::epochs(static_cast<double>(fine_tune))};
    if (kind == "fine-tuned") return train_and_measure(device, kind, seed, level, tune.next(device, whole, dense, start, mask), recipe);

    // 4. Scratch-E: new weights under the same mask.
    auto scratch = esp::RandomReinitialise{.seed = seed + 1000}.next(device, whole, dense, start, mask);
    if (kind == "Scratch-E") return train_and_measure(device, kind, seed, level, scratch, recipe);

    // 5. Scratch-B: as much compute as the large network had.
    if (kind == "Scratch-B") {
      const esp::Index budget = scratch_b_epochs<B>(dense.net, input, mask, epochs);
      scratch.until = budget * length;
      return train_and_measure(device, kind, seed, level, scratch, options_for(seed, budget));
    }

    // 6. In rounds.
    auto little = smallest(o.sparsities[i]);
    little.sparsity.reset();
    little.remove = 1 - std::pow(1 - o.sparsities[i], 1.0 / static_cast<double>(rounds));
    auto ticket = tune.next(device, whole, dense, start, little.next(device, dense.net, whole.mask));
    while (ticket.round < rounds) {
      const auto trained = train_ticket(device, ticket, images.train, recipe, {}, esp::NoTicketObserver{}, session.stop());
      if (trained.stopped) return;
      ticket = tune.next(device, ticket, trained, start, little.next(device, trained.net, ticket.mask));
    }
    train_and_measure(device, kind, seed, level, ticket, recipe);
  };

  SideBySide<B> jobs;
  const auto then_prune = [&](std::uint64_t seed) {
    for (std::size_t i = 0; i < o.sparsities.size(); ++i)
      for (const char* kind : {"fine-tuned", "Scratch-E", "Scratch-B", "in rounds"})
        if (!points.has(kind, seed, static_cast<esp::Index>(i) + 1))
          jobs.add([&, kind, seed, i](B& device) { prune(device, kind, seed, i); });
  };
  for (std::uint64_t seed = o.seed; seed < o.seed + static_cast<std::uint64_t>(o.seeds.value_or(1)); ++seed)
    jobs.add([&, seed](B& device) {
      // 1. Train a large network.
      if (!points.has("dense", seed, 0)) train_and_measure(device, "dense", seed, 0, initial(device, seed), options_for(seed, epochs));
      if (!session.stop()()) then_prune(seed);
    });
  jobs.run(o.threads, std::numeric_limits<long>::max(), make_device);
  if (session.stop()()) throw esp::Stopped(session.stop().number(), esp::str("stopped; continue with --resume --out ", session.folder()));

  // What can be cut out for real, and what sparse weights make of the rest; of the first seed's fine-tuned networks.
  Removals removals;
  const auto whole = initial(first_device, o.seed);
  for (std::size_t i = 0; i < o.sparsities.size(); ++i) {
    const auto tuned = esp::load_ticket(first_device, whole.weights, file_of("fine-tuned", o.seed, static_cast<esp::Index>(i) + 1)).ticket;
    removals.add(o.sparsities[i], tuned.weights, remove_dead(first_device, tuned.weights, input, tuned.mask), first_device, input);
  }
  return show_levels(session, o, images, points.all(), removals);
}

}  // namespace examples
