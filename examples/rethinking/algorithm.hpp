// SPDX-License-Identifier: Apache-2.0
// Rethinking the Value of Network Pruning (Liu, Sun, Zhou, Huang & Darrell, ICLR 2019), for filter
// pruning with predefined widths:
//
//   1. Train a large network.
//   2. Prune it to a small architecture.
//   3. Fine-tune the small network from the inherited weights.
//   4. Scratch-E: train the small architecture from new weights for the same epochs as the large one.
//   5. Scratch-B: the same with the same compute, epochs * FLOPs(large) / FLOPs(small).
//
// The paper's claim: for such targets 4 is about as good as 3, and 5 at least as good.
//
//   rethinking --quick                                Fashion-MNIST, seconds
//   rethinking --epochs 4 --seed 7                    minutes; each seed is a run of its own
//   rethinking --arch vgg16 --data CIFAR_DIR          the paper's recipe: days on two cores
#pragma once

#include <algorithm>
#include <iostream>

#include <espalier/prune/survivors.hpp>

#include "../common/result.hpp"

namespace examples {

inline const Program rethinking_program{
    .name = "rethinking",
    .summary = "Fine-tuning against training from scratch, with equal epochs and with equal compute (Liu et al. 2019).",
    .usage = "Examples:\n"
             "  rethinking --quick                                     Fashion-MNIST, seconds\n"
             "  rethinking --epochs 4 --seed 7                         Fashion-MNIST, minutes\n"
             "  rethinking --arch vgg16 --dry-run                      epochs of each baseline, by both counts of FLOPs\n"
             "  rethinking --arch resnet56 --variant b --data CIFAR_DIR\n",
    .archs = {"small-vgg", "vgg16", "resnet56", "resnet110"},
    .variants = {"a", "b"},
    .lacks = {"--plan", "--model", "--check"}};

template <esp::Backend B>
esp::ExitCode rethinking(B& device, const Options& given) {
  Options o = given;
  if (o.quick && !o.train_images) o.train_images = 3000;
  const Images images = o.dry_run ? Images{} : load_images(o);
  const esp::Shape input = !o.dry_run ? images.one() : o.arch == "small-vgg" ? esp::Shape{1, 28, 28, 1} : esp::Shape{1, 32, 32, 3};
  const esp::Index epochs = o.epochs.value_or(o.quick ? 2 : o.arch == "small-vgg" ? 4 : 160);
  const esp::ScratchB same_compute{.seed = o.seed + 2, .budget = esp::ComputeBudget::rethinking_reference};

  auto large = make_net(device, o, input, esp::Rng(o.seed));
  const auto prune = [&] { return esp::plan(device, large, input, paper_policy(o)); };
  if (o.dry_run) {
    const auto before = esp::cost<B>(large, input), after = esp::cost<B>(esp::shrink(device, large, prune()), input);
    esp::Json json = esp::Json::object();
    json["arch"] = o.arch;
    json["dense"] = cost_json(before);
    json["pruned"] = cost_json(after);
    json["epochs"] = epochs;
    json["scratch_e_epochs"] = esp::ScratchE{}.epochs(epochs, before, after);
    json["scratch_b_epochs"] = same_compute.epochs(epochs, before, after);
    json["scratch_b_epochs_by_macs"] = esp::ScratchB{}.epochs(epochs, before, after);
    esp::Table table{.title = esp::str(o.arch, ": epochs of each baseline for ", epochs, " of the dense network"), .columns = {{"baseline"}, {"epochs", esp::Align::right}}};
    table.rows = {{"Scratch-E", esp::str(esp::ScratchE{}.epochs(epochs, before, after))}, {"Scratch-B, FLOPs as the reference code counts", esp::str(same_compute.epochs(epochs, before, after))},
                  {"Scratch-B, multiply-adds", esp::str(esp::ScratchB{}.epochs(epochs, before, after))}};
    if (o.json) std::cout << json.dump() << '\n';
    else std::cout << to_text(table, 100, esp::standard_output(o.color).utf8);
    return esp::ExitCode::done;
  }
  Session session(o, "rethinking-" + o.arch, 4, configuration_json(o, images));
  const bool cifar = images.color;
  const Recipe recipe{.epochs = epochs, .batch = o.batch.value_or(64), .lr = o.lr.value_or(cifar ? 0.1 : 0.05), .augment = {.pad = cifar ? 4 : 0, .flip = cifar ? 0.5 : 0}};

  // 1. Train a large network.
  const Trained trained = session.train(device, large, "dense", images, recipe);
  const auto large_cost = esp::cost<B>(large, input);

  // 2. Prune it to a small architecture.
  const esp::Plan plan = prune();
  esp::write_file_atomically(session.path("plan.txt"), to_text(plan));
  const auto small = esp::shrink(device, large, plan);
  const auto small_cost = esp::cost<B>(small, input);

  std::vector<Row> rows{{"dense", large_cost, session.save(device, large, "dense.safetensors", metadata_for(o, images)), trained.test.accuracy, trained.seconds, measured(device, large, input)}};
  const auto compare = [&](const auto& survivors, Recipe with) {
    auto net = small;
    survivors.start(device, net);
    with.epochs = survivors.epochs(epochs, large_cost, small_cost);
    const Trained result = session.train(device, net, survivors.name, images, with);
    rows.push_back({esp::str(survivors.name, ", ", with.epochs, " epochs"), small_cost, session.save(device, net, Session::file_name(survivors.name) + ".safetensors", metadata_for(o, images)),
                    result.test.accuracy, result.seconds, measured(device, net, input)});
  };
  // 3. Fine-tune the small network from the inherited weights, at the last learning rate.
  Recipe gentle = recipe;
  gentle.lr = recipe.lr / 100;
  gentle.constant_lr = true;
  compare(esp::FineTune{.fine_tune_epochs = o.fine_tune_epochs.value_or(std::max<esp::Index>(epochs / 4, 1))}, gentle);
  // 4. Scratch-E.
  compare(esp::ScratchE{.seed = o.seed + 1}, recipe);
  // 5. Scratch-B.
  compare(same_compute, recipe);

  show(session, o, images, rows, layers_not_faster(device, large, small, input));
  return esp::ExitCode::done;
}

}  // namespace examples
