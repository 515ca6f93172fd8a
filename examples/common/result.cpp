// SPDX-License-Identifier: Apache-2.0
#include "result.hpp"

#include <iostream>

namespace examples {

esp::Metadata metadata_for(const Options& o, const Images& images) {
  const auto list = [](const std::vector<float>& values) {
    std::string text;
    for (const float v : values) text += esp::str(text.empty() ? "" : ",", v);
    return text;
  };
  return {{"arch", o.arch}, {"data", images.name}, {"seed", esp::str(o.seed)}, {"normalize_mean", list(images.normalise.mean)}, {"normalize_std", list(images.normalise.std)}};
}

esp::Json configuration_json(const Options& o, const Images& images) {
  esp::Json out = esp::Json::object();
  out["espalier"] = ESPALIER_VERSION;
  out["arch"] = o.arch;
  out["variant"] = o.variant;
  out["data"] = images.name;
  out["source"] = images.source;
  out["train_images"] = images.train.count;
  out["test_images"] = images.test.count;
  out["seed"] = static_cast<std::int64_t>(o.seed);
  out["quick"] = o.quick;
  out["model"] = o.model;
  if (!o.shortcut.empty()) out["shortcut"] = o.shortcut;
  const auto given = [&](const char* name, const auto& value) { if (value) out[name] = *value; };
  given("epochs", o.epochs);
  given("fine_tune_epochs", o.fine_tune_epochs);
  given("batch", o.batch);
  given("lr", o.lr);
  given("fraction", o.fraction);
  if (!o.plan.empty()) out["plan"] = o.plan;
  esp::Json sparsities = esp::Json::array();
  for (const double s : o.sparsities) sparsities.push_back(s);
  if (!o.sparsities.empty()) out["sparsities"] = std::move(sparsities);
  return out;
}

namespace {

/// "1.2 ms, 30 ms for dense; 0.8 ms, 20 ms for pruned": networks that share a measurement are named once.
std::string within(const std::vector<Row>& rows) {
  std::string text;
  const esp::LatencyStats* before = nullptr;
  for (const Row& row : rows) {
    if (before == nullptr || !(*before == row.latency.one))
      text += esp::str(text.empty() ? "" : "; ", esp::format_seconds(row.latency.one.p95), ", ", esp::format_seconds(row.latency.many.p95), " for ", row.name);
    before = &row.latency.one;
  }
  return text;
}

}  // namespace

esp::Table result_table(const Images& images, std::uint64_t seed, const std::vector<Row>& rows) {
  using esp::Align;
  using esp::Cell;
  esp::Table table;
  table.title = esp::str(images.name, ", ", esp::format_count(images.train.count), " training and ", esp::format_count(images.test.count), " test images (real), seed ", seed);
  table.columns = {{"network", Align::left}, {"params", Align::right}, {"MACs", Align::right}, {"file", Align::right}, {"batch 1", Align::right}, {"batch 32", Align::right},
                   {"accuracy", Align::right}, {"delta", Align::right}, {"time", Align::right}};
  for (const Row& row : rows)
    table.rows.push_back({row.name, Cell::count(row.cost.parameters), Cell::si(row.cost.multiply_adds), Cell::bytes(static_cast<std::uint64_t>(row.file_bytes)),
                          Cell::seconds(row.latency.one.median), Cell::seconds(row.latency.many.median), Cell::percent(row.accuracy, 2),
                          &row == rows.data() ? Cell::none() : Cell::points(row.accuracy - rows.front().accuracy, 2), row.seconds > 0 ? Cell::clock(row.seconds) : Cell::none()});
  table.notes = {"Accuracy on the test images after the last epoch (no choice was made by it). MACs: 1 per multiply-add, one image.",
                 esp::str("Latency: median of repeated inference, ", rows.front().latency.threads, rows.front().latency.threads == 1 ? " thread" : " threads",
                          "; 95 % of the calls within ", within(rows), " (batch 1, 32). delta: accuracy against the first row, in points. time: training.")};
  return table;
}

esp::Json plan_json(const esp::Plan& plan) {
  esp::Json out = esp::Json::object();
  out["removed_channels"] = plan.removed();
  out["params_before"] = plan.parameters_before;
  out["params_after"] = plan.parameters_after;
  out["macs_before"] = plan.multiply_adds_before;
  out["macs_after"] = plan.multiply_adds_after;
  esp::Json& groups = out["groups"] = esp::Json::array();
  for (const auto& group : plan.groups) {
    if (group.remove.empty()) continue;
    esp::Json item = esp::Json::object();
    item["group"] = group.name;
    item["channels"] = group.channels;
    esp::Json& gone = item["removed"] = esp::Json::array();
    for (const esp::Index channel : group.remove) gone.push_back(channel);
    groups.push_back(std::move(item));
  }
  return out;
}

esp::Json result_json(const Images& images, const Options& o, const std::vector<Row>& rows, const std::vector<esp::NotFaster>& not_faster) {
  esp::Json out = configuration_json(o, images);
  esp::Json list = esp::Json::array();
  for (const Row& row : rows) {
    esp::Json item = cost_json(row.cost);
    item["name"] = row.name;
    item["file_bytes"] = row.file_bytes;
    item["accuracy"] = row.accuracy;
    item["training_seconds"] = row.seconds;
    item["latency_batch1_seconds"] = row.latency.one.median;
    item["latency_batch32_seconds"] = row.latency.many.median;
    item["latency_batch1_p95_seconds"] = row.latency.one.p95;
    item["latency_batch32_p95_seconds"] = row.latency.many.p95;
    item["latency_threads"] = row.latency.threads;
    list.push_back(std::move(item));
  }
  out["dense"] = cost_json(rows.front().cost);
  out["pruned"] = cost_json(rows.back().cost);
  out["networks"] = std::move(list);
  esp::Json& flagged = out["layers_not_faster"] = esp::Json::array();
  for (const esp::NotFaster& layer : not_faster) {
    esp::Json item = esp::Json::object();
    item["layer"] = layer.layer;
    item["before_seconds"] = layer.before;
    item["after_seconds"] = layer.after;
    flagged.push_back(std::move(item));
  }
  return out;
}

void show(Session& session, const Options& o, const Images& images, const std::vector<Row>& rows, const std::vector<esp::NotFaster>& not_faster) {
  for (const esp::NotFaster& layer : not_faster)
    session.progress().warn(esp::str(layer.layer, " lost multiply-adds and did not get faster: ", esp::format_seconds(layer.before), " -> ", esp::format_seconds(layer.after)));
  session.progress().clear();
  const esp::Json json = result_json(images, o, rows, not_faster);
  session.event("result", json);
  const esp::Table table = result_table(images, o.seed, rows);
  esp::write_file_atomically(session.path("results.csv"), to_csv(table));
  if (o.json) std::cout << json.dump() << '\n';
  else std::cout << to_text(table, 110, esp::standard_output(o.color).utf8);
}

}  // namespace examples
