// SPDX-License-Identifier: Apache-2.0
// Around the weight-level experiment: the dry run, Scratch-B's budget, tables and plots.
#pragma once

#include <iostream>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <espalier/nn/compiled.hpp>
#include <espalier/prune/dead_channels.hpp>
#include <espalier/prune/unstructured.hpp>
#include <espalier/report/html.hpp>
#include <espalier/report/svg.hpp>
#include <espalier/report/table.hpp>

#include "../common/points.hpp"
#include "../common/result.hpp"

namespace examples {

/// The weights that are not pruned: those of linear layers, unless there are no others (the paper prunes convolutions).
template <esp::Module M>
std::vector<std::string> not_pruned(const M& net) {
  std::vector<std::string> linear;
  bool convolutions = false;
  esp::for_each_parameter(net, [&](const std::string& path, const auto& p) {
    if (p.layout == esp::Layout::linear) linear.push_back(path);
    convolutions = convolutions || p.layout == esp::Layout::convolution;
  });
  return convolutions ? linear : std::vector<std::string>{};
}

/// The multiply-adds of one input that live weights take.
template <esp::Backend B, esp::Module M>
double live_multiply_adds(const M& net, const esp::Shape& input, const esp::Mask& mask) {
  double live = 0;
  for (const auto& layer : esp::cost<B>(net, input).layers) {
    const esp::MaskPart* part = mask.find(layer.name + ".weight");
    live += (part == nullptr ? 1 : part->density()) * static_cast<double>(layer.multiply_adds);
  }
  return live;
}

/// floor(epochs * MACs(large) / MACs(sparse)).
template <esp::Backend B, esp::Module M>
esp::Index scratch_b_epochs(const M& net, const esp::Shape& input, const esp::Mask& mask, esp::Index epochs) {
  return static_cast<esp::Index>(static_cast<double>(epochs) * static_cast<double>(esp::cost<B>(net, input).multiply_adds) / live_multiply_adds<B>(net, input, mask));
}

/// What each layer keeps, at the weights the network has: no training, no data.
template <esp::Backend B, esp::Module M, class Policy>
esp::ExitCode print_layers(const Options& o, B& device, M net, const esp::Shape& input, const Policy& smallest) {
  if (!o.model.empty()) esp::load_weights(device, net, o.model, input);
  const esp::Mask whole = esp::Mask::ones(net);
  esp::Table table{.title = esp::str(o.arch, o.model.empty() ? ", new weights" : ", " + o.model, ": weights kept"), .columns = {{"layer"}, {"weights", esp::Align::right}}};
  esp::Json out = esp::Json::object();
  out["arch"] = o.arch;
  out["weights"] = whole.weights();
  out["dense"] = cost_json(esp::cost<B>(net, input));
  out["pruned"] = esp::Json::array();
  std::vector<esp::Mask> masks;
  for (const double sparsity : o.sparsities) {
    masks.push_back(smallest(sparsity).next(device, net, whole));
    table.columns.push_back({esp::str("at ", esp::format_percent(sparsity, 0)), esp::Align::right});
    esp::Json item = esp::Json::object();
    item["sparsity"] = sparsity;
    item["survivors"] = masks.back().survivors();
    item["live_macs"] = static_cast<esp::Index>(live_multiply_adds<B>(net, input, masks.back()));
    esp::Json& layers = item["layers"] = esp::Json::object();
    for (const esp::MaskPart& part : masks.back().parts()) layers[part.path] = part.survivors();
    out["pruned"].push_back(std::move(item));
  }
  for (std::size_t i = 0; i < whole.parts().size(); ++i) {
    table.rows.push_back({whole.parts()[i].path, esp::Cell::count(whole.parts()[i].weights())});
    for (const esp::Mask& mask : masks) table.rows.back().push_back(esp::Cell::count(mask.parts()[i].survivors()));
  }
  if (o.json) std::cout << out.dump() << '\n';
  else std::cout << to_text(table, 100, esp::standard_output(o.color).utf8);
  return esp::ExitCode::done;
}

/// What a fine-tuned network loses when its dead channels are cut out, by sparsity; of the first seed.
class Removals {
 public:
  struct Row {
    double sparsity;
    esp::NetworkCost before, after;
    esp::Index channels;
    double latency_before, latency_after;
    double compiled;  // of what is left, with sparse weights where they pay
    std::size_t sparse_layers;
  };
  template <esp::Backend B, esp::Module M>
  void add(double sparsity, const M& net, const esp::WithoutDead<M>& without, B& device, const esp::Shape& input) {
    const esp::Shape many = input.with(0, 32);
    auto compiled = esp::compile(device, without.net, many);
    const auto x = esp::detail::noise(device, many);
    const double seconds = esp::measure([&] { (void)compiled(x); }, {.warm_up = 3, .runs = 20}).median;
    std::size_t sparse = 0;
    for (const auto& choice : compiled.choices()) {
      reasons_.push_back(esp::str(esp::format_percent(sparsity, 0), " removed: ", choice.reason()));
      sparse += choice.kernel == esp::LinearKernel::sparse ? 1 : 0;
    }
    rows_.push_back({sparsity, esp::cost<B>(net, input), esp::cost<B>(without.net, input), without.found.plan.removed(), measured(device, net, input).many.median,
                     measured(device, without.net, input).many.median, seconds, sparse});
  }
  esp::Table table() const {
    esp::Table t{.title = "Cut out for real: channels that no live weight writes or reads",
                 .columns = {{"removed", esp::Align::right}, {"channels gone", esp::Align::right}, {"params", esp::Align::right}, {"after", esp::Align::right}, {"MACs", esp::Align::right},
                             {"after", esp::Align::right, "macs_after"}, {"batch 32", esp::Align::right}, {"after", esp::Align::right, "latency_after"},
                             {"compiled", esp::Align::right}, {"sparse layers", esp::Align::right}}};
    for (const Row& r : rows_)
      t.rows.push_back({esp::Cell::percent(r.sparsity, 0), esp::Cell::count(r.channels), esp::Cell::count(r.before.parameters), esp::Cell::count(r.after.parameters),
                        esp::Cell::si(r.before.multiply_adds), esp::Cell::si(r.after.multiply_adds), esp::Cell::seconds(r.latency_before), esp::Cell::seconds(r.latency_after),
                        esp::Cell::seconds(r.compiled), esp::str(r.sparse_layers)});
    t.notes = {"The networks compute the same. A mask alone makes nothing smaller or faster. compiled: linear layers run on sparse weights where that was measured to be faster."};
    return t;
  }
  /// Why each linear layer runs on sparse or on dense weights.
  const std::vector<std::string>& reasons() const { return reasons_; }

