// SPDX-License-Identifier: Apache-2.0
// Pruning Filters for Efficient ConvNets (Li, Kadav, Durdanovic, Samet & Graf, ICLR 2017), section 3.1:
//
//   Input: a trained network; for each layer i the number m of filters to prune.
//   1. For each filter F_j of layer i: s_j = sum of its absolute kernel weights.
//   2. Sort the filters by s_j.
//   3. Prune the m filters with the smallest sums, their feature maps, and the kernels of the next layer
//      that read those maps.
//   4. Create new, smaller kernel matrices for both layers and copy the remaining weights.
//   Then retrain (section 3.4).
//
//   filter_pruning --arch vgg16 --dry-run             the paper's widths and savings, in a second
//   filter_pruning --arch resnet56 --variant b --data CIFAR --model resnet56.safetensors --epochs 0
//   filter_pruning --quick                            Fashion-MNIST, small VGG, seconds
//
// Expect (table 1 of the paper): VGG-16 loses 64.0 % of its parameters and 34.2 % of its FLOPs. The
// full recipe (160 + 40 epochs on CIFAR-10) takes days on two cores; a trained --model saves the first part.
#pragma once

#include <iostream>

#include "../common/session.hpp"
#include "../common/result.hpp"

namespace examples {

inline const Program filter_pruning_program{
    .name = "filter_pruning",
    .summary = "Prunes filters by their L1 norm, makes the network physically smaller, retrains it (Li et al. 2017).",
    .usage = "Examples:\n"
             "  filter_pruning --arch vgg16 --dry-run                plan and savings of the paper, no data needed\n"
             "  filter_pruning --arch resnet56 --variant b --dry-run --json\n"
             "  filter_pruning --quick                               every step on Fashion-MNIST, in seconds\n"
             "  filter_pruning --arch resnet56 --variant a --data CIFAR_DIR --model resnet56.safetensors --fine-tune-epochs 3\n",
    .archs = {"small-vgg", "vgg16", "resnet56", "resnet110", "vgg11", "vgg13", "vgg19", "resnet20", "resnet32", "resnet44"},
    .variants = {"a", "b"}};

template <esp::Backend B>
esp::ExitCode filter_pruning(B& device, const Options& o) {
  const bool needs_images = !o.dry_run;
  Options options = o;
  if (o.quick && !o.train_images) options.train_images = 2000;
  Images images = needs_images ? load_images(options) : Images{};
  if (needs_images && !o.model.empty())
    if (const auto own = normalisation_of(esp::SafetensorsFile::read(o.model), images.test.c)) images.normalise = *own;
  const esp::Shape input = needs_images ? images.one() : o.arch == "small-vgg" ? esp::Shape{1, 28, 28, 1} : esp::Shape{1, 32, 32, 3};

  auto net = make_net(device, o, input, esp::Rng(o.seed));
  
  // Input: a trained network.
  if (!o.model.empty()) esp::load_weights(device, net, o.model, input);
  const auto decide = [&] {
    // 1, 2, 3. Score the filters, sort them, choose the smallest; see what reads their feature maps.
    return o.plan.empty() ? esp::plan(device, net, input, paper_policy(o)) : esp::plan_from_text(read_text(o.plan));
  };

  if (o.dry_run) {
    const esp::Plan plan = decide();
    const auto slim = esp::shrink(device, net, plan);
    const auto dense_cost = esp::cost<B>(net, input), slim_cost = esp::cost<B>(slim, input);
    if (o.json) {
      esp::Json out = esp::Json::object();
      out["arch"] = o.arch;
      out["variant"] = o.variant;
      out["policy"] = plan.policy;
      out["dense"] = cost_json(dense_cost);
      out["pruned"] = cost_json(slim_cost);
      std::cout << out.dump() << '\n';
    } else {
      std::cout << to_text(plan) << '\n' << to_text(cost_table(dense_cost, slim_cost), 110, esp::standard_output(o.color).utf8);
    }
    return esp::ExitCode::done;
  }

  Session session(options, "filter_pruning-" + o.arch, 2, configuration_json(options, images));
  const bool cifar = images.color;
  const Recipe dense_recipe{.epochs = o.epochs.value_or(o.quick ? 2 : o.model.empty() ? 160 : 0), .batch = o.batch.value_or(64), .lr = o.lr.value_or(cifar ? 0.1 : 0.05),
                            .augment = {.pad = cifar ? 4 : 0, .flip = cifar ? 0.5 : 0}};
  const Trained dense = session.train(device, net, "dense", images, dense_recipe);

  const esp::Plan plan = decide();
  esp::write_file_atomically(session.path("plan.txt"), to_text(plan));

  // 4. Smaller kernel matrices for every layer concerned; the remaining weights are copied.
  auto slim = esp::shrink(device, net, plan);
  const auto pruned = esp::evaluate(device, slim, images.test, images.normalise);

  // Retrain: a constant learning rate of 1e-3, a quarter of the epochs (section 4).
  const Recipe retrain{.epochs = o.fine_tune_epochs.value_or(o.quick ? 1 : 40), .batch = dense_recipe.batch, .lr = 1e-3, .augment = dense_recipe.augment, .constant_lr = true};
  const Trained tuned = session.train(device, slim, "retrained", images, retrain);

  const auto dense_cost = esp::cost<B>(net, input), slim_cost = esp::cost<B>(slim, input);
  const esp::Index dense_bytes = session.save(device, net, "dense.safetensors", metadata_for(o, images));
  const esp::Index slim_bytes = session.save(device, slim, "pruned.safetensors", metadata_for(o, images));
  std::vector<Row> rows{{"dense", dense_cost, dense_bytes, dense.test.accuracy, dense.seconds, measured(device, net, input)},
                        {"pruned", slim_cost, slim_bytes, pruned.accuracy, 0, measured(device, slim, input)},
                        {"pruned, retrained", slim_cost, slim_bytes, tuned.test.accuracy, tuned.seconds, measured(device, slim, input)}};
  show(session, options, images, rows, layers_not_faster(device, net, slim, input));
  // The claim of physical removal: fewer bytes in the file, less time in the clock.
  if (o.check && !(slim_bytes < dense_bytes && rows[2].latency.many.median < rows[0].latency.many.median))
    throw esp::ClaimFailed("the pruned network is not smaller and faster than the dense one");
  return esp::ExitCode::done;
}

}  // namespace examples
