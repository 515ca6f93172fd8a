// SPDX-License-Identifier: Apache-2.0
// A mask for people and programs: how many weights of each layer live.
#pragma once

#include <string>

#include <espalier/nn/mask.hpp>
#include <espalier/report/table.hpp>

namespace espalier {

/// A row for each parameter that the mask names, in its order, and one for all of them.
inline Table mask_table(const Mask& mask) {
  Table table{.columns = {{"layer"}, {"weights", Align::right}, {"alive", Align::right}, {"density", Align::right}}};
  const auto row = [&](const std::string& name, const auto& of) { table.rows.push_back({name, Cell::count(of.weights()), Cell::count(of.survivors()), Cell::percent(of.density(), 2)}); };
  for (const MaskPart& part : mask.parts()) row(part.path.ends_with(".weight") ? part.path.substr(0, part.path.rfind('.')) : part.path, part);
  row("total", mask);
  return table;
}

}  // namespace espalier
