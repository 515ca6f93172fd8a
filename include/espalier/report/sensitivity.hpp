// SPDX-License-Identifier: Apache-2.0
// A sensitivity scan for people and programs: a table with a row for each group, the exact points as CSV
// and JSON, curves of the most sensitive groups, and how much of each group can go for a given loss.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include <espalier/io/json.hpp>
#include <espalier/prune/sensitivity.hpp>
#include <espalier/report/bar_chart.hpp>
#include <espalier/report/line_chart.hpp>
#include <espalier/report/table.hpp>

namespace espalier {

/// What the score of a scan is called, and whether it is a fraction that is shown as a percentage.
struct ScoreName {
  std::string text = "accuracy";
  bool percent = true;
  bool operator==(const ScoreName&) const = default;
};

namespace detail {

// A row for each group that was scanned, a column for each fraction, and why the other groups were not.
template <class F>
Table scan_table(const SensitivityScan& scan, F&& cell) {
  Table table;
  table.columns = {{"group", Align::left}, {"channels", Align::right}};
  for (const double f : scan.fractions) table.columns.push_back({"-" + format_percent(f, std::fabs(100 * f - std::round(100 * f)) < 1e-9 ? 0 : 1), Align::right, str("remove_", f)});
  std::string excluded;
  for (const auto& group : scan.groups) {
    if (group.points.empty()) {
      excluded += str(excluded.empty() ? "Not scanned: " : "; ", group.name, " (", group.excluded_because, ")");
      continue;
    }
    table.rows.push_back({group.name, Cell::count(group.channels)});
    for (const auto& point : group.points) table.rows.back().push_back(cell(point));
  }
  if (!excluded.empty()) table.notes.push_back(excluded + '.');
  return table;
}

inline Cell score_change(double change, const ScoreName& score) {
  return score.percent ? Cell::points(change) : Cell(str(change > 0 ? "+" : "", format_fixed(change, 3)), change);
}

}  // namespace detail

/// How much the score changes when each fraction of a group's channels goes.
inline Table sensitivity_table(const SensitivityScan& scan, const ScoreName& score = {}) {
  Table table = detail::scan_table(scan, [&](const SensitivityPoint& p) { return detail::score_change(p.score - scan.score, score); });
  table.notes.insert(table.notes.begin(),
                     str("Change of ", score.text, score.percent ? " in points, from " : ", from ", score.percent ? format_percent(scan.score, 2) : format_fixed(scan.score, 3),
                         ", with that share of one group's channels gone and nothing retrained. \"+n\": n more layers write the same channels and lose them too. By ", scan.criterion, "."));
  return table;
}

/// What each fraction of a group leaves of the whole network's multiply-adds; needs no scores.
inline Table sensitivity_cost_table(const SensitivityScan& scan) {
  Table table = detail::scan_table(scan, [&](const SensitivityPoint& p) { return Cell::percent(static_cast<double>(p.multiply_adds) / static_cast<double>(scan.multiply_adds)); });
  table.notes.insert(table.notes.begin(), str("Share of the network's ", format_count(scan.multiply_adds), " multiply-adds that is left with that share of one group's channels gone."));
  return table;
}

/// Every point with its exact numbers, one a row, for a CSV file; a group that was not scanned is a row with the reason.
inline Table sensitivity_points(const SensitivityScan& scan) {
  Table table;
  for (const char* key : {"group", "layers", "channels", "remove", "kept", "score", "drop", "parameters", "multiply_adds", "not_scanned_because"}) table.columns.push_back({key});
  for (const auto& group : scan.groups) {
    std::string layers;
    for (const auto& layer : group.layers) layers += str(layers.empty() ? "" : " ", layer);
    const auto number = [](double x) { return Cell(str(x), x); };
    for (const auto& p : group.points)
      table.rows.push_back({group.name, layers, Cell::count(group.channels), number(p.remove), Cell::count(p.kept), number(p.score), number(scan.drop(group, p.kept)),
                            Cell::count(p.parameters), Cell::count(p.multiply_adds), ""});
    if (group.points.empty())
      table.rows.push_back({group.name, layers, Cell::count(group.channels), Cell::none(), Cell::count(group.channels), Cell::none(), Cell::none(), Cell::count(scan.parameters),
                            Cell::count(scan.multiply_adds), group.excluded_because});
  }
  return table;
}

/// The whole scan.
inline Json to_json(const SensitivityScan& scan) {
  Json out = Json::object();
  out["criterion"] = scan.criterion;
  out["score"] = scan.score;
  out["params"] = scan.parameters;
  out["macs"] = scan.multiply_adds;
  Json groups = Json::array();
  for (const auto& group : scan.groups) {
    Json row = Json::object();
    row["name"] = group.name;
    row["channels"] = group.channels;
    Json layers = Json::array(), points = Json::array();
    for (const auto& layer : group.layers) layers.push_back(layer);
    row["layers"] = std::move(layers);
    if (!group.excluded_because.empty()) row["not_scanned_because"] = group.excluded_because;
    for (const auto& p : group.points) {
      Json point = Json::object();
      point["remove"] = p.remove;
      point["kept"] = p.kept;
      point["score"] = p.score;
      point["params"] = p.parameters;
      point["macs"] = p.multiply_adds;
      points.push_back(std::move(point));
    }
    row["points"] = std::move(points);
    groups.push_back(std::move(row));
  }
  out["groups"] = std::move(groups);
  return out;
}

/// The score over the share of channels removed, for these groups (indices into scan.groups), from nothing removed on.
inline LineChart sensitivity_chart(const SensitivityScan& scan, const std::vector<std::size_t>& groups, const ScoreName& score = {}) {
  LineChart chart{.title = str("Sensitivity: ", score.text, " with one group pruned"), .x = {.title = "channels removed", .percent = true}, .y = {.title = score.text, .percent = score.percent}};
  for (const std::size_t g : groups) {
    const auto& group = scan.groups.at(g);
    Series series{.name = group.name, .x = {0}, .y = {scan.score}};
    for (const auto& p : group.points) {
      const double removed = 1 - static_cast<double>(p.kept) / static_cast<double>(group.channels);
      if (removed == series.x.back()) continue;
      series.x.push_back(removed);
      series.y.push_back(p.score);
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

/// The most sensitive groups, the most sensitive first: no more than can be told apart.
inline std::vector<std::size_t> most_sensitive(const SensitivityScan& scan, std::size_t count = detail::chart_colors) {
  auto order = scan.by_sensitivity();
  order.resize(std::min(order.size(), count));
  return order;
}

/// How much of each group could go, alone, for no more than this loss of the score.
inline BarChart tolerated_chart(const SensitivityScan& scan, double drop, const ScoreName& score = {}) {
  BarChart chart{.title = str("Channels that one group can lose for ", score.percent ? format_fixed(100 * drop, 1) + " points" : format_fixed(drop, 3), " of ", score.text),
                 .category_title = "group", .y = {.title = "channels removed", .percent = true}, .series = {{.name = "removable"}}};
  for (const auto& group : scan.groups) {
    if (group.points.empty()) continue;
    chart.categories.push_back(group.name);
    chart.series[0].values.push_back(1 - static_cast<double>(scan.width_within(group, drop)) / static_cast<double>(group.channels));
  }
  return chart;
}

}  // namespace espalier
