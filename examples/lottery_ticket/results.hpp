// SPDX-License-Identifier: Apache-2.0
// Around the lottery experiment: the dry run, the controls, files and their recipe, tables and plots.
#pragma once

#include <algorithm>
#include <functional>
#include <iostream>
#include <limits>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <espalier/io/ticket.hpp>
#include <espalier/prune/counting.hpp>
#include <espalier/report/html.hpp>
#include <espalier/report/svg.hpp>
#include <espalier/report/table.hpp>

#include "../common/points.hpp"
#include "../common/result.hpp"
#include "claims.hpp"
#include "protocols.hpp"

namespace examples {

/// Images that stay on the device, normalised, because hundreds of looks are taken at them.
template <esp::Backend B>
class HeldOut {
 public:
  HeldOut(const esp::data::ImageSet& images, const esp::data::Normalise& normalise) : images_(images), normalise_(normalise) {}

  /// The mean loss of a network; no choice is made by its accuracy.
  template <esp::Module M>
  double loss(B& device, const M& net) {
    if (batches_.empty()) upload(device);
    esp::PreparedWeights<B> prepared;
    esp::Eval<B> eval(device, prepared);
    double sum = 0;
    for (const auto& [x, labels] : batches_) {
      const auto logits = M::forward(net, eval, x);
      auto probabilities = esp::Tensor<B>::empty(device, logits.shape()), losses = esp::Tensor<B>::empty(device, {labels.count()});
      device.cross_entropy_forward(logits.shape()[0], logits.shape()[1], logits.data(), labels.data(), probabilities.data(), losses.data());
      for (const auto l : losses.to_host(device)) sum += static_cast<double>(l);
    }
    return sum / static_cast<double>(images_.count);
  }

 private:
  void upload(B& device) {
    esp::data::Loader<> loader(images_, {.batch = 1000, .normalise = normalise_, .prefetch = 0});
    while (const auto* batch = loader.next())
      batches_.emplace_back(esp::detail::upload_images(device, *batch), esp::Ids<B>::from(device, {batch->count}, batch->labels));
  }

  const esp::data::ImageSet& images_;
  const esp::data::Normalise& normalise_;
  std::vector<std::pair<esp::Tensor<B>, esp::Ids<B>>> batches_;
};

/// Watches the validation loss while a ticket is trained and remembers the network of the lowest.
template <esp::Backend B, esp::Module M>
struct EarlyStop {
  esp::Index every;
  HeldOut<B> validation;
  double lowest = std::numeric_limits<double>::infinity();
  esp::Index at = 0;
  std::optional<M> best{};

  EarlyStop(esp::Index iterations, const esp::data::ImageSet& images, const esp::data::Normalise& normalise) : every(iterations), validation(images, normalise) {}

