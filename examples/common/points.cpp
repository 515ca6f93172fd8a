// SPDX-License-Identifier: Apache-2.0
#include "points.hpp"

#include <cmath>
#include <string_view>

namespace examples {

esp::Json to_json(const Point& p) {
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

namespace {

Point point_from(const esp::Json& j) {
  return {j.at("kind").as_string(), j.at("seed").as_uint(), j.at("round").as_int(), j.at("survivors").as_int(), j.at("weights").as_int(), j.at("iterations").as_int(), j.at("early_stop").as_int(),
          j.at("early_stop_accuracy").as_double(), j.at("final_accuracy").as_double(), j.at("seconds").as_double(), j.at("fingerprint").as_string()};
}

}  // namespace

Points::Points(Session& session, bool resume) : session_(session), folder_(session.path("points")) {
  esp::detail::make_folder(folder_);
  if (resume)
    esp::detail::for_each_name(folder_, [&](std::string_view name) {
      const std::string path = esp::str(folder_, '/', name);
      if (name.ends_with(".json")) keep(point_from(esp::Json::parse(read_text(path), path)));
    });
}

bool Points::has(const std::string& kind, std::uint64_t seed, esp::Index round) const {
  const std::lock_guard lock(mutex_);
  return points_.count({round, kind, seed}) != 0;
}

void Points::add(const Point& p) {
  const std::lock_guard lock(mutex_);
  esp::write_file_atomically(esp::str(folder_, "/seed-", p.seed, "-round-", p.round, "-", Session::file_name(p.kind), ".json"), to_json(p).dump() + "\n");
  session_.event("point", to_json(p));
  keep(p);
  session_.progress().note(esp::str("seed ", p.seed, ", ", esp::format_percent(p.density(), 1), " of weights, ", p.kind, ": test accuracy ",
                                    p.early_stop > 0 ? esp::str(esp::format_percent(p.early_stop_accuracy, 2), " at early stop (", p.early_stop, "), ") : std::string(),
                                    esp::format_percent(p.final_accuracy, 2), " at the end, ", esp::format_fixed(p.seconds, 1), " s"));
}

std::vector<Point> Points::all() const {
  std::vector<Point> out;
  for (const auto& [key, point] : points_) out.push_back(point);
  return out;
}

Estimate estimate(const std::vector<double>& values) {
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

std::string plus_minus(const Estimate& e, bool percent) {
  if (e.n == 0) return "-";
  const auto shown = [&](double v) { return percent ? esp::format_fixed(100 * v, 2) : esp::format_fixed(v, 0); };
  return e.n < 2 ? shown(e.mean) : esp::str(shown(e.mean), " +- ", shown(e.half));
}

std::map<std::string, std::map<esp::Index, Level>> levels_of(const std::vector<Point>& points) {
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
