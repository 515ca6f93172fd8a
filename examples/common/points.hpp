// SPDX-License-Identifier: Apache-2.0
// What an experiment of many trainings measures of each, kept in a file of its own, so that a run that was
// stopped goes on where it was; and means over seeds with their confidence intervals.
#pragma once

#include <chrono>
#include <cmath>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
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

inline esp::Json to_json(const Point& p) {
  esp::Json j = esp::Json::object();
  j["kind"] = p.kind;
  j["seed"] = p.seed;
  j["round"] = p.round;
  j["survivors"] = p.survivors;
  j["weights"] = p.weights;
  j["iterations"] = p.iterations;
  j["early_stop"] = p.early_stop;
  j["early_stop_accuracy"] = p.early_stop_accuracy;
  j["final_accuracy"] = p.final_accuracy;
  j["seconds"] = p.seconds;
  j["fingerprint"] = p.fingerprint;
  return j;
}
inline Point point_from(const esp::Json& j) {
  return {j.at("kind").as_string(), j.at("seed").as_uint(), j.at("round").as_int(), j.at("survivors").as_int(), j.at("weights").as_int(), j.at("iterations").as_int(), j.at("early_stop").as_int(),
          j.at("early_stop_accuracy").as_double(), j.at("final_accuracy").as_double(), j.at("seconds").as_double(), j.at("fingerprint").as_string()};
}

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
  for_each_member(net, [&](const std::string& path, const auto& member) {
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
  Points(Session& session, bool resume) : session_(session), folder_(session.path("points")) {
    esp::detail::make_folder(folder_);
    if (resume)
      esp::detail::for_each_name(folder_, [&](std::string_view name) {
        const std::string path = esp::str(folder_, '/', name);
        if (name.ends_with(".json")) keep(point_from(esp::Json::parse(read_text(path), path)));
      });
  }

  bool has(const std::string& kind, std::uint64_t seed, esp::Index round) const {
    const std::lock_guard lock(mutex_);
    return points_.count({round, kind, seed}) != 0;
  }
  void add(const Point& p) {
    const std::lock_guard lock(mutex_);
    esp::write_file_atomically(esp::str(folder_, "/seed-", p.seed, "-round-", p.round, "-", Session::file_name(p.kind), ".json"), to_json(p).dump() + "\n");
    session_.event("point", to_json(p));
    keep(p);
    session_.progress().note(esp::str("seed ", p.seed, ", ", esp::format_percent(p.density(), 1), " of weights, ", p.kind, ": test accuracy ",
                                      p.early_stop > 0 ? esp::str(esp::format_percent(p.early_stop_accuracy, 2), " at early stop (", p.early_stop, "), ") : std::string(),
                                      esp::format_percent(p.final_accuracy, 2), " at the end, ", esp::format_fixed(p.seconds, 1), " s"));
  }
  std::vector<Point> all() const {
    std::vector<Point> out;
    for (const auto& [key, point] : points_) out.push_back(point);
    return out;
  }

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

inline Estimate estimate(const std::vector<double>& values) {
  Estimate e{.n = static_cast<esp::Index>(values.size())};
  if (values.empty()) return e;
  for (const double v : values) e.mean += v / static_cast<double>(values.size());
  if (values.size() < 2) return e;
  double squares = 0;
  for (const double v : values) squares += (v - e.mean) * (v - e.mean);
  constexpr double t[] = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262};  // 0.975 quantile, 1 to 9 degrees of freedom
  const std::size_t degrees = values.size() - 1;
  e.half = (degrees <= 9 ? t[degrees - 1] : 2.0) * std::sqrt(squares / static_cast<double>(degrees) / static_cast<double>(values.size()));
  return e;
}

/// The estimates of one kind at one round.
struct Level {
  double density = 0;
  Estimate early_stop, early_stop_accuracy, final_accuracy;
};

/// "97.86 +- 0.12"
inline std::string plus_minus(const Estimate& e, bool percent) {
  if (e.n == 0) return "-";
  const auto shown = [&](double v) { return percent ? esp::format_fixed(100 * v, 2) : esp::format_fixed(v, 0); };
  return e.n < 2 ? shown(e.mean) : esp::str(shown(e.mean), " +- ", shown(e.half));
}

/// By kind, then by round. All re-initialisations of a seed count as draws of one kind.
inline std::map<std::string, std::map<esp::Index, Level>> levels_of(const std::vector<Point>& points) {
  std::map<std::string, std::map<esp::Index, std::vector<Point>>> grouped;
  for (const Point& p : points) grouped[p.kind.starts_with("re-initialised") ? "re-initialised" : p.kind][p.round].push_back(p);
  std::map<std::string, std::map<esp::Index, Level>> levels;
  for (const auto& [kind, rounds] : grouped)
    for (const auto& [round, group] : rounds) {
      std::vector<double> stop, early, last;
      for (const Point& p : group) {
        stop.push_back(static_cast<double>(p.early_stop));
        early.push_back(p.early_stop_accuracy);
        last.push_back(p.final_accuracy);
      }
      levels[kind][round] = {group.front().density(), estimate(stop), estimate(early), estimate(last)};
    }
  return levels;
}

}  // namespace examples
