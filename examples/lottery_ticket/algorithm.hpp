// SPDX-License-Identifier: Apache-2.0
// The Lottery Ticket Hypothesis (Frankle & Carbin, ICLR 2019), section 1, iterative form:
//
//   1. Randomly initialise a network f(x; theta_0).
//   2. Train the network for j iterations, arriving at parameters theta_j.
//   3. Prune p % of the parameters in theta_j, creating a mask m.
//   4. Reset the remaining parameters to their values in theta_0, creating the winning ticket f(x; m * theta_0).
//   Repeat 2 to 4; each round prunes p % of the weights that survived the last.
//
// A ticket is compared with what it must beat: its mask over new random weights (re-initialised), and its
// weights under a random mask of equal layer densities. The iteration of early stopping is that of the lowest
// loss on 5,000 training images held out.
//
//   lottery_ticket --quick                             Fashion-MNIST, seconds
//   lottery_ticket --dry-run --json                    the survivors of every round, by every way of counting
//   lottery_ticket --data MNIST_DIR --seeds 5 --iterations 8000 --out lottery
//   lottery_ticket --ticket lottery/tickets/seed-1-round-15.safetensors --data MNIST_DIR
//
// Expect (figures 3 and 4 of the paper): tickets learn faster than re-initialised networks and end better, down
// to a few per cent of the weights. One training of 50,000 iterations takes half a minute to two minutes of a core.
#pragma once

#include <algorithm>
#include <iostream>
#include <limits>
#include <map>
#include <optional>

#include <espalier/io/ticket.hpp>
#include <espalier/prune/structured_ticket.hpp>

#include "../common/side_by_side.hpp"
#include "protocols.hpp"
#include "results.hpp"

