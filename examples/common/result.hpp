// SPDX-License-Identifier: Apache-2.0
// The rows that the examples print, and the same rows as JSON.
#pragma once

#include <string>
#include <vector>

#include <espalier/backend/host_threads.hpp>
#include <espalier/report/network.hpp>

#include "session.hpp"
#include "show.hpp"

namespace examples {

struct Latencies {
  esp::LatencyStats one, many;  // batch 1 and 32
  int threads = 1;
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
  return {esp::latency(device, net, input), esp::latency(device, net, input.with(0, 32), {.warm_up = 3, .runs = 20}), esp::host_threads(device)};
}

esp::Metadata metadata_for(const Options& o, const Images& images);

esp::Json configuration_json(const Options& o, const Images& images);

/// What goes by a plan: sums, and the channels of each group that loses some.
esp::Json plan_json(const esp::Plan& plan);

esp::Table result_table(const Images& images, std::uint64_t seed, const std::vector<Row>& rows);

esp::Json result_json(const Images& images, const Options& o, const std::vector<Row>& rows, const std::vector<esp::NotFaster>& not_faster = {});

/// The results on standard output, as a table or as one JSON object, and into the run's folder; a warning for each layer
/// that lost multiply-adds and did not get faster.
void show(Session& session, const Options& o, const Images& images, const std::vector<Row>& rows, const std::vector<esp::NotFaster>& not_faster);

}  // namespace examples
