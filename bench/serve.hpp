// SPDX-License-Identifier: Apache-2.0
// The other side of bench/pytorch's drivers: times named workloads on request, one line of JSON a command.
// bench/pytorch/README.md describes the protocol.
#pragma once

#include <chrono>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <utility>

#include <espalier/config.hpp>

namespace bench {

using Iteration = std::function<void()>;
/// What builds an iteration, by workload and mode.
using Workloads = std::map<std::string, std::map<std::string, std::function<Iteration()>>>;

inline double seconds_of(const Iteration& iteration) {
  const auto start = std::chrono::steady_clock::now();
  iteration();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Answers commands from standard input until `quit` or its end.
inline void serve(int threads, const Workloads& workloads) {
  std::map<std::string, Iteration> built;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command, name, mode;
    int iterations = 0;
    words >> command >> name >> mode >> iterations;
    if (command == "quit") break;
    if (command == "list") {
      std::cout << "{\"program\": \"espalier " ESPALIER_VERSION "\", \"threads\": " << threads << ", \"workloads\": {";
      const char* separator = "";
      for (const auto& [workload, modes] : workloads) {
        std::cout << std::exchange(separator, ", ") << '"' << workload << "\": [";
        const char* comma = "";
        for (const auto& [each, make] : modes) std::cout << std::exchange(comma, ", ") << '"' << each << '"';
        std::cout << ']';
      }
      std::cout << "}}" << std::endl;
    } else if (command == "time" && workloads.contains(name) && workloads.at(name).contains(mode) && iterations > 0) {
      Iteration& iteration = built[name + ' ' + mode];
      if (!iteration) {
        iteration = workloads.at(name).at(mode)();
        double warm = 0;
        for (int i = 0; i < 3 || warm < 0.5; ++i) warm += seconds_of(iteration);
      } else {
        iteration();
      }
      std::cout << "{\"workload\": \"" << name << "\", \"mode\": \"" << mode << "\", \"seconds\": [";
      for (int i = 0; i < iterations; ++i) std::cout << (i ? ", " : "") << seconds_of(iteration);
      std::cout << "]}" << std::endl;
    } else {
      std::cout << "{\"error\": \"needed is 'list', 'time WORKLOAD MODE ITERATIONS' with a listed workload and mode, or 'quit'\"}" << std::endl;
    }
  }
}

}  // namespace bench
