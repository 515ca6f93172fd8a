// SPDX-License-Identifier: Apache-2.0
// The rows that the examples print, and the same rows as JSON.
#pragma once

#include <iostream>
#include <string>
#include <vector>

#include <espalier/report/network.hpp>

#include "session.hpp"
#include "show.hpp"

namespace examples {

struct Latencies {
  esp::LatencyStats one, many;  // batch 1 and 32
};

/// One network of a comparison.
struct Row {
  std::string name;
  esp::NetworkCost cost;
  esp::Index file_bytes = 0;
  double accuracy = 0;  // on the test set, after the last epoch
  double seconds = 0;   // of training
  Latencies latency{};
};

template <esp::Backend B, esp::Module M>
Latencies measured(B& device, const M& net, const esp::Shape& input) {
  return {esp::latency(device, net, input), esp::latency(device, net, input.with(0, 32), {.warm_up = 3, .runs = 20})};
}

inline esp::Metadata metadata_for(const Options& o, const Images& images) {
  const auto list = [](const std::vector<float>& values) {
    std::string text;
    for (const float v : values) text += esp::str(text.empty() ? "" : ",", v);
    return text;
  };
  return {{"arch", o.arch}, {"data", images.name}, {"seed", esp::str(o.seed)}, {"normalize_mean", list(images.normalise.mean)}, {"normalize_std", list(images.normalise.std)}};
}

inline esp::Json configuration_json(const Options& o, const Images& images) {
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
  return out;
}

inline esp::Table result_table(const Images& images, std::uint64_t seed, const std::vector<Row>& rows) {
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
                 "Latency: median of repeated inference. delta: accuracy against the first row, in points. time: training."};
  return table;
}

inline esp::Json result_json(const Images& images, const Options& o, const std::vector<Row>& rows) {
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
    list.push_back(std::move(item));
  }
  out["dense"] = cost_json(rows.front().cost);
  out["pruned"] = cost_json(rows.back().cost);
  out["networks"] = std::move(list);
  return out;
}

/// The results on standard output, as a table or as one JSON object, and into the run's folder.
inline void show(Session& session, const Options& o, const Images& images, const std::vector<Row>& rows) {
  session.progress().clear();
  const esp::Json json = result_json(images, o, rows);
  session.event("result", json);
  const esp::Table table = result_table(images, o.seed, rows);
  esp::write_file_atomically(session.path("results.csv"), to_csv(table));
  if (o.json) std::cout << json.dump() << '\n';
  else std::cout << to_text(table, 110, esp::standard_output(o.color).utf8);
}

}  // namespace examples
