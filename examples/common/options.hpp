// SPDX-License-Identifier: Apache-2.0
// What every example program can be told. Parsing (CLI11) is compiled once, in options.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <espalier/report/terminal.hpp>

namespace examples {

struct Options {
  std::string arch, variant, shortcut;
  std::string data, model, plan, out;
  std::uint64_t seed = 1;
  int threads = 0;
  std::optional<long> epochs, fine_tune_epochs, batch, train_images, test_images;
  std::optional<double> lr, fraction;
  std::optional<long> iterations, rounds, seeds, rewind, reinitialised;
  std::string ticket;
  std::vector<double> sparsities;
  std::vector<double> fractions;
  std::optional<long> scan_images;
  std::optional<double> budget_macs, budget_params;
  bool structured = false;
  bool quick = false, dry_run = false, json = false, quiet = false, resume = false, force = false, check = false;
  espalier::ColorMode color = espalier::ColorMode::automatic;
};

/// A program's own part of the command line.
struct Program {
  std::string name;
  std::string summary;                 // what it does, in a sentence or two
  std::string usage;                   // four examples, shown first by --help
  std::vector<std::string> archs{};    // permitted values of --arch, the default first; no --arch where there is no choice
  std::vector<std::string> variants{}; // of --variant, the default first
  bool trains = true;                  // takes --epochs, --lr, --out, ...
  bool rounds = false;                 // trains in rounds, several seeds side by side: --rounds, --iterations, --seeds
  bool tickets = false;                // takes --ticket, --rewind, --reinitialised, --structured
  bool sparsities = false;             // takes --sparsity
  bool scans = false;                  // takes --seeds, --fractions, --scan-images, --budget-macs, --budget-params
  std::vector<std::string> lacks{};    // options of the groups above that this program has no use for
};

/// Reads the command line; nullopt if it asked for --help or --version, which have been printed.
/// Throws UsageError with what is wrong and the flag it is close to.
std::optional<Options> parse(int argc, char** argv, const Program& program);

}  // namespace examples