namespace examples {

inline const Program lottery_ticket_program{
    .name = "lottery_ticket",
    .summary = "Finds winning tickets by iterative magnitude pruning with rewinding, and compares them with their controls (Frankle & Carbin 2019).",
    .usage = "Examples:\n"
             "  lottery_ticket --quick                                       Fashion-MNIST, seconds\n"
             "  lottery_ticket --dry-run --json                              survivors by round, no data needed\n"
             "  lottery_ticket --data MNIST_DIR --seeds 5 --iterations 8000  LeNet-300-100, about a quarter of an hour\n"
             "  lottery_ticket --ticket FILE --data MNIST_DIR                train a saved ticket again, to the same bytes\n"
             "  lottery_ticket --ticket FILE --data MNIST_DIR --structured   the same without its dead neurons\n",
    .archs = {"lenet-300-100", "conv-2", "conv-4", "conv-6", "resnet20"},
    .rounds = true,
    .tickets = true,
    .lacks = {"--lr", "--epochs", "--fine-tune-epochs", "--fraction", "--plan", "--model"}};

template <class Device>
esp::ExitCode lottery_ticket(const Options& given, Device (*make_device)(int threads)) {
  using B = Device;
  Options o = given;
  const std::string trained_on = o.ticket.empty() ? "" : adopt_recipe(o);  // a ticket's file says how it was trained
  return with_protocol(o.arch, [&](Protocol protocol, const auto& optimizer, const auto& schedule, const auto& decide) {
    if (o.dry_run) return print_ladder<B>(o, protocol, decide, make_device(1));
    protocol.iterations = o.iterations.value_or(o.quick ? 300 : protocol.iterations);
    protocol.batch = o.batch.value_or(protocol.batch);
    if (o.rewind) protocol.rewind = esp::iterations(static_cast<double>(*o.rewind));
    if (o.quick) protocol.every = 50;
    const esp::Index rounds = o.rounds.value_or(o.quick ? 2 : 15);
    if (o.quick && !o.train_images) o.train_images = 3000;
    const Images images = load_images(o);
    if (!o.ticket.empty()) require_same_images(o, images, trained_on);
    const esp::Index seeds = o.ticket.empty() ? o.seeds.value_or(1) : 1;
    std::map<std::uint64_t, esp::data::TrainValidation> parts;  // each seed holds out images of its own
    for (std::uint64_t seed = o.seed; seed < o.seed + static_cast<std::uint64_t>(seeds); ++seed)
      parts.emplace(seed, esp::data::hold_out(images.train, std::min<esp::Index>(protocol.validation, images.train.count / 10), seed));
    const auto options_for = [&](std::uint64_t seed) {
      return esp::TrainOptions<std::remove_cvref_t<decltype(optimizer)>, std::remove_cvref_t<decltype(schedule)>>{.batch = protocol.batch, .optimizer = optimizer, .schedule = schedule, .normalise = images.normalise, .augment = protocol.augment, .seed = seed, .prefetch = 0};
    };
    Session session(o, "lottery_ticket-" + o.arch, 1, configuration_json(o, images, protocol, rounds));
    Points points(session, o.resume);
    using Net = AnyNet<B>;

    // Trains one ticket and measures it.
    const esp::Index weights = [&] {
      B device = make_device(1);
      return esp::Mask::ones(make_net(device, o, images.one(), esp::Rng(0))).weights();
    }();
    const auto measure = [&](B& device, const std::string& kind, std::uint64_t seed, const esp::Ticket<Net>& ticket, const auto& trained, const EarlyStop<B, Net>& watch, double seconds) {
      points.add({.kind = kind, .seed = seed, .round = ticket.round, .survivors = ticket.mask.survivors(), .weights = weights, .iterations = ticket.until, .early_stop = watch.at,
                  .early_stop_accuracy = esp::evaluate(device, *watch.best, images.test, images.normalise, 1000).accuracy,
                  .final_accuracy = esp::evaluate(device, trained.net, images.test, images.normalise, 1000).accuracy, .seconds = seconds, .fingerprint = fingerprint(device, trained.net)});
    };
    const auto train_and_measure = [&](B& device, const std::string& kind, std::uint64_t seed, const esp::Ticket<Net>& ticket) {
      EarlyStop<B, Net> watch(protocol.every, parts.at(seed).validation, images.normalise);
      const auto start = Seconds::now();
      const auto trained = train_ticket(device, ticket, parts.at(seed).train, options_for(seed), {}, watch, session.stop());
      if (!trained.stopped) measure(device, kind, seed, ticket, trained, watch, Seconds::since(start));
      return trained;
    };

    if (!o.ticket.empty()) {
      B device = make_device(o.threads);
      auto ticket = esp::load_ticket(device, make_net(device, o, images.one(), esp::Rng(o.seed)), o.ticket).ticket;
      std::optional<esp::Plan> dead;
      if (o.structured) {  // the same ticket without its dead neurons: what its mask lets go for real
        auto slim = remove_dead(device, ticket, images.one());
        esp::save_ticket(device, slim.ticket, session.path("without-dead.safetensors"), recipe_of(o, images, o.seed));
        if (!o.json) std::cout << slim.found << '\n';
        dead = slim.found.plan;
        ticket = std::move(slim.ticket);
      }
      const auto trained = train_and_measure(device, o.structured ? "structured" : "ticket", o.seed, ticket);
      session.save(device, trained.net, "trained.safetensors", metadata_for(o, images));
      return show_points(session, o, images, points.all(), dead);
    }

    esp::detail::make_folder(session.path("tickets"));
    SideBySide<B> jobs;
    // The controls of a ticket train beside the next rounds, each from the ticket's file.
    const auto compare = [&](std::uint64_t seed, esp::Index round, const std::string& file) {
      if (!is_compared(round, rounds)) return;
      for (const auto& [kind, control] : controls<B, Net>(o, seed))
        if (!points.has(kind, seed, round))
          jobs.add([&, kind = kind, control = control, file, seed](B& device) {
            const auto loaded = esp::load_ticket(device, make_net(device, o, images.one(), esp::Rng(seed)), file);
            train_and_measure(device, kind, seed, control(device, loaded.ticket));
          });
    };
    for (const auto& entry : parts)
      jobs.add([&, seed = entry.first](B& device) {
        // 1. Randomly initialise a network; its ticket holds every weight. After a stop, go on with the last ticket found.
        const Net net = make_net(device, o, images.one(), esp::Rng(seed).split("weights"));
        auto ticket = whole_ticket(device, net, parts.at(seed).train, options_for(seed), protocol.iterations);
        if (const auto last = last_ticket(session, seed); o.resume && !last.empty()) ticket = esp::load_ticket(device, net, last).ticket;
        for (esp::Index round = 0; round < ticket.round; ++round) compare(seed, round, ticket_path(session, seed, round));
        EarlyStop<B, Net> watch(protocol.every, parts.at(seed).validation, images.normalise);
        auto start = Seconds::now();

        // 2, 3, 4. Train; prune; reset what remains.
        const esp::IterativePruning<std::remove_cvref_t<decltype(decide)>, esp::LotteryRewind> lottery{.decide = decide, .then = {.to = protocol.rewind}, .rounds = rounds};
        prune_iteratively(device, ticket, parts.at(seed).train, options_for(seed), lottery, [&](const esp::Ticket<Net>& found, const auto& trained) {
          if (!points.has("ticket", seed, found.round)) measure(device, "ticket", seed, found, trained, watch, Seconds::since(start));
          const std::string file = ticket_path(session, seed, found.round);
          esp::save_ticket(device, found, file, recipe_of(o, images, seed));
          if (o.structured && found.round == 0 && !points.has("structured", seed, 1)) {
            const auto small = structured_ticket(device, esp::Snapshot<Net>{*trained.snapshot, trained.snapshot_state}, half_plan(device, trained.net, images.one()), found.until);
            esp::save_ticket(device, small, session.path(esp::str("tickets/seed-", seed, "-structured.safetensors")), recipe_of(o, images, seed));
            train_and_measure(device, "structured", seed, small);
          }
          compare(seed, found.round, file);
          watch.forget();
          start = Seconds::now();
        }, watch, session.stop());
      });
    jobs.run(o.threads, rounds > 0 ? std::numeric_limits<long>::max() : seeds, make_device);
    if (session.stop()()) throw esp::Stopped(session.stop().number(), esp::str("stopped; continue with --resume --out ", session.folder()));
    return show_points(session, o, images, points.all());
  });
}

}  // namespace examples
