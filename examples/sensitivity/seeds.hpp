// SPDX-License-Identifier: Apache-2.0
// The scan over several seeds, side by side: each trains a network of its own and scans it; the mean over them decides
// the widths, and every network is pruned to those.
#pragma once

#include <iostream>
#include <map>
#include <mutex>

#include "../common/side_by_side.hpp"
#include "results.hpp"

namespace examples {

/// What one seed arrived at.
struct SeedScan {
  esp::SensitivityScan scan;
  double dense = 0, alike = 0, by_scan = 0;  // accuracy on the images that no scan has seen
};

/// The mean of scans of one grid.
inline esp::SensitivityScan mean_of(const std::map<std::uint64_t, SeedScan>& seeds) {
  esp::SensitivityScan mean = seeds.begin()->second.scan;
  const auto n = static_cast<double>(seeds.size());
  const auto average = [&](auto pick) {
    double sum = 0;
    for (const auto& [seed, found] : seeds) sum += pick(found.scan);
    return sum / n;
  };
  mean.score = average([](const esp::SensitivityScan& s) { return s.score; });
  for (std::size_t g = 0; g < mean.groups.size(); ++g)
    for (std::size_t p = 0; p < mean.groups[g].points.size(); ++p)
      mean.groups[g].points[p].score = average([&](const esp::SensitivityScan& s) { return s.groups[g].points[p].score; });
  return mean;
}

/// The curves of the most sensitive groups with a band of one 95 % interval over the seeds.
inline esp::LineChart chart_of(const std::map<std::uint64_t, SeedScan>& seeds, const esp::SensitivityScan& mean, const std::vector<std::size_t>& groups) {
  esp::LineChart chart = sensitivity_chart(mean, groups);
  std::vector<esp::LineChart> each;
  for (const auto& [seed, found] : seeds) each.push_back(sensitivity_chart(found.scan, groups));
  for (std::size_t s = 0; s < chart.series.size(); ++s)
    for (std::size_t i = 0; i < chart.series[s].y.size(); ++i) {
      std::vector<double> values;
      for (const esp::LineChart& one : each) values.push_back(one.series[s].y[i]);
      const Estimate e = estimate(values);
      chart.series[s].low.push_back(e.mean - e.half);
      chart.series[s].high.push_back(e.mean + e.half);
    }
  return chart;
}

inline esp::ExitCode show_seeds(Session& session, const Options& o, const Images& images, const std::map<std::uint64_t, SeedScan>& seeds, const esp::SensitivityScan& mean, const esp::Budget& budget,
                                const esp::Plan& plan, const esp::Plan& control) {
  session.progress().clear();
  esp::Table table = sensitivity_table(mean);
  table.title = esp::str("Sensitivity of ", o.arch, " on ", images.name, " (real), mean of ", seeds.size(), " seeds from ", o.seed);
  esp::Table results{.title = esp::str("Accuracy on the ", esp::format_count(images.test.count), " test images that no scan has seen"), .columns = {{"network"}, {"left", esp::Align::right}, {"accuracy, %", esp::Align::right}}};
  const auto row = [&](const char* name, double left, auto pick) {
    std::vector<double> values;
    for (const auto& [seed, found] : seeds) values.push_back(pick(found));
    results.rows.push_back({name, esp::Cell::percent(left, 2), plus_minus(estimate(values), true)});
  };
  row("dense", 1, [](const SeedScan& s) { return s.dense; });
  row("all groups alike", share_left(control, budget), [](const SeedScan& s) { return s.alike; });
  row("by sensitivity", share_left(plan, budget), [](const SeedScan& s) { return s.by_scan; });
  results.notes = {esp::str("Mean +- half a 95 % confidence interval (Student's t) over seeds; nothing was retrained. left: of the ", budget.unit(), "; the widths follow from the mean scan.")};

  esp::Json json = configuration_json(o, images);
  json["scan"] = to_json(mean);
  json["budget"] = budget.share();
  json["budget_of"] = budget.unit();
  json["left"] = share_left(plan, budget);
  json["left_alike"] = share_left(control, budget);
  esp::Json& list = json["seeds"] = esp::Json::array();
  for (const auto& [seed, found] : seeds) {
    esp::Json item = esp::Json::object();
    item["seed"] = seed;
    item["dense"] = found.dense;
    item["all_groups_alike"] = found.alike;
    item["by_sensitivity"] = found.by_scan;
    item["scan"] = to_json(found.scan);
    list.push_back(std::move(item));
  }
  session.event("result", json);
  const auto chart = chart_of(seeds, mean, most_sensitive(mean));
  const auto tolerated = tolerated_chart(mean, 0.01);
  esp::HtmlReport report("What each layer can lose", esp::str(o.arch, " on ", images.name, ", mean of ", seeds.size(), " networks trained from seeds of their own."));
  report.section("Sensitivity").figure(chart, "Mean accuracy with one group pruned by L1 norm, nothing retrained, with a 95 % band over seeds.", "sensitivity.csv").figure(tolerated, "How much of each group alone can go.", "tolerated.csv");
  report.table(table, "sensitivity.csv");
  report.section("Results").table(results, "results.csv");
  report.section("Configuration").settings({{"data", images.name + ", real, " + images.source}, {"grid", to_words(o.fractions).substr(1)}, {"seeds", esp::str(seeds.size(), " from ", o.seed)}, {"policy", plan.policy}, {"control", control.policy}})
      .footer("espalier " ESPALIER_VERSION);
  esp::write_file_atomically(session.path("sensitivity.csv"), to_csv(sensitivity_points(mean)));
  esp::write_file_atomically(session.path("tolerated.csv"), to_csv(tolerated));
  esp::write_file_atomically(session.path("results.csv"), to_csv(results));
  esp::write_file_atomically(session.path("plan.txt"), to_text(plan));
  esp::write_file_atomically(session.path("report.html"), report.html());
  const bool utf8 = esp::standard_output(o.color).utf8;
  if (o.json) std::cout << json.dump() << '\n';
  else std::cout << to_text(table, 110, utf8) << '\n' << to_text(results, 110, utf8);
  check_budget(o, budget, plan);
  return esp::ExitCode::done;
}

/// The experiment of algorithm.hpp for each seed; a network that is trained is kept, and a scan goes on where it stopped.
template <class B>
esp::ExitCode scan_seeds(const Options& o, const Images& images, const esp::data::ImageSet& scan_images, const esp::FilterL1& policy, const esp::Budget& budget, const Recipe& recipe,
                         B (*make_device)(int threads)) {
  const esp::Shape input = images.one();
  B first_device = make_device(o.threads);
  const AnyNet<B> of_first_seed = make_net(first_device, o, input, esp::Rng(o.seed));
  using Net = AnyNet<B>;
  Session session(o, "sensitivity-" + o.arch, 1, configuration_json(o, images));
  const auto file_of = [&](std::uint64_t seed) { return session.path(esp::str("checkpoints/seed-", seed, ".safetensors")); };  // --force takes that folder away
  esp::detail::make_folder(session.path("checkpoints"));
  const auto options_for = [&](std::uint64_t seed) {
    return esp::TrainOptions<esp::Sgd, esp::MultiStep>{.epochs = recipe.epochs, .batch = recipe.batch, .optimizer = {.momentum = 0.9, .weight_decay = recipe.weight_decay},
        .schedule = recipe.schedule(), .normalise = images.normalise, .augment = recipe.augment, .seed = seed, .prefetch = 0};
  };
  const auto initial = [&](B& device, std::uint64_t seed) { return make_net(device, o, input, esp::Rng(seed)); };
  std::map<std::uint64_t, SeedScan> found;
  std::mutex mutex;
  SideBySide<B> jobs;
  const std::uint64_t end = o.seed + static_cast<std::uint64_t>(*o.seeds);
  const auto stop = [&] { if (session.stop()()) throw esp::Stopped(session.stop().number(), esp::str("stopped; continue with --resume --out ", session.folder())); };
  for (std::uint64_t seed = o.seed; seed < end; ++seed)
    jobs.add([&, seed](B& device) {
      Net net = initial(device, seed);
      if (o.resume && exists(file_of(seed))) {
        esp::load_weights(device, net, file_of(seed), input);
      } else {
        train(device, net, images.train, options_for(seed), esp::NoObserver{}, esp::NoCheckpoints{}, session.stop());
        stop();
        Options mine = o;
        mine.seed = seed;
        esp::save_weights(device, net, file_of(seed), metadata_for(mine, images));
      }
      Scores scores(session.path(esp::str("scores-", seed, ".txt")), esp::str(fingerprint(device, net), ' ', scan_images.count, " images of ", images.name, ", grid", to_words(o.fractions)), o.resume);
      SeedScan mine{.scan = esp::sensitivity(device, net, input, policy, o.fractions, [&](const auto& slim, const esp::SensitivityStep& step) {
        stop();
        return scores(step, [&] { return esp::evaluate(device, slim, scan_images, images.normalise).accuracy; });
      })};
      const std::lock_guard lock(mutex);
      session.progress().note(esp::str("seed ", seed, " scanned: dense accuracy ", esp::format_percent(mine.scan.score, 2)));
      found.emplace(seed, std::move(mine));
    });
  jobs.run(o.threads, *o.seeds, make_device);

  // The widths for the budget follow from the mean; each seed's network is cut to them.
  const esp::SensitivityScan mean = mean_of(found);
  const auto by_scan = within_budget(first_device, of_first_seed, policy, mean, budget), alike = within_budget(first_device, of_first_seed, policy, all_alike(mean), budget);
  std::optional<esp::Plan> plan, control;
  for (auto& [seed, mine] : found) {
    Net net = initial(first_device, seed);
    esp::load_weights(first_device, net, file_of(seed), input);
    const auto accuracy = [&](const Net& measured) { return esp::evaluate(first_device, measured, images.test, images.normalise).accuracy; };
    const esp::Plan cut = esp::plan(first_device, net, input, by_scan), cut_alike = esp::plan(first_device, net, input, alike);
    mine.dense = accuracy(net);
    mine.by_scan = accuracy(esp::shrink(first_device, net, cut));
    mine.alike = accuracy(esp::shrink(first_device, net, cut_alike));
    if (!plan) plan = cut, control = cut_alike;
  }
  return show_seeds(session, o, images, found, mean, budget, *plan, *control);
}

}  // namespace examples
