// SPDX-License-Identifier: Apache-2.0
// The main job, end to end: train a small VGG on real images, prune half of its filters by L1 norm,
// make it physically smaller, fine-tune it, and train the same small architecture from scratch, with
// equal epochs (Scratch-E) and with an equal compute budget (Scratch-B; Liu et al. 2019). A pruning
// result means little without those two.
//
//   demo             12,000 images of Fashion-MNIST, about 3 minutes on two cores
//   demo --quick     the same steps on 3,000 images
#pragma once

#include <espalier/backend/host_threads.hpp>
#include <espalier/prune/survivors.hpp>
#include <espalier/report/html.hpp>
#include <espalier/report/svg.hpp>

#include "../common/result.hpp"

namespace examples {

inline const Program demo_program{
    .name = "demo",
    .summary = "Trains, prunes, shrinks, fine-tunes and compares a small VGG on real images; writes models, logs and report.html.",
    .usage = "Examples:\n"
             "  demo                        12,000 images of Fashion-MNIST, about 3 minutes on two cores\n"
             "  demo --quick                the same steps in seconds\n"
             "  demo --data MNIST_DIR       other IDX images\n"
             "  demo --resume               continue after Ctrl-C\n",
    .archs = {"small-vgg"},
    .lacks = {"--dry-run", "--plan", "--model"}};

/// Accuracy after each epoch, by the epochs' own count.
inline esp::LineChart curves(const std::vector<Trained>& runs) {
  esp::LineChart chart{.title = "Test accuracy while training", .x = {.title = "epoch", .whole = true}, .y = {.title = "test accuracy", .percent = true}};
  for (const Trained& run : runs) {
    esp::Series series{.name = run.stage};
    for (const auto& epoch : run.history) {
      series.x.push_back(static_cast<double>(epoch.epoch));
      series.y.push_back(epoch.evaluation->accuracy);
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

/// Filters of each pruned layer, before and after.
inline esp::BarChart filters_kept(const esp::Plan& plan) {
  esp::BarChart chart{.title = "Filters per layer", .category_title = "layer", .y = {.title = "filters", .whole = true}, .series = {{"before", {}}, {"after", {}}}, .layout = esp::BarLayout::nested};
  for (const auto& group : plan.groups) {
    if (group.remove.empty()) continue;
    chart.categories.push_back(group.name);
    chart.series[0].values.push_back(static_cast<double>(group.channels));
    chart.series[1].values.push_back(static_cast<double>(group.keep()));
  }
  return chart;
}

template <esp::Backend B>
esp::ExitCode demo(B& device, const Options& given) {
  Options o = given;
  if (o.out.empty()) o.out = o.quick ? "demo-out-quick" : "demo-out";
  if (!o.train_images) o.train_images = o.quick ? 3000 : 12000;
  const Images images = load_images(o);
  const esp::Shape input = images.one();
  Session session(o, "demo", 4, configuration_json(o, images));
  const auto note = [&](const std::string& text) { session.progress().note(text); };
  note(esp::str("espalier ", ESPALIER_VERSION, ", ", esp::host_threads(device), " threads, seed ", o.seed, ", results in ", session.folder()));
  note(esp::str(images.name, " (real), ", images.source, ", ", esp::format_count(images.train.count), " training images; ",
                o.quick ? "about 10 seconds" : "about 3 minutes on two cores"));
  const Recipe recipe{.epochs = o.epochs.value_or(o.quick ? 2 : 4), .batch = o.batch.value_or(64), .lr = o.lr.value_or(0.05)};

  // 1. Train the dense network.
  auto dense = make_net(device, o, input, esp::Rng(o.seed));
  const auto dense_cost = esp::cost<B>(dense, input);
  std::vector<Trained> runs{session.train(device, dense, "dense", images, recipe)};

  // 2. Decide which half of each layer's filters goes: the plan is a value, saved as text.
  const esp::Plan plan = esp::plan(device, dense, input, esp::FilterL1{.amount = esp::Fraction{o.fraction.value_or(0.5)}});
  esp::write_file_atomically(session.path("plan.txt"), to_text(plan));

  // 3. Cut the filters out: a network of the same type with narrower tensors.
  const auto pruned = esp::shrink(device, dense, plan);
  const auto slim_cost = esp::cost<B>(pruned, input);
  const auto untuned = esp::evaluate(device, pruned, images.test, images.normalise);

  // 4. Fine-tune what survived; and train the same architecture from new weights.
  const auto train_from = [&](const auto& survivors, Recipe with) {
    auto net = pruned;
    survivors.start(device, net);
    with.epochs = survivors.epochs(recipe.epochs, dense_cost, slim_cost);
    runs.push_back(session.train(device, net, survivors.name, images, with));
    return net;
  };
  Recipe gentle = recipe;
  gentle.lr = recipe.lr / 5;
  const auto tuned = train_from(esp::FineTune{.fine_tune_epochs = o.fine_tune_epochs.value_or(o.quick ? 1 : 2)}, gentle);
  const auto scratch_e = train_from(esp::ScratchE{.seed = o.seed + 1}, recipe);
  const auto scratch_b = train_from(esp::ScratchB{.seed = o.seed + 2}, recipe);

  // 5. Save, load into a fresh network, and check that the file holds what was measured.
  const auto metadata = metadata_for(o, images);
  const esp::Index dense_bytes = session.save(device, dense, "dense.safetensors", metadata);
  const esp::Index slim_bytes = session.save(device, tuned, "fine-tuned.safetensors", metadata);
  session.save(device, scratch_e, "scratch-e.safetensors", metadata);
  session.save(device, scratch_b, "scratch-b.safetensors", metadata);
  auto reloaded = make_net(device, o, input, esp::Rng(o.seed));
  esp::load_weights(device, reloaded, session.path("fine-tuned.safetensors"), input);
  const bool same = esp::evaluate(device, reloaded, images.test, images.normalise) == runs[1].test;
  if (!same) throw esp::ClaimFailed("the network loaded from fine-tuned.safetensors does not evaluate as the one saved");

  // 6. Report.
  const auto dense_latency = measured(device, dense, input), slim_latency = measured(device, tuned, input);
  const std::vector<Row> rows{{"dense", dense_cost, dense_bytes, runs[0].test.accuracy, runs[0].seconds, dense_latency},
                              {"pruned, not tuned", slim_cost, slim_bytes, untuned.accuracy, 0, slim_latency},
                              {"pruned, fine-tuned", slim_cost, slim_bytes, runs[1].test.accuracy, runs[1].seconds, slim_latency},
                              {"same size, Scratch-E", slim_cost, slim_bytes, runs[2].test.accuracy, runs[2].seconds, slim_latency},
                              {"same size, Scratch-B", slim_cost, slim_bytes, runs[3].test.accuracy, runs[3].seconds, slim_latency}};
  const auto not_faster = layers_not_faster(device, dense, tuned, input);
  std::string slower;
  for (const auto& flagged : not_faster)
    slower += esp::str(slower.empty() ? "" : ", ", flagged.layer, " (", esp::format_seconds(flagged.before), " -> ", esp::format_seconds(flagged.after), ")");
  show(session, o, images, rows, not_faster);

  const auto accuracy = curves(runs);
  const auto filters = filters_kept(plan);
  const double speedup = dense_latency.many.median / slim_latency.many.median;
  esp::HtmlReport report("Half the filters, measured",
                         esp::str("Removing half of every layer's filters left ", esp::format_percent(static_cast<double>(slim_cost.parameters) / static_cast<double>(dense_cost.parameters), 0),
                                  " of the parameters and made the network ", esp::format_fixed(speedup, 1), " times as fast at batch 32; after fine-tuning its test accuracy is ",
                                  esp::format_percent(runs[1].test.accuracy, 2), ", the dense network's ", esp::format_percent(runs[0].test.accuracy, 2), "."));
  report.facts({{"parameters", esp::format_points(static_cast<double>(slim_cost.parameters) / static_cast<double>(dense_cost.parameters) - 1, 1) + "%"},
                {"multiply-adds", esp::format_points(static_cast<double>(slim_cost.multiply_adds) / static_cast<double>(dense_cost.multiply_adds) - 1, 1) + "%"},
                {"latency, batch 32", esp::format_fixed(speedup, 2) + "x faster"},
                {"accuracy, fine-tuned", esp::format_points(runs[1].test.accuracy - runs[0].test.accuracy, 2) + " points"}});
  report.section("Results").table(result_table(images, o.seed, rows), "results.csv");
  if (!slower.empty()) report.paragraph("These layers lost multiply-adds and did not get faster: " + slower + ".");
  report.section("Training").figure(accuracy, "Test accuracy after each epoch. Scratch-E has the dense network's epochs, Scratch-B its compute.", "curves.csv");
  report.section("Filters kept").figure(filters, "Filters of each layer before and after; the plan is in plan.txt.", "filters.csv");
  report.section("Layers").table(cost_table(dense_cost, slim_cost), "layers.csv");
  report.section("Configuration").settings({{"data", images.name + ", real, " + images.source}, {"training images", esp::format_count(images.train.count)}, {"seed", esp::str(o.seed)},
                                            {"policy", plan.policy}, {"epochs", esp::str(recipe.epochs)}, {"batch", esp::str(recipe.batch)}, {"learning rate", esp::str(recipe.lr)},
                                            {"threads", esp::str(esp::host_threads(device))}})
      .footer("espalier " ESPALIER_VERSION);
  esp::write_file_atomically(session.path("curves.csv"), to_csv(accuracy));
  esp::write_file_atomically(session.path("filters.csv"), to_csv(filters));
  esp::write_file_atomically(session.path("layers.csv"), to_csv(cost_table(dense_cost, slim_cost)));
  esp::write_file_atomically(session.path("report.html"), report.html());
  note(esp::str("report ", session.path("report.html"), "; models, plan.txt, run.jsonl and metrics.csv beside it"));

  // The claim of physical removal: fewer bytes in the file, less time in the clock.
  const bool holds = slim_bytes < dense_bytes && slim_latency.many.median < dense_latency.many.median;
  if (o.check && !holds) throw esp::ClaimFailed("the pruned network is not smaller and faster than the dense one");
  return esp::ExitCode::done;
}

}  // namespace examples
