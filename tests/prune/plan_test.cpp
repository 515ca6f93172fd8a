// SPDX-License-Identifier: Apache-2.0
// Plans as text: what is written reads back, and nothing else is taken for a plan.
#include <doctest/doctest.h>

#include <espalier/prune/plan.hpp>

using namespace espalier;

namespace plan_test {

namespace {

Plan example() {
  return {.input = {1, 32, 32, 3},
          .policy = "Structured{.criterion = L1Norm{}, .amount = Fraction{.remove = 0.5}}",
          .groups = {{.name = "conv1+1", .channels = 12, .remove = {0, 3, 10, 11}, .kept_because = {}, .couples = {"writes conv1.weight conv2.weight", "reads fc.weight"}},
                     {.name = "conv1+1#2", .channels = 3, .remove = {}, .kept_because = "the amount leaves all of its channels", .couples = {"writes conv3.weight"}},
                     {.name = "fc", .channels = 10, .remove = {}, .kept_because = "the network's output", .couples = {}}},
          .parameters_before = 1'000,
          .parameters_after = 400,
          .multiply_adds_before = 123'456'789'012,
          .multiply_adds_after = 7};
}

// Text that is accepted must say all that was read from it, and no more.
bool is_refused_or_canonical(const std::string& text) {
  try {
    return to_text(plan_from_text(text)) == text;
  } catch (const PlanError&) {
    return true;
  }
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + '\n';
  return text;
}

}  // namespace

TEST_CASE("a plan reads as a person would write it") {
  CHECK(to_text(example()) ==
        "espalier plan 1\n"
        "input 1 32 32 3\n"
        "policy Structured{.criterion = L1Norm{}, .amount = Fraction{.remove = 0.5}}\n"
        "parameters 1000 -> 400\n"
        "multiply-adds 123456789012 -> 7\n"
        "\n"
        "group conv1+1\n"
        "  channels 12 -> 8\n"
        "  remove 0 3 10 11\n"
        "  writes conv1.weight conv2.weight\n"
        "  reads fc.weight\n"
        "\n"
        "group conv1+1#2\n"
        "  channels 3 -> 3\n"
        "  kept: the amount leaves all of its channels\n"
        "  writes conv3.weight\n"
        "\n"
        "group fc\n"
        "  channels 10 -> 10\n"
        "  kept: the network's output\n"
        "\n"
        "end\n");
}

TEST_CASE("law: text and back is the identity") {
  CHECK(plan_from_text(to_text(example())) == example());
  CHECK(plan_from_text(to_text(Plan{})) == Plan{});
}

TEST_CASE("every prefix of a plan is refused") {
  const std::string text = to_text(example());
  for (std::size_t length = 0; length < text.size(); ++length) {
    CAPTURE(length);
    CHECK_THROWS_AS(plan_from_text(text.substr(0, length)), PlanError);
  }
}

TEST_CASE("a plan with a byte changed, added or lost is refused, or read for exactly what it says") {
  const std::string text = to_text(example());
  for (std::size_t at = 0; at < text.size(); ++at) {
    CAPTURE(at);
    for (const char c : {'0', '9', ' ', '-', '\n', '\r', '\0', 'x', '>', '\xff'}) {
      std::string changed = text, added = text;
      changed[at] = c;
      added.insert(at, 1, c);
      CHECK(is_refused_or_canonical(changed));
      CHECK(is_refused_or_canonical(added));
    }
    std::string lost = text;
    lost.erase(at, 1);
    CHECK(is_refused_or_canonical(lost));
  }
}

TEST_CASE("a plan with a line lost, doubled, swapped or replaced is refused, or read for exactly what it says") {
  const auto lines = lines_of(to_text(example()));
  const std::string junk[] = {"", "end", "  remove 1", "  remove", "  channels 3 -> 2", "  channels 0 -> 0", "group conv1+1", "  kept: ", "input 1 2 3 4 5 6 7",
                              "input -1", "input 4611686018427387904 4", "parameters 1 -> 99999999999999999999", "parameters 1->2", "parameters 01 -> 2"};
  for (std::size_t at = 0; at < lines.size(); ++at) {
    CAPTURE(at);
    auto lost = lines, doubled = lines;
    lost.erase(lost.begin() + static_cast<std::ptrdiff_t>(at));
    doubled.insert(doubled.begin() + static_cast<std::ptrdiff_t>(at), lines[at]);
    CHECK(is_refused_or_canonical(joined(lost)));
    CHECK(is_refused_or_canonical(joined(doubled)));
    for (std::size_t other = 0; other < at; ++other) {
      auto swapped = lines;
      std::swap(swapped[at], swapped[other]);
      CHECK(is_refused_or_canonical(joined(swapped)));
    }
    for (const auto& line : junk) {
      auto replaced = lines;
      replaced[at] = line;
      CHECK(is_refused_or_canonical(joined(replaced)));
    }
  }
}

TEST_CASE("a bad line is named, with what was found and what is needed") {
  const auto with = [](std::size_t line, const std::string& text) {
    auto lines = lines_of(to_text(example()));
    lines[line - 1] = text;
    return joined(lines);
  };
  const auto refuses = [](const std::string& text, const char* message) { CHECK_THROWS_WITH_AS(plan_from_text(text), message, PlanError); };
  refuses("", "plan, line 1: found ''; needed is more; is the file cut short?");
  refuses(with(1, "espalier plan 2"), "plan, line 1: found 'espalier plan 2'; needed is 'espalier plan 1'; is this a plan, and not of a later version?");
  refuses(with(2, "input 1 x"), "plan, line 2: found 'input 1 x'; needed is a whole number, not 'x'");
  refuses(with(2, "input 1 -2"), "plan, line 2: found 'input 1 -2'; needed is an input's shape: axis 1 has extent -2; extents are not negative");
  refuses(with(4, "parameters 3"), "plan, line 4: found 'parameters 3'; needed is 'before -> after'");
  refuses(with(7, "grupo conv1"), "plan, line 7: found 'grupo conv1'; needed is a line starting with 'group '");
  refuses(with(8, "  channels 12 -> 7"), "plan, line 9: found '  remove 0 3 10 11'; needed is 'channels 12 -> 8' with 4 channels to remove");
  refuses(with(8, "  channels 4 -> 0"), "plan, line 8: found '  channels 4 -> 0'; needed is at least one channel on either side of '->'");
  refuses(with(9, "  remove 0 3 3 11"), "plan, line 9: found '  remove 0 3 3 11'; needed is ascending channels below 12 without repetition");
  refuses(with(9, "  remove 0 3 11 12"), "plan, line 9: found '  remove 0 3 11 12'; needed is ascending channels below 12 without repetition");
  refuses(with(13, "group conv1+1"), "plan, line 16: found '  writes conv3.weight'; needed is each group once, not 'conv1+1' again");
  refuses(to_text(example()) + "\n", "plan, line 22: found 'end'; needed is 'end' alone, and nothing after it");
}

}  // namespace plan_test
