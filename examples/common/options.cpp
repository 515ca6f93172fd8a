// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include <algorithm>
#include <iostream>
#include <map>

#include <CLI/CLI.hpp>

#include <Eigen/Core>

#include <espalier/config.hpp>
#include <espalier/report/exit_codes.hpp>

namespace examples {
namespace {

std::string version_text(const std::string& program) {
  return espalier::str(program, " (espalier ", ESPALIER_VERSION, "), ",
#if defined(__clang__)
                       "clang ", __clang_major__, ".", __clang_minor__,
#else
                       "g++ ", __GNUC__, ".", __GNUC_MINOR__,
#endif
                       ", Eigen ", EIGEN_WORLD_VERSION, ".", EIGEN_MAJOR_VERSION, ".", EIGEN_MINOR_VERSION,
#if defined(__AVX512F__)
                       ", AVX-512");
#elif defined(__AVX2__)
                       ", AVX2");
#else
                       ", portable");
#endif
}

// How many letters must change to make one word of another.
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j)
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)}));
  }
  return row.back();
}

}  // namespace

std::optional<Options> parse(int argc, char** argv, const Program& program) {
  Options o;
  CLI::App app{program.usage + "\n" + program.summary, program.name};
  app.set_version_flag("--version", version_text(program.name));
  if (!program.archs.empty()) {
    o.arch = program.archs.front();
    if (program.archs.size() > 1) app.add_option("--arch", o.arch, "the architecture")->check(CLI::IsMember(program.archs))->capture_default_str();
  }
  if (!program.variants.empty()) {
    o.variant = program.variants.front();
    app.add_option("--variant", o.variant, "the paper's variant")->check(CLI::IsMember(program.variants))->capture_default_str();
  }
  if (std::any_of(program.archs.begin(), program.archs.end(), [](const std::string& arch) { return arch.starts_with("resnet"); }) && !program.tickets) {
    o.shortcut = "pad-both-sides";
    app.add_option("--shortcut", o.shortcut, "ResNets: how a shortcut is made wider; pad-after is the form of Li et al.'s code")
        ->check(CLI::IsMember({"pad-both-sides", "pad-after"}))->capture_default_str();
  }
  app.add_option("--data", o.data, "folder of MNIST, Fashion-MNIST (IDX) or CIFAR-10 (binary) files; default: Debian's dataset-fashion-mnist");
  app.add_option("--model", o.model, "safetensors file to start from");
  app.add_option("--threads", o.threads, "threads; 0 for as many as the machine has")->check(CLI::Range(0, 1024))->capture_default_str();
  app.add_option("--test-images", o.test_images, "evaluate on the first so many test images; default: all, 2,000 with --quick")->check(CLI::Range(1L, 100000000L));
  app.add_option("--batch", o.batch, "images a batch")->check(CLI::Range(1L, 65536L));
  if (program.trains) {
    app.add_option("--out", o.out, "folder for models, logs and the report");
    app.add_option("--seed", o.seed, "of weights, order and augmentation")->capture_default_str();
    app.add_option("--epochs", o.epochs, "epochs of the dense network")->check(CLI::Range(0L, 100000L));
    app.add_option("--fine-tune-epochs", o.fine_tune_epochs, "epochs after pruning")->check(CLI::Range(0L, 100000L));
    app.add_option("--train-images", o.train_images, "train on the first so many images")->check(CLI::Range(1L, 100000000L));
    app.add_option("--lr", o.lr, "initial learning rate")->check(CLI::Range(0.0, 1000.0));
    app.add_option("--fraction", o.fraction, "of each layer's filters to remove")->check(CLI::Range(0.0, 1.0));
    app.add_option("--plan", o.plan, "apply this plan (text, as saved) instead of making one");
    app.add_flag("--dry-run", o.dry_run, "print plan and cost, train nothing");
    app.add_flag("--quick", o.quick, "the same steps on little data, in seconds");
    app.add_flag("--resume", o.resume, "continue the run in --out from its checkpoints");
    app.add_flag("--force", o.force, "replace an older run in --out");
    app.add_flag("--check", o.check, "exit with 4 if a claim does not hold");
  }
  if (program.rounds || program.scans)
    app.add_option("--seeds", o.seeds, "this many seeds, from --seed on, side by side")->check(CLI::Range(1L, 1000L));
  if (program.rounds) {
    app.add_option("--iterations", o.iterations, "optimiser steps of each training")->check(CLI::Range(1L, 100000000L));
    app.add_option("--rounds", o.rounds, "how often weights are removed")->check(CLI::Range(0L, 1000L));
  }
  if (program.tickets) {
    app.add_option("--rewind", o.rewind, "rewind to this step; default: the protocol's")->check(CLI::Range(0L, 100000000L));
    app.add_option("--reinitialised", o.reinitialised, "re-initialisations that each compared ticket meets")->check(CLI::Range(0L, 100L));
    app.add_option("--ticket", o.ticket, "train this ticket again instead of finding one; how, its file says");
    app.add_flag("--structured", o.structured, "also a structured ticket: half of the filters, rewound and shrunk; with --ticket, that ticket without its dead channels");
  }
  if (program.sparsities) app.add_option("--sparsity", o.sparsities, "share of weights to remove; may be repeated")->check(CLI::Range(0.0, 1.0));
  if (program.scans) {
    app.add_option("--fractions", o.fractions, "shares of a layer's filters to try, such as 0.25,0.5,0.75")->check(CLI::Range(0.0, 1.0))->delimiter(',');
    app.add_option("--scan-images", o.scan_images, "scan on the first so many test images")->check(CLI::Range(1L, 100000000L));
    auto* macs = app.add_option("--budget-macs", o.budget_macs, "share of the multiply-adds to leave; default: 0.7")->check(CLI::Range(0.0, 1.0));
    app.add_option("--budget-params", o.budget_params, "share of the parameters to leave")->check(CLI::Range(0.0, 1.0))->excludes(macs);
  }
  for (const std::string& name : program.lacks) app.remove_option(app.get_option(name));
  app.add_flag("--json", o.json, "print one JSON object on standard output");
  app.add_flag("--quiet", o.quiet, "no progress on standard error");
  std::map<std::string, espalier::ColorMode> colors{
      {"auto", espalier::ColorMode::automatic}, {"always", espalier::ColorMode::always}, {"never", espalier::ColorMode::never}};
  app.add_option("--color", o.color, "auto, always or never")->transform(CLI::CheckedTransformer(colors))->default_str("auto");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return std::nullopt;
  } catch (const CLI::CallForVersion& version) {
    std::cout << version.what() << '\n';
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    std::string hint;
    for (int i = 1; i < argc; ++i) {
      const std::string word = std::string(argv[i]).substr(0, std::string(argv[i]).find('='));
      if (word.substr(0, 2) != "--" || app.get_option_no_throw(word) != nullptr) continue;
      const CLI::Option* best = nullptr;
      for (const CLI::Option* option : app.get_options())
        if (best == nullptr || distance(word, option->get_name()) < distance(word, best->get_name())) best = option;
      if (best != nullptr && distance(word, best->get_name()) <= 4) hint = espalier::str(" Did you mean ", best->get_name(), "?");
    }
    throw espalier::UsageError(espalier::str(error.what(), ".", hint, " See ", program.name, " --help."));
  }
  return o;
}

}  // namespace examples
