// SPDX-License-Identifier: Apache-2.0
#include "../common/cpu_tickets.hpp"

#include "algorithm.hpp"

int main(int argc, char** argv) {
  return espalier::run_main([&] {
    const auto options = examples::parse(argc, argv, examples::evaluate_program);
    if (!options) return espalier::ExitCode::done;
    espalier::EigenCpu device({.threads = options->threads});
    return examples::evaluate(device, *options);
  });
}
