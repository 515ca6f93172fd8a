// SPDX-License-Identifier: Apache-2.0
// What the lottery experiment claims, and whether a run's points bear it out.
#pragma once

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
inline std::vector<Claim> lottery_claims(const std::vector<Point>& points) {
  const auto mean = [&](const std::string& kind, esp::Index round, auto pick) {
    std::vector<double> values;
    for (const Point& p : points)
      if (p.kind == kind && p.round == round) values.push_back(static_cast<double>(pick(p)));
    return estimate(values);
  };
  const auto accuracy = [](const Point& p) { return p.early_stop_accuracy; };
  const auto stop = [](const Point& p) { return p.early_stop; };
  const auto points_text = [](double difference) { return esp::format_points(difference, 2) + " points"; };
  std::vector<Claim> claims;
  const Estimate dense = mean("ticket", 0, accuracy);
  for (const auto& [round, share] : {std::pair<esp::Index, const char*>{3, "51 %"}, {7, "21 %"}, {9, "13.5 %"}}) {
    const Estimate ticket = mean("ticket", round, accuracy);
    if (ticket.n == 0) continue;
    claims.push_back({esp::str("at ", share, " of the weights a ticket is no worse than the dense network by 0.1 points"), points_text(ticket.mean - dense.mean), ticket.mean >= dense.mean - 0.001});
  }
  const Estimate ticket = mean("ticket", 15, accuracy), learned = mean("ticket", 15, stop);
  for (int i = 1; ticket.n > 0; ++i) {
    const std::string kind = esp::str("re-initialised ", i);
    const Estimate other = mean(kind, 15, accuracy), slower = mean(kind, 15, stop);
    if (other.n == 0) break;
    claims.push_back({esp::str("at 3.6 % it beats ", kind, " by at least 0.5 points"), points_text(ticket.mean - other.mean), ticket.mean >= other.mean + 0.005});
    claims.push_back({esp::str("and learns faster than ", kind), esp::str(esp::format_fixed(learned.mean, 0), " iterations, ", esp::format_fixed(slower.mean, 0)), learned.mean < slower.mean});
  }
  return claims;
}
inline esp::Table claims_table(const std::vector<Claim>& claims) {
  esp::Table table{.title = "Claims, on the mean over seeds", .columns = {{"claim"}, {"found"}, {"holds"}}};
  for (const Claim& claim : claims) table.rows.push_back({claim.text, claim.found, claim.holds ? "yes" : "no"});
  return table;
}

}  // namespace examples
