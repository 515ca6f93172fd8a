// SPDX-License-Identifier: Apache-2.0
// What files of weights say of their making, the policy that a paper has for an architecture, and costs as JSON.
#pragma once

#include <optional>
#include <string>

#include <espalier/data/augment.hpp>
#include <espalier/espalier.hpp>
#include <espalier/io/json.hpp>
#include <espalier/io/safetensors.hpp>
#include <espalier/report/exit_codes.hpp>

#include "any_net.hpp"
#include "options.hpp"

namespace examples {

namespace esp = espalier;

/// The normalisation that a file of weights was trained with, if its metadata say so (normalize_mean,
/// normalize_std: one number a channel).
std::optional<esp::data::Normalise> normalisation_of(const esp::SafetensorsFile& file, esp::Index channels);

/// A whole text file.
std::string read_text(const std::string& path);

/// What the paper removes from this architecture; half of every layer's filters where it says nothing.
esp::FilterL1 paper_policy(const Options& o);

/// Parameters, MACs and bytes under the names that scripts read.
esp::Json cost_json(const esp::NetworkCost& c);

}  // namespace examples