 private:
  std::vector<Row> rows_;
  std::vector<std::string> reasons_;
};

inline esp::Table magnitude_table(const Options& o, const Images& images, const std::vector<Point>& points) {
  std::set<std::uint64_t> seeds;
  for (const Point& p : points) seeds.insert(p.seed);
  esp::Table table;
  table.title = esp::str(o.arch, ", ", images.name, ", ", esp::format_count(images.train.count), " training images (real), ", seeds.size(), seeds.size() == 1 ? " seed" : " seeds", " from ", o.seed);
  table.columns = {{"removed", esp::Align::left}, {"network", esp::Align::left}, {"trainings", esp::Align::right}, {"iterations", esp::Align::right}, {"accuracy, %", esp::Align::right}, {"delta", esp::Align::right}};
  const auto levels = levels_of(points);
  const double dense = levels.at("dense").at(0).final_accuracy.mean;
  const auto iterations = [&](const std::string& kind, esp::Index level) {
    for (const Point& p : points)
      if (p.kind == kind && p.round == level) return p.iterations;
    return esp::Index{0};
  };
  for (std::size_t level = 0; level <= o.sparsities.size(); ++level)
    for (const char* kind : {"dense", "fine-tuned", "in rounds", "Scratch-E", "Scratch-B"}) {
      const auto found = levels.find(kind);
      const auto at = static_cast<esp::Index>(level);
      if (found == levels.end() || found->second.count(at) == 0) continue;
      const Level& l = found->second.at(at);
      table.rows.push_back({level == 0 ? esp::Cell::none() : esp::Cell::percent(o.sparsities[level - 1], 0), kind, esp::str(l.final_accuracy.n), esp::Cell::count(iterations(kind, at)),
                            plus_minus(l.final_accuracy, true), level == 0 ? esp::Cell::none() : esp::Cell::points(l.final_accuracy.mean - dense, 2)});
    }
  table.notes = {"Accuracy on the test images after the last iteration, mean +- half a 95 % confidence interval (Student's t) over seeds.",
                 "in rounds: of the last round's training. Scratch-B: epochs * MACs(dense) / MACs of live weights."};
  return table;
}

inline esp::LineChart magnitude_chart(const Options& o, const std::vector<Point>& points) {
  esp::LineChart chart{.title = "Test accuracy by share of weights removed", .x = {.title = "weights removed", .percent = true}, .y = {.title = "test accuracy", .percent = true}};
  for (const auto& [kind, levels] : levels_of(points)) {
    if (kind == "dense") continue;
    esp::Series series{.name = kind};
    for (const auto& [level, l] : levels) {
      series.x.push_back(o.sparsities[static_cast<std::size_t>(level) - 1]);
      series.y.push_back(l.final_accuracy.mean);
      series.low.push_back(l.final_accuracy.mean - l.final_accuracy.half);
      series.high.push_back(l.final_accuracy.mean + l.final_accuracy.half);
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

inline esp::ExitCode show_levels(Session& session, const Options& o, const Images& images, const std::vector<Point>& points, const Removals& removals) {
  session.progress().clear();
  const esp::Table table = magnitude_table(o, images, points);
  esp::Json out = configuration_json(o, images);
  esp::Json list = esp::Json::array();
  for (const Point& p : points) list.push_back(to_json(p));
  out["points"] = std::move(list);
  session.event("result", out);
  esp::write_file_atomically(session.path("results.csv"), to_csv(table));
  const bool utf8 = esp::standard_output(o.color).utf8;
  if (o.json) std::cout << out.dump() << '\n';
  else std::cout << to_text(table, 110, utf8) << '\n' << to_text(removals.table(), 110, utf8);

  const auto chart = magnitude_chart(o, points);
  esp::HtmlReport report("Weights removed by magnitude", esp::str(o.arch, " on ", images.name, ": fine-tuning against training from scratch."));
  report.section("Results").table(table, "results.csv");
  report.section("Accuracy").figure(chart, "Mean over seeds with a 95 % band.", "accuracy.csv");
  report.section("Removed for real").table(removals.table(), "removed.csv");
  for (const std::string& reason : removals.reasons()) report.paragraph(reason + ".");
  report.section("Configuration").settings({{"architecture", o.arch}, {"data", images.name + ", real, " + images.source}, {"seeds", esp::str(o.seeds.value_or(1), " from ", o.seed)}});
  report.footer("espalier " ESPALIER_VERSION);
  esp::write_file_atomically(session.path("accuracy.csv"), to_csv(chart));
  esp::write_file_atomically(session.path("removed.csv"), to_csv(removals.table()));
  esp::write_file_atomically(session.path("report.html"), report.html());
  return esp::ExitCode::done;
}

}  // namespace examples
