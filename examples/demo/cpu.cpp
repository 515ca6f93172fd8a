// SPDX-License-Identifier: Apache-2.0
#include "../common/cpu.hpp"

#include "algorithm.hpp"

int main(int argc, char** argv) {
  return espalier::run_main([&] {
    const auto options = examples::parse(argc, argv, examples::demo_program);
    if (!options) return espalier::ExitCode::done;
    espalier::EigenCpu device({.threads = options->threads});
    return examples::demo(device, *options);
  });
}
