// SPDX-License-Identifier: Apache-2.0
#include "../common/cpu_tickets.hpp"

#include "algorithm.hpp"

int main(int argc, char** argv) {
  return espalier::run_main([&] {
    const auto options = examples::parse(argc, argv, examples::global_magnitude_program);
    if (!options) return espalier::ExitCode::done;
    return examples::global_magnitude<espalier::EigenCpu>(*options, [](int threads) { return espalier::EigenCpu({.threads = threads}); });
  });
}
