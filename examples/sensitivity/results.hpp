// SPDX-License-Identifier: Apache-2.0
// What the scan leaves in the run's folder: scores that a resumed run goes on from, tables, the report.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include <espalier/report/html.hpp>
#include <espalier/report/sensitivity.hpp>

#include "../common/points.hpp"
#include "../common/result.hpp"

namespace examples {

/// The scores of a scan in the order that it asks for them, in a file of its own: a scan that was stopped asks
/// again from the start, and what it knew is not measured twice. Scores of another network or grid are dropped.
class Scores {
 public:
  Scores(std::string path, std::string of, bool resume) : path_(std::move(path)), text_(std::move(of) + '\n') {
    if (!resume || !exists(path_)) return;
    const std::string found = read_text(path_);
    if (!found.starts_with(text_)) return;
    for (std::size_t at = text_.size(); at < found.size();) {
      const std::size_t end = found.find('\n', at);
      known_.push_back(std::strtod(found.substr(at, end - at).c_str(), nullptr));
      at = end + 1;
    }
  }

  template <class F>
  double operator()(const esp::SensitivityStep& step, F measure) {
    const auto i = static_cast<std::size_t>(step.done);
    const bool is_known = i < known_.size();
    const double score = is_known ? known_[i] : measure();
    text_ += esp::str(score, '\n');
    if (!is_known) esp::write_file_atomically(path_, text_);
    return score;
  }