  void look(B& device, const M& net, const esp::Step& step) {
    const double loss = validation.loss(device, net);
    if (loss >= lowest) return;
    lowest = loss;
    at = step.iteration;
    best = net;
  }
  /// Ready for the next training.
  void forget() {
    lowest = std::numeric_limits<double>::infinity();
    best.reset();
  }
};

inline constexpr esp::Counting ladder_rules[] = {esp::Counting::exact, esp::Counting::lottery_reference, esp::Counting::open_lth, esp::Counting::rethinking,
                                                 esp::Counting::rethinking_iterative, esp::Counting::torch_prune, esp::Counting::tfmot};

/// What is ranked together, what each pool loses in a round, and what is in no pool.
struct Ranked {
  std::vector<esp::PoolSize> pools;
  esp::Index ignored = 0;
};

/// The pools of the code whose counting this is. The lottery paper's, torch's and TFMOT's prune layer by layer, so they have
/// the policy's. Rethinking's ranks all that the policy prunes as one. So does open_lth, but leaves the last layer alone in
/// all of its networks but CIFAR ResNets, whatever the policy.
template <class C, esp::Scope S>
Ranked ranked(const esp::Mask& mask, const esp::Unstructured<C, S>& policy, esp::Counting rule, const std::string& arch) {
  using enum esp::Counting;
  if (rule == open_lth) {
    const esp::Index last = arch.starts_with("resnet") ? 0 : mask.parts().back().weights();
    return {{{.weights = mask.weights() - last, .remove = *policy.remove}}, last};
  }
  Ranked found{{}, mask.weights()};
  for (const auto& pool : esp::detail::pools_of(mask, policy, S, *policy.remove)) {
    found.pools.push_back({.remove = pool.amount});
    for (const std::size_t part : pool.parts) found.pools.back().weights += mask.parts()[part].weights();
    found.ignored -= found.pools.back().weights;
  }
  if (rule == rethinking || rule == rethinking_iterative) found.pools = {{.weights = mask.weights() - found.ignored, .remove = *policy.remove}};
  return found;
}

/// The survivors of every round, by the policy's count and by those of the papers' codes; no data, no training.
template <esp::Backend B, class Decide>
esp::ExitCode print_ladder(const Options& o, const Protocol& protocol, const Decide& decide, B device) {
  const bool grey = o.arch == "lenet-300-100";
  const esp::Shape image = grey ? esp::Shape{1, 28, 28, 1} : esp::Shape{1, 32, 32, 3};
  const auto net = make_net(device, o, image, esp::Rng(o.seed));
  const esp::Mask whole = esp::Mask::ones(net);
  const esp::Index rounds = o.rounds.value_or(20);
  std::ostringstream policy;
  policy << decide;
  esp::Json out = esp::Json::object();
  out["arch"] = o.arch;
  out["policy"] = policy.str();
  out["iterations"] = protocol.iterations;
  esp::Table table{.title = esp::str(o.arch, ": weights alive after each round"), .columns = {{"round", esp::Align::right}, {"alive", esp::Align::right}, {"share", esp::Align::right}}};
  for (const esp::Counting rule : ladder_rules) {
    esp::Json list = esp::Json::array();
    const Ranked of = ranked(whole, decide, rule, o.arch);
    for (const esp::Index n : survivors_by_round(of.pools, rounds, rule, of.ignored)) list.push_back(n);
    if (rule == esp::Counting::exact) {
      const double all = static_cast<double>(list.items().front().as_int());
      for (std::size_t round = 0; round < list.items().size(); ++round) {
        const esp::Index n = list.items()[round].as_int();
        table.rows.push_back({esp::str(round), esp::Cell::count(n), esp::Cell::percent(static_cast<double>(n) / all, 2)});
      }
      out["survivors"] = list;
    }
    out["counting"][std::string(esp::detail::name_of(rule))] = std::move(list);
  }
  table.notes = {policy.str(), "Other ways of counting (--json): those of the papers' codes remove a weight more, or all ties; rethinking's and open_lth's rank all layers as one."};
  if (o.json) std::cout << out.dump() << '\n';
  else std::cout << to_text(table, 100, esp::standard_output(o.color).utf8);
  return esp::ExitCode::done;
}

inline esp::Json configuration_json(const Options& o, const Images& images, const Protocol& protocol, esp::Index rounds) {
  esp::Json out = configuration_json(o, images);
  out["iterations"] = protocol.iterations;
  out["batch"] = protocol.batch;
  out["rounds"] = rounds;
  out["rewind"] = esp::str(protocol.rewind);
  if (!o.ticket.empty()) out["ticket"] = o.ticket;
  if (o.structured) out["structured"] = true;
  out["seeds"] = static_cast<std::int64_t>(o.seeds.value_or(1));
  return out;
}

/// What a ticket's file says of its training, so that it can be trained elsewhere.
inline esp::Metadata recipe_of(const Options& o, const Images& images, std::uint64_t seed) {
  esp::Metadata recipe{{"arch", o.arch}, {"data", images.name}, {"seed", esp::str(seed)}, {"train_images", esp::str(images.train.count)}};
  if (o.batch) recipe.emplace_back("batch", esp::str(*o.batch));
  if (o.quick) recipe.emplace_back("quick", "true");
  return recipe;
}

/// Takes architecture, seed and batch from the file of --ticket, whatever the command line says. Returns the name of the
/// images it was trained on.
inline std::string adopt_recipe(Options& o) {
  const auto file = esp::SafetensorsFile::read(o.ticket);
  const esp::Json notes = esp::detail::verified(file, "a ticket of espalier").at("notes");
  const auto text = [&](const char* key) -> std::string {
    const esp::Json* found = notes.find(key);
    if (found == nullptr) throw esp::DataError(esp::str(o.ticket, ": found no '", key, "' in the ticket's notes, needed how it was trained; was it written by this program?"));
    return found->as_string();
  };
  o.arch = text("arch");
  o.seed = std::stoull(text("seed"));
  o.train_images = std::stol(text("train_images"));
  if (const esp::Json* batch = notes.find("batch")) o.batch = std::stol(batch->as_string());
  o.quick = notes.find("quick") != nullptr;
  return text("data");
}

/// Throws DataError unless these are the images that a ticket was trained on, by name and number.
inline void require_same_images(const Options& o, const Images& images, const std::string& name) {
  if (images.name != name || images.train.count != *o.train_images)
    throw esp::DataError(esp::str(o.ticket, ": found ", images.train.count, " images of ", images.name, " in ", images.source, ", needed ", *o.train_images, " of ", name, " to train this ticket to the same bytes; name their folder with --data"));
}

inline std::string ticket_path(const Session& session, std::uint64_t seed, esp::Index round) {
  return session.path(esp::str("tickets/seed-", seed, "-round-", round, ".safetensors"));
}

/// The file of the last round's ticket that an earlier run found; empty if there is none.
inline std::string last_ticket(const Session& session, std::uint64_t seed) {
  std::string last;
  for (esp::Index round = 0; exists(ticket_path(session, seed, round)); ++round) last = ticket_path(session, seed, round);
  return last;
}

/// The rounds whose tickets meet their controls: the paper's 51, 21, 13.5, 7 and 3.6 %, and the last.
inline bool is_compared(esp::Index round, esp::Index rounds) { return round > 0 && (round == 3 || round == 7 || round == 9 || round == 12 || round == 15 || round == rounds); }

/// Half of every layer's filters, or units of linear layers, by their L1 norm.
template <esp::Backend B, esp::Module M>
esp::Plan half_plan(B& device, const M& net, const esp::Shape& image) {
  return esp::plan(device, net, image, esp::FilterL1{.amount = esp::Fraction{0.5}, .linear = esp::LinearLayers::prune});
}

/// What a ticket must beat: three re-initialisations, as in the paper, and a random mask.
template <esp::Backend B, esp::Module M>
std::vector<std::pair<std::string, std::function<esp::Ticket<M>(B&, esp::Ticket<M>)>>> controls(const Options& o, std::uint64_t seed) {
  std::vector<std::pair<std::string, std::function<esp::Ticket<M>(B&, esp::Ticket<M>)>>> all;
  for (long i = 1; i <= o.reinitialised.value_or(o.quick ? 1 : 3); ++i) {
    const std::uint64_t fresh = esp::Rng(seed).split("re-initialised").split(static_cast<std::uint64_t>(i)).key();
    all.emplace_back(esp::str("re-initialised ", i), [fresh](B& device, esp::Ticket<M> ticket) { return reinitialised(device, std::move(ticket), fresh); });
  }
  const std::uint64_t drawn = esp::Rng(seed).split("random mask").key();
  all.emplace_back("random mask", [drawn](B&, esp::Ticket<M> ticket) { return with_random_mask(std::move(ticket), drawn); });
  return all;
}

inline esp::Table lottery_table(const Options& o, const Images& images, const std::vector<Point>& points) {
  esp::Table table;
  std::set<std::uint64_t> seen;
  for (const Point& p : points) seen.insert(p.seed);
  const std::size_t seeds = seen.size();
  table.title = esp::str(o.arch, ", ", images.name, " (real), ", seeds, seeds == 1 ? " seed" : " seeds", " from ", o.seed);
  table.columns = {{"weights", esp::Align::left}, {"network", esp::Align::left}, {"trainings", esp::Align::right}, {"early stop at", esp::Align::right},
                   {"accuracy there, %", esp::Align::right}, {"at the end, %", esp::Align::right}};
  const auto levels = levels_of(points);
  std::map<esp::Index, std::map<std::string, Level>> by_round;
  for (const auto& [kind, rounds] : levels)
    for (const auto& [round, level] : rounds) by_round[round][kind] = level;
  for (const auto& [round, kinds] : by_round)
    for (const char* kind : {"ticket", "re-initialised", "random mask", "structured"}) {
      const auto found = kinds.find(kind);
      if (found == kinds.end()) continue;
      const Level& level = found->second;
      table.rows.push_back({esp::Cell::percent(level.density, 1), round == 0 && std::string(kind) == "ticket" ? "dense" : kind, esp::str(level.final_accuracy.n),
                            plus_minus(level.early_stop, false), plus_minus(level.early_stop_accuracy, true), plus_minus(level.final_accuracy, true)});
    }
  table.notes = {"Mean +- half a 95 % confidence interval (Student's t) over trainings. Early stop: the iteration of the lowest loss on held-out training images; accuracy: on the test images, by which nothing was chosen.",
                 "re-initialised: the ticket's mask, new weights; random mask: its weights, another mask."};
  return table;
}

/// Mean with a band of one 95 % interval, against the share of weights left.
template <class Pick>
esp::LineChart lottery_chart(const std::vector<Point>& points, const std::string& title, const std::string& axis, bool percent, Pick pick) {
  esp::LineChart chart{.title = title, .x = {.title = "weights left", .logarithmic = true, .percent = true}, .y = {.title = axis, .percent = percent, .whole = !percent}};
  for (const auto& [kind, rounds] : levels_of(points)) {
    esp::Series series{.name = kind};
    for (const auto& [round, level] : rounds) {
      const Estimate e = pick(level);
      series.x.push_back(level.density);
      series.y.push_back(e.mean);
      series.low.push_back(e.mean - e.half);
      series.high.push_back(e.mean + e.half);
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

/// Table or JSON on standard output; table, plots and report in the run's folder. `dead` is what a ticket lost as a whole.
inline esp::ExitCode show_points(Session& session, const Options& o, const Images& images, const std::vector<Point>& points, const std::optional<esp::Plan>& dead = {}) {
  session.progress().clear();
  const esp::Table table = lottery_table(o, images, points);
  esp::Json out = configuration_json(o, images);
  esp::Json list = esp::Json::array();
  for (const Point& p : points) list.push_back(to_json(p));
  out["points"] = std::move(list);
  if (dead) out["dead"] = plan_json(*dead);
  session.event("result", out);
  esp::write_file_atomically(session.path("results.csv"), to_csv(table));
  const std::vector<Claim> claims = o.arch == "lenet-300-100" && o.ticket.empty() ? lottery_claims(points) : std::vector<Claim>{};
  const bool utf8 = esp::standard_output(o.color).utf8;
  if (o.json) std::cout << out.dump() << '\n';
  else std::cout << to_text(table, 110, utf8) << (claims.empty() ? std::string() : "\n" + to_text(claims_table(claims), 110, utf8));
  if (!o.ticket.empty()) return esp::ExitCode::done;

  const auto accuracy = lottery_chart(points, "Test accuracy at the early-stopping iteration", "test accuracy", true, [](const Level& l) { return l.early_stop_accuracy; });
  const auto final_accuracy = lottery_chart(points, "Test accuracy after the last iteration", "test accuracy", true, [](const Level& l) { return l.final_accuracy; });
  const auto stop = lottery_chart(points, "Early-stopping iteration", "iteration", false, [](const Level& l) { return l.early_stop; });
  esp::HtmlReport report("Winning tickets and their controls", esp::str(o.arch, " on ", images.name, ", iterative magnitude pruning with rewinding."));
  report.section("Results").table(table, "results.csv");
  if (!claims.empty()) report.section("Claims").table(claims_table(claims), "claims.csv");
  report.section("Accuracy").figure(accuracy, "Mean over seeds with a 95 % band; nothing was chosen by the test images.", "accuracy.csv").figure(final_accuracy, "The same after the last iteration.", "final.csv");
  report.section("Speed of learning").figure(stop, "The iteration of the lowest validation loss; lower is faster.", "early-stop.csv");
  report.section("Configuration").settings({{"architecture", o.arch}, {"data", images.name + ", real, " + images.source}, {"seeds", esp::str(o.seeds.value_or(1), " from ", o.seed)}});
  report.footer("espalier " ESPALIER_VERSION);
  esp::write_file_atomically(session.path("accuracy.csv"), to_csv(accuracy));
  esp::write_file_atomically(session.path("final.csv"), to_csv(final_accuracy));
  esp::write_file_atomically(session.path("early-stop.csv"), to_csv(stop));
  if (!claims.empty()) esp::write_file_atomically(session.path("claims.csv"), to_csv(claims_table(claims)));
  esp::write_file_atomically(session.path("report.html"), report.html());
  if (o.check && claims.empty()) throw esp::ClaimFailed("--check: this run has nothing to check; the claims are about LeNet-300-100 at rounds 3, 7, 9 and 15");
  for (const Claim& claim : claims)
    if (o.check && !claim.holds) throw esp::ClaimFailed(esp::str(claim.text, ": no, ", claim.found));
  return esp::ExitCode::done;
}

}  // namespace examples
