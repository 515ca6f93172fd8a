// SPDX-License-Identifier: Apache-2.0
// doctest's implementation and main, compiled once for all test programs. Besides running the cases it
// turns "everything was skipped" into exit status 77, and "no case was chosen" into a failure.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "skip.hpp"

namespace {

int skips = 0;
int asserts = 0;
unsigned cases = 0;

struct CountAsserts : doctest::IReporter {
  explicit CountAsserts(const doctest::ContextOptions&) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& run) override {
    asserts = run.numAsserts;
    cases = run.numTestCasesPassingFilters;
  }
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
};

REGISTER_LISTENER("count_asserts", 1, CountAsserts);

constexpr int meson_skip = 77;

}  // namespace

void espalier::test::skip(std::string_view reason) {
  ++skips;
  std::printf("SKIP: %.*s\n", static_cast<int>(reason.size()), reason.data());
}

int main(int argc, char** argv) {
  doctest::Context context{argc, argv};
  const int status = context.run();
  if (cases == 0 && !context.shouldExit()) {
    std::printf("no test case was chosen; a filter fits none\n");
    return 1;
  }
  const bool nothing_ran = skips > 0 && asserts == 0;
  return status == 0 && nothing_ran ? meson_skip : status;
}