 private:
  std::string path_, text_;
  std::vector<double> known_;
};

/// Every group loses by its share of removed channels: what makes a budget cut all groups alike.
inline esp::SensitivityScan all_alike(esp::SensitivityScan scan) {
  for (auto& group : scan.groups)
    for (auto& point : group.points) point.score = -(1 - static_cast<double>(point.kept) / static_cast<double>(group.channels));
  return scan;
}

/// Channels of each group, before, by the scan, and with all groups cut alike.
inline esp::BarChart widths_chart(const esp::Plan& by_scan, const esp::Plan& alike) {
  esp::BarChart chart{.title = "Channels kept at the same budget", .category_title = "group", .y = {.title = "channels kept", .percent = true}, .series = {{"all groups alike", {}}, {"by sensitivity", {}}}};
  for (std::size_t g = 0; g < by_scan.groups.size(); ++g) {
    const auto& group = by_scan.groups[g];
    if (group.remove.empty() && alike.groups[g].remove.empty()) continue;
    chart.categories.push_back(group.name);
    chart.series[0].values.push_back(static_cast<double>(alike.groups[g].keep()) / static_cast<double>(group.channels));
    chart.series[1].values.push_back(static_cast<double>(group.keep()) / static_cast<double>(group.channels));
  }
  return chart;
}

/// The largest drop that the scan saw for any group at its planned width.
inline double largest_drop(const esp::SensitivityScan& scan, const esp::Plan& plan) {
  double drop = 0;
  for (std::size_t g = 0; g < scan.groups.size(); ++g) drop = std::max(drop, scan.drop(scan.groups[g], plan.groups[g].keep()));
  return drop;
}

inline double share_left(const esp::Plan& plan, const esp::Budget& budget) {
  return budget.parameters ? static_cast<double>(plan.parameters_after) / static_cast<double>(plan.parameters_before)
                           : static_cast<double>(plan.multiply_adds_after) / static_cast<double>(plan.multiply_adds_before);
}

/// --check: the plan meets the budget.
inline void check_budget(const Options& o, const esp::Budget& budget, const esp::Plan& plan) {
  const double spare = budget.share() - share_left(plan, budget);
  if (o.check && !(spare >= 0 && spare <= budget.within)) throw esp::ClaimFailed("the budget is not met within 2 %");
}

inline std::string to_words(const std::vector<double>& values) {
  std::string text;
  for (const double v : values) text += esp::str(' ', v);
  return text;
}

/// Groups, fractions and what they cost, without a trained network.
inline esp::ExitCode show_grid(const Options& o, const esp::SensitivityScan& grid) {
  esp::Json json = to_json(grid);
  json["arch"] = o.arch;
  if (o.json) std::cout << json.dump() << '\n';
  else std::cout << to_text(sensitivity_cost_table(grid), 110, esp::standard_output(o.color).utf8);
  return esp::ExitCode::done;
}

/// What the algorithm arrived at.
struct Outcome {
  esp::Budget budget;
  esp::FilterL1 policy;
  esp::Plan plan, control;
  esp::Index scan_images = 0;
  double scan_seconds = 0;
  std::vector<Row> rows;
};

/// The results on standard output and into the run's folder.
inline esp::ExitCode show_scan(Session& session, const Options& o, const Images& images, const esp::SensitivityScan& scan, const Outcome& found) {
  session.progress().clear();
  const bool utf8 = esp::standard_output(o.color).utf8;
  const auto write = [&](const char* file, const std::string& text) { esp::write_file_atomically(session.path(file), text); };
  esp::Table table = sensitivity_table(scan), results = result_table(images, o.seed, found.rows);
  table.title = esp::str("Sensitivity of ", o.arch, " on the first ", esp::format_count(found.scan_images), " test images of ", images.name, " (real)");
  results.notes.front() = esp::str("Accuracy on the ", esp::format_count(images.test.count), " test images that the scan has not seen. MACs: 1 per multiply-add, one image.");
  const double left = share_left(found.plan, found.budget), drop = largest_drop(scan, found.plan);
  results.notes.push_back(esp::str("Budget: ", esp::format_percent(found.budget.share(), 1), " of the ", found.budget.unit(), "; by sensitivity ", esp::format_percent(left, 2), ", all groups alike ",
                                   esp::format_percent(share_left(found.control, found.budget), 2), " are left. In the scan no group alone lost more than ", esp::format_fixed(100 * drop, 1), " points at its width."));

  const auto order = scan.by_sensitivity();
  const auto curves = sensitivity_chart(scan, most_sensitive(scan));
  auto next = sensitivity_chart(scan, std::vector<std::size_t>(order.begin() + static_cast<std::ptrdiff_t>(curves.series.size()), order.begin() + static_cast<std::ptrdiff_t>(std::min(order.size(), 2 * curves.series.size()))));
  next.title = "The next most sensitive groups";
  const auto tolerated = tolerated_chart(scan, 0.01);
  const auto widths = widths_chart(found.plan, found.control);
  write("sensitivity.csv", to_csv(sensitivity_points(scan)));
  write("sensitivity.txt", to_text(table, 110, true) + '\n' + to_text(results, 110, true));
  write("results.csv", to_csv(results));
  write("tolerated.csv", to_csv(tolerated));
  write("widths.csv", to_csv(widths));

  const auto accuracy_of = [&](const std::string& name) {
    return std::find_if(found.rows.begin(), found.rows.end(), [&](const Row& row) { return row.name == name; })->accuracy;
  };
  esp::HtmlReport report("What each layer can lose",
                         esp::str("Widths by sensitivity leave ", esp::format_percent(left, 1), " of the ", found.budget.unit(), " of ", o.arch, " and, without retraining, ", esp::format_percent(accuracy_of("by sensitivity"), 2),
                                  " accuracy; cutting all groups alike to the same budget leaves ", esp::format_percent(accuracy_of("all groups alike"), 2), ". The dense network has ", esp::format_percent(found.rows[0].accuracy, 2), "."));
  report.section("Sensitivity").figure(curves, "Accuracy with one group pruned by L1 norm, nothing retrained: the most sensitive groups, most sensitive first.", "sensitivity.csv");
  if (!next.series.empty()) report.figure(next, "The groups that follow, on an axis of their own.", "sensitivity.csv");
  report.figure(tolerated, "How much of each group alone can go. Groups in the order of the computation; \"+n\": n more layers write the same channels.", "tolerated.csv");
  report.table(table, "sensitivity.csv");
  report.section("Widths for the budget").figure(widths, "The share of each group that is kept; the plan is in plan.txt.", "widths.csv");
  report.section("Results").table(results, "results.csv");
  report.section("Configuration").settings({{"data", images.name + ", real, " + images.source}, {"scan", esp::str("first ", found.scan_images, " test images, ", esp::format_seconds(found.scan_seconds))},
                                            {"grid", to_words(o.fractions).substr(1)}, {"seed", esp::str(o.seed)}, {"policy", found.plan.policy}, {"control", found.control.policy}})
      .footer("espalier " ESPALIER_VERSION);
  write("report.html", report.html());

  esp::Json json = result_json(images, o, found.rows);
  json["scan"] = to_json(scan);
  json["scan_images"] = found.scan_images;
  json["scan_seconds"] = found.scan_seconds;
  json["policy"] = found.plan.policy;
  json["budget"] = found.budget.share();
  json["budget_of"] = found.budget.unit();
  json["left"] = left;
  json["left_alike"] = share_left(found.control, found.budget);
  json["largest_drop_in_scan"] = drop;
  session.event("result", json);
  if (o.json) std::cout << json.dump() << '\n';
  else std::cout << to_text(table, 110, utf8) << '\n' << to_text(results, 110, utf8);
  session.progress().note(esp::str("report ", session.path("report.html"), "; plan.txt, sensitivity.csv and models beside it"));
  check_budget(o, found.budget, found.plan);
  return esp::ExitCode::done;
}

}  // namespace examples
