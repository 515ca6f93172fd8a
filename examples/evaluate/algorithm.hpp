// SPDX-License-Identifier: Apache-2.0
// Reads trained weights, of whatever widths, and reports accuracy, cost and latency.
//
//   evaluate --arch resnet56 --model resnet56.safetensors --data CIFAR_DIR
//   evaluate --arch lenet-300-100 --model lottery/tickets/seed-1-round-15.safetensors
//
// The widths come from the file: a network that was shrunk and saved is loaded the same way. A ticket's file
// holds weights under a mask; those that it calls dead are zero. Files of weights may state their normalisation in the
// metadata (normalize_mean, normalize_std: a number for each channel); else, and for tickets, the data set's usual one is used.
#pragma once

#include <algorithm>
#include <iostream>

#include "../common/session.hpp"
#include "../common/show.hpp"

#include <espalier/backend/host_threads.hpp>
#include <espalier/io/ticket.hpp>
#include <espalier/report/network.hpp>

namespace examples {

inline const Program evaluate_program{
    .name = "evaluate",
    .summary = "Evaluates trained weights, or a ticket's, on a test set: accuracy, parameters, MACs, latency.",
    .usage = "Examples:\n"
             "  evaluate --arch resnet56 --model resnet56.safetensors --data cifar-10-batches-bin\n"
             "  evaluate --arch resnet56 --model resnet56.safetensors --data cifar-10-batches-bin --json\n"
             "  evaluate --arch vgg16 --model runs/filter_pruning/pruned.safetensors --data cifar-10-batches-bin\n"
             "  evaluate --arch small-vgg --model demo-out/fine-tuned.safetensors\n"
             "  evaluate --arch lenet-300-100 --model lottery/tickets/seed-1-round-15.safetensors\n",
    .archs = {"resnet56", "resnet20", "resnet32", "resnet44", "resnet110", "vgg16", "vgg11", "vgg13", "vgg19", "small-vgg", "lenet300", "lenet-300-100", "lenet-5", "conv-2", "conv-4", "conv-6"},
    .trains = false};

/// Reads a file of weights, or a ticket as the network that its mask makes of its weights.
template <esp::Backend B, esp::Module M>
void load_weights_or_ticket(B& device, M& net, const esp::SafetensorsFile& file, const std::string& path, const esp::Shape& image) {
  const bool masked = std::any_of(file.entries().begin(), file.entries().end(), [](const auto& entry) { return entry.name.starts_with("param/"); });
  if (masked) net = esp::load_ticket(device, net, path).ticket.start(device);
  else esp::load_weights(device, net, path, image);
}

template <esp::Backend B>
esp::ExitCode evaluate(B& device, const Options& o) {
  if (o.model.empty()) throw esp::UsageError("--model is missing: name a safetensors file. See evaluate --help.");
  Images images = load_images(o, Parts::test);
  const auto file = esp::SafetensorsFile::read(o.model);
  if (const auto own = normalisation_of(file, images.test.c)) images.normalise = *own;

  auto net = make_net(device, o, images.one(), esp::Rng(0));
  load_weights_or_ticket(device, net, file, o.model, images.one());
  const auto result = esp::evaluate(device, net, images.test, images.normalise, o.batch.value_or(128));
  const auto cost = esp::cost<B>(net, images.one());
  const auto one = esp::latency(device, net, images.one()), many = esp::latency(device, net, images.one().with(0, 32), {.runs = 20});
  if (o.json) {
    esp::Json out = esp::Json::object();
    out["arch"] = o.arch;
    out["data"] = images.name;
    out["images"] = result.count;
    out["accuracy"] = result.accuracy;
    out["loss"] = result.loss;
    out["params"] = cost.parameters;
    out["macs"] = cost.multiply_adds;
    out["latency_batch1_seconds"] = one.median;
    out["latency_batch32_seconds"] = many.median;
    out["latency_batch1_p95_seconds"] = one.p95;
    out["latency_batch32_p95_seconds"] = many.p95;
    out["latency_threads"] = esp::host_threads(device);
    std::cout << out.dump() << '\n';
  } else {
    esp::Table table{.title = esp::str(o.arch, " on ", images.name, " test, ", esp::format_count(result.count), " images from ", images.source), .columns = {}, .rows = {}, .notes = {}};
    table.notes = {esp::str("Latency: median of repeated inference, ", esp::host_threads(device), esp::host_threads(device) == 1 ? " thread" : " threads", "; 95 % of the calls within ", esp::format_seconds(one.p95), " and ",
                            esp::format_seconds(many.p95), ". MACs: 1 per multiply-add, one image.")};
    table.columns = {{"accuracy", esp::Align::right}, {"loss", esp::Align::right}, {"params", esp::Align::right}, {"MACs", esp::Align::right}, {"batch 1", esp::Align::right}, {"batch 32", esp::Align::right}};
    table.rows = {{esp::Cell::percent(result.accuracy, 2), esp::Cell::fixed(result.loss, 4), esp::Cell::count(cost.parameters), esp::Cell::count(cost.multiply_adds), esp::Cell::seconds(one.median), esp::Cell::seconds(many.median)}};
    std::cout << to_text(table, 100, esp::standard_output(o.color).utf8);
  }
  return esp::ExitCode::done;
}

}  // namespace examples
