// SPDX-License-Identifier: Apache-2.0
// How much each layer can lose, and widths for a budget (Li, Kadav, Durdanovic, Samet & Graf, ICLR 2017, section 3.3):
//
//   Input: a trained network.
//   1. For each group of coupled channels, and each fraction of a grid: prune that group alone, by L1 norm, and
//      measure the accuracy without retraining.
//   2. Rank the groups: a steep curve is a sensitive one.
//   3. Grant all groups one drop of accuracy, and take from each what costs no more; the smallest drop that meets
//      the budget of multiply-adds or parameters gives the widths.
//   4. Prune to them. The control is the same budget with all groups cut alike.
//
// Step 1 uses the first --scan-images test images; the accuracies of step 4 are of the others, which no choice
// has seen.
//
//   sensitivity --quick                               Fashion-MNIST, small VGG, seconds
//   sensitivity --arch resnet56 --dry-run             groups, fractions and their costs; no data
//   sensitivity --arch resnet56 --model resnet56.safetensors --data CIFAR_DIR --budget-macs 0.7
//
// Expect (figure 2 of the paper): layers of one stage behave alike, those at its ends are the sensitive ones.
#pragma once

#include <algorithm>

#include "results.hpp"
#include "seeds.hpp"

namespace examples {

inline const Program sensitivity_program{
    .name = "sensitivity",
    .summary = "Scans what each layer can lose without retraining, and derives widths for a budget (Li et al. 2017, section 3.3).",
    .usage = "Examples:\n"
             "  sensitivity --quick                                      train a small VGG on Fashion-MNIST, scan, prune to 70 % of its MACs: seconds\n"
             "  sensitivity --arch resnet56 --dry-run                    groups, fractions and their costs, no data needed\n"
             "  sensitivity --arch resnet56 --model resnet56.safetensors --data CIFAR_DIR --budget-macs 0.7\n"
             "  sensitivity --seeds 3                                    three networks side by side, bands over seeds\n"
             "  sensitivity --budget-params 0.3 --fine-tune-epochs 2     Fashion-MNIST, minutes\n",
    .archs = {"small-vgg", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "vgg16", "vgg11", "vgg13", "vgg19", "lenet300"},
    .scans = true,
    .lacks = {"--fraction", "--plan"}};

template <class Device>
esp::ExitCode sensitivity(const Options& given, Device (*make_device)(int threads)) {
  using B = Device;
  Options o = given;
  const bool several = o.seeds.value_or(1) > 1;
  if (several && (!o.model.empty() || o.fine_tune_epochs.value_or(0) > 0 || o.dry_run))
    throw esp::UsageError("--seeds trains networks of its own and does not fine-tune; leave out --model, --fine-tune-epochs and --dry-run, or give one seed");
  if (o.quick && !o.train_images) o.train_images = 2000;
  if (o.fractions.empty()) o.fractions = o.quick ? std::vector<double>{0.25, 0.5, 0.75} : std::vector<double>{0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9};
  const esp::Budget budget = o.budget_params ? esp::Budget{.parameters = o.budget_params} : esp::Budget{.multiply_adds = o.budget_macs.value_or(0.7)};
  budget.validate();
  const esp::FilterL1 policy{.linear = o.arch == "lenet300" ? esp::LinearLayers::prune : esp::LinearLayers::keep};
  const bool trains = o.model.empty() || o.epochs.value_or(0) > 0;
  Images images = o.dry_run ? Images{} : load_images(o, trains || o.fine_tune_epochs.value_or(0) > 0 ? Parts::train_and_test : Parts::test);
  if (!o.dry_run && !o.model.empty())
    if (const auto own = normalisation_of(esp::SafetensorsFile::read(o.model), images.test.c)) images.normalise = *own;
  const bool grey = o.arch == "small-vgg" || o.arch == "lenet300";
  const esp::Shape input = !o.dry_run ? images.one() : grey ? esp::Shape{1, 28, 28, 1} : esp::Shape{1, 32, 32, 3};

  const bool cifar = images.color;
  const Recipe recipe{.epochs = o.epochs.value_or(o.quick ? 2 : cifar ? 160 : 4), .batch = o.batch.value_or(64), .lr = o.lr.value_or(cifar ? 0.1 : 0.05), .augment = {.pad = cifar ? 4 : 0, .flip = cifar ? 0.5 : 0}};

  // The scan chooses by one part of the test images, and what it chose is measured on the other.
  esp::data::ImageSet scan_images;
  if (!o.dry_run) {
    if (images.test.count < 2) throw esp::UsageError("sensitivity needs two test images at least: one part to scan by, one to measure on; raise --test-images");
    const esp::Index seen = std::min<esp::Index>(o.scan_images.value_or(std::min<long>(o.quick ? 500 : 1000, images.test.count / 2)), images.test.count - 1);
    scan_images = esp::data::subset(images.test, 0, seen);
    images.test = esp::data::subset(images.test, seen, o.quick ? std::min<esp::Index>(2000, images.test.count - seen) : images.test.count - seen);
  }
  if (several) return scan_seeds<B>(o, images, scan_images, policy, budget, recipe, make_device);

  B device = make_device(o.threads);
  auto net = make_net(device, o, input, esp::Rng(o.seed));
  if (!o.model.empty()) esp::load_weights(device, net, o.model, input);
  if (o.dry_run) return show_grid(o, esp::sensitivity(device, net, input, policy, o.fractions, [](const auto&) { return 0.0; }));

  Session session(o, "sensitivity-" + o.arch, 1 + (trains ? 1 : 0) + (o.fine_tune_epochs.value_or(0) > 0 ? 2 : 0), configuration_json(o, images));

  // Input: a trained network.
  const Trained dense = trains ? session.train(device, net, "dense", images, recipe) : Trained{.stage = "dense", .history = {}, .seconds = 0, .test = esp::evaluate(device, net, images.test, images.normalise)};

  // 1. One group at a time, one fraction at a time: prune, shrink, measure.
  Scores scores(session.path("scores.txt"), esp::str(fingerprint(device, net), ' ', scan_images.count, " images of ", images.name, ", grid", to_words(o.fractions)), o.resume);
  const auto start = Seconds::now();
  const auto scan = esp::sensitivity(device, net, input, policy, o.fractions, [&](const auto& slim, const esp::SensitivityStep& step) {
    if (step.done == 0) session.progress().begin("scan", {.steps = step.total});
    if (session.stop()()) throw esp::Stopped(session.stop().number(), esp::str("stopped after ", step.done, " of ", step.total, " networks; continue with --resume --out ", session.folder()));
    const double accuracy = scores(step, [&] { return esp::evaluate(device, slim, scan_images, images.normalise).accuracy; });
    session.progress().update(0, step.done + 1, {{"acc", accuracy, esp::Reading::percent}});
    return accuracy;
  });
  const double scan_seconds = Seconds::since(start);
  session.progress().end({{"dense acc", scan.score, esp::Reading::percent}});

  // 2. The most sensitive groups come first; 3. widths for the budget, as a policy; the control cuts all groups alike.
  const esp::FilterL1 by_scan = within_budget(device, net, policy, scan, budget), alike = within_budget(device, net, policy, all_alike(scan), budget);
  const esp::Plan plan = esp::plan(device, net, input, by_scan), control = esp::plan(device, net, input, alike);
  esp::write_file_atomically(session.path("plan.txt"), to_text(plan));

  // 4. Prune, measure on images that the scan has not seen, and fine-tune where that was asked for.
  const auto metadata = metadata_for(o, images);
  std::vector<Row> rows{{"dense", esp::cost<B>(net, input), session.save(device, net, "dense.safetensors", metadata), dense.test.accuracy, dense.seconds, measured(device, net, input)}};
  const auto prune = [&](const std::string& name, const esp::Plan& decision) {
    auto slim = esp::shrink(device, net, decision);
    const std::string file = Session::file_name(name) + ".safetensors";
    const auto costs = esp::cost<B>(slim, input);
    const auto latencies = measured(device, slim, input);
    rows.push_back({name, costs, session.save(device, slim, file, metadata), esp::evaluate(device, slim, images.test, images.normalise).accuracy, 0, latencies});
    if (o.fine_tune_epochs.value_or(0) == 0) return;
    Recipe gentle = recipe;
    gentle.epochs = *o.fine_tune_epochs;
    gentle.lr = recipe.lr / 10;
    gentle.constant_lr = true;
    const Trained tuned = session.train(device, slim, name + ", fine-tuned", images, gentle);
    rows.push_back({name + ", fine-tuned", costs, session.save(device, slim, file, metadata), tuned.test.accuracy, tuned.seconds, latencies});
  };
  prune("all groups alike", control);
  prune("by sensitivity", plan);
  return show_scan(session, o, images, scan, Outcome{budget, policy, plan, control, scan_images.count, scan_seconds, rows});
}

}  // namespace examples
