// SPDX-License-Identifier: Apache-2.0
// What the lottery experiment claims, and whether a run's points bear it out.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <espalier/report/format.hpp>
#include <espalier/report/table.hpp>

#include "../common/points.hpp"

namespace examples {

/// What the experiment on LeNet-300-100 was to show, with the tolerances that were fixed before it was run.
struct Claim {
  std::string text, found;
  bool holds = false;
};

/// Of each seed that has both, ticket less other: the mean, and its interval over seeds.
template <class Pick>
Estimate paired(const std::vector<Point>& points, esp::Index round, const std::string& other, esp::Index other_round, Pick pick) {
  std::map<std::uint64_t, double> others;
  for (const Point& p : points)
    if (p.kind == other && p.round == other_round) others[p.seed] = static_cast<double>(pick(p));
  std::vector<double> differences;
  for (const Point& p : points)
    if (const auto found = others.find(p.seed); p.kind == "ticket" && p.round == round && found != others.end())
      differences.push_back(static_cast<double>(pick(p)) - found->second);
  return estimate(differences);
}

inline std::vector<Claim> lottery_claims(const std::vector<Point>& points) {
  const auto accuracy = [](const Point& p) { return p.early_stop_accuracy; };
  const auto stop = [](const Point& p) { return p.early_stop; };
  const auto width = [](const Estimate& e, double unit, int digits) { return e.n < 2 ? std::string() : " +- " + esp::format_fixed(e.half / unit, digits); };
  const auto points_text = [&](const Estimate& e) { return esp::str(esp::format_points(e.mean, 2), width(e, 0.01, 2), " points"); };
  std::vector<Claim> claims;
  for (const auto& [round, share] : {std::pair<esp::Index, const char*>{3, "51 %"}, {7, "21 %"}, {9, "13.5 %"}}) {
    const Estimate over_dense = paired(points, round, "ticket", 0, accuracy);
    if (over_dense.n == 0) continue;
    claims.push_back({esp::str("at ", share, " of the weights a ticket is no worse than the dense network by 0.1 points"), points_text(over_dense), over_dense.mean >= -0.001});
  }
  for (int i = 1;; ++i) {
    const std::string kind = esp::str("re-initialised ", i);
    const Estimate better = paired(points, 15, kind, 15, accuracy), later = paired(points, 15, kind, 15, stop);
    if (better.n == 0) break;
    claims.push_back({esp::str("at 3.6 % it beats ", kind, " by at least 0.5 points"), points_text(better), better.mean >= 0.005});
    claims.push_back({esp::str("and learns faster than ", kind), esp::str(esp::format_fixed(later.mean, 0), width(later, 1, 0), " iterations"), later.mean < 0});
  }
  return claims;
}
inline esp::Table claims_table(const std::vector<Claim>& claims) {
  esp::Table table{.title = "Claims, on the mean over seeds of the difference", .columns = {{"claim"}, {"found"}, {"holds"}}};
  for (const Claim& claim : claims) table.rows.push_back({claim.text, claim.found, claim.holds ? "yes" : "no"});
  table.notes = {"Mean +- half a 95 % confidence interval (Student's t) over seeds, each against its own dense network or control."};
  return table;
}

}  // namespace examples
