// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/backend/eigen_cpu.hpp>

#include "conformance/backend.hpp"
#include "conformance/ops.hpp"

using namespace espalier;
using namespace espalier::test;

namespace eigen_cpu_ops_test {

TEST_CASE("every op on EigenCpu agrees with the reference in double, forward and backward") {
  EigenCpu b({.threads = 2});
  conforms<op_records>(b, {.normalised = 2e-5});
}

TEST_CASE("every op on EigenCpu gives equal bits on 1, 2, 3, 4 and 7 threads") {
  EigenCpu one({.threads = 1});
  for (int threads : {2, 3, 4, 7}) {
    EigenCpu many({.threads = threads});
    same_bits<op_records>(one, many);
  }
}

}  // namespace eigen_cpu_ops_test
