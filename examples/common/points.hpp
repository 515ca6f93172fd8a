// SPDX-License-Identifier: Apache-2.0
// What an experiment of many trainings measures of each, kept in a file of its own, so that a run that was
// stopped goes on where it was; and means over seeds with their confidence intervals.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "session.hpp"
#include "show.hpp"

namespace examples {

/// One training of one network.
struct Point {
  std::string kind;          // "ticket", "re-initialised 1", "fine-tuned"
  std::uint64_t seed = 0;
  esp::Index round = 0, survivors = 0, weights = 0;
  esp::Index iterations = 0;          // of this training
  esp::Index early_stop = 0;          // the iteration of the lowest validation loss, if one was looked for
  double early_stop_accuracy = 0;     // on the test images, there
  double final_accuracy = 0;          // on the test images, after the last iteration
  double seconds = 0;
  std::string fingerprint;            // checksum of the trained weights

  double density() const { return static_cast<double>(survivors) / static_cast<double>(weights); }
};

esp::Json to_json(const Point& p);

/// A clock for how long a training takes.
struct Seconds {
  using Clock = std::chrono::steady_clock;
  static Clock::time_point now() { return Clock::now(); }
  static double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }
};

/// A checksum of every weight and statistic: equal for equal bytes.
template <esp::Backend B, esp::Module M>
std::string fingerprint(B& device, const M& net) {
  esp::Checksum sum;
  esp::for_each_member(net, [&](const std::string& path, const auto& member) {
    if constexpr (requires { member.value.shape(); }) {
      const esp::HostTensor host = to_host(device, member);
      sum.add(path);
      sum.add(std::as_bytes(std::span(host.values)));
    }
  });
  return sum.text();
}

/// The points of a run, in memory and in the folder `points` of the run; safe to use from several threads.
class Points {
 public:
  Points(Session& session, bool resume);

  bool has(const std::string& kind, std::uint64_t seed, esp::Index round) const;
  void add(const Point& p);
  std::vector<Point> all() const;

 private:
  void keep(const Point& p) { points_[{p.round, p.kind, p.seed}] = p; }

  Session& session_;
  std::string folder_;
  mutable std::mutex mutex_;
  std::map<std::tuple<esp::Index, std::string, std::uint64_t>, Point> points_;
};

/// Mean, and half the width of its 95 % confidence interval by Student's t; zero width for one value.
struct Estimate {
  double mean = 0, half = 0;
  esp::Index n = 0;
};

Estimate estimate(const std::vector<double>& values);

/// The estimates of one kind at one round.
struct Level {
  double density = 0;
  Estimate early_stop, early_stop_accuracy, final_accuracy;
};

/// "97.86 +- 0.12"
std::string plus_minus(const Estimate& e, bool percent);

/// By kind, then by round. All re-initialisations of a seed count as draws of one kind.
std::map<std::string, std::map<esp::Index, Level>> levels_of(const std::vector<Point>& points);

}  // namespace examples
