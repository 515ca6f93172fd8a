// SPDX-License-Identifier: Apache-2.0
// One harness for all benchmarks: warm-up, repeated runs, median and spread; the work of each is
// declared, so that the table shows GFLOP/s and the share of what this processor can do, measured by a
// loop of fused multiply-adds in the same process. Machines are noisy: compare only rows of one run.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include <espalier/backend/eigen_cpu.hpp>
#include <espalier/io/json.hpp>
#include <espalier/report/latency.hpp>
#include <espalier/report/table.hpp>
#include <espalier/report/terminal.hpp>

namespace bench {

namespace esp = espalier;

/// GFLOP/s of independent fused multiply-adds held in registers, on every thread of the pool.
inline double measured_peak(int threads) {
  namespace simd = esp::detail::simd;
  esp::detail::ThreadPool pool(threads);
  constexpr int chains = 12;  // fewer than registers, enough to hide the latency
  constexpr esp::Index rounds = 400000;
  float sink = 0;
  const auto stats = esp::measure([&] {
    pool.run(threads, [&](esp::Index, int worker) {
      simd::Vec sums[chains];
      const simd::Vec a = simd::splat(0.999999f), b = simd::splat(1e-7f * static_cast<float>(worker + 1));
      for (auto& s : sums) s = b;
      for (esp::Index i = 0; i < rounds; ++i) {
        for (auto& s : sums) s = s * a + b;
      }
      simd::Vec total{};
      for (const auto& s : sums) total += s;
      if (total[0] == 12345.0f) sink = total[0];
    });
  }, {.warm_up = 1, .runs = 7});
  if (sink != 0) std::cerr << sink;
  return 2.0 * chains * simd::lanes * rounds * threads / stats.min / 1e9;
}

/// The command line of a benchmark: --threads N, --json, --quick (each row once: does it run?).
struct Arguments {
  int threads = 2;
  bool json = false, quick = false;

  Arguments(int argc, char** argv) {
    for (int i = 1; i < argc; ++i) {
      const std::string word = argv[i];
      json = json || word == "--json";
      quick = quick || word == "--quick";
      if (word == "--threads" && i + 1 < argc) threads = std::max(1, std::atoi(argv[i + 1]));
    }
  }
};

/// A list of measurements that prints as a table or as JSON.
class Suite {
 public:
  Suite(std::string name, const Arguments& arguments)
      : name_(std::move(name)), threads_(arguments.threads), quick_(arguments.quick), peak_(measured_peak(threads_)) {}

  /// Times f, for a tenth of a second at least: the first calls of a short f are slower than the rest. `flops` is the work
  /// of one call by the direct algorithm (0 if it has no such measure).
  template <class F>
  esp::LatencyStats run(const std::string& what, double flops, F&& f, int runs = 15) {
    const auto stats = esp::measure(f, {.warm_up = quick_ ? 0 : 3, .runs = quick_ ? 1 : runs, .min_seconds = quick_ ? 0 : 0.1});
    rows_.push_back({what, flops, stats});
    return stats;
  }

  void print(bool json) const {
    if (json) {
      esp::Json out = esp::Json::object();
      out["suite"] = name_;
      out["threads"] = threads_;
      out["peak_gflops"] = peak_;
      esp::Json rows = esp::Json::array();
      for (const auto& row : rows_) {
        esp::Json item = esp::Json::object();
        item["name"] = row.name;
        item["median_seconds"] = row.stats.median;
        item["spread_seconds"] = row.stats.spread;
        item["runs"] = row.stats.runs;
        item["flops"] = row.flops;
        rows.push_back(std::move(item));
      }
      out["rows"] = std::move(rows);
      std::cout << out.dump() << '\n';
      return;
    }
    using esp::Align;
    using esp::Cell;
    esp::Table table{.title = esp::str(name_, ", ", threads_, " threads, measured peak ", esp::format_fixed(peak_, 0), " GFLOP/s"), .columns = {}, .rows = {}, .notes = {}};
    table.columns = {{"what", Align::left}, {"median", Align::right}, {"spread", Align::right}, {"GFLOP/s", Align::right}, {"of peak", Align::right}};
    for (const auto& row : rows_) {
      const double rate = row.flops / row.stats.median / 1e9;
      table.rows.push_back({row.name, Cell::seconds(row.stats.median), Cell::seconds(row.stats.spread), row.flops > 0 ? Cell::fixed(rate, 1) : Cell::none(),
                            row.flops > 0 ? Cell::percent(rate / peak_, 0) : Cell::none()});
    }
    table.notes = {"Work is counted by the direct algorithm; Winograd does less and can pass 100 %. Spread: median absolute deviation."};
    std::cout << to_text(table, 100, esp::standard_output().utf8);
  }

 private:
  struct Row {
    std::string name;
    double flops;
    esp::LatencyStats stats;
  };
  std::string name_;
  int threads_;
  bool quick_;
  double peak_;
  std::vector<Row> rows_;
};

}  // namespace bench
