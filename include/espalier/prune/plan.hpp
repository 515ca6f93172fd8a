// SPDX-License-Identifier: Apache-2.0
// A plan is the decision of structured pruning as a value: which channels of which groups go. It
// prints, saves as text, loads, compares, and is applied by mask() or by shrink().
#pragma once

#include <charconv>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <espalier/backend/shape.hpp>

namespace espalier {

/// One group's decision.
struct PlannedGroup {
  std::string name{};                  // of the ChannelGroup
  Index channels = 0;                  // before
  std::vector<Index> remove{};         // ascending
  std::string kept_because{};          // why nothing goes; empty if something does
  std::vector<std::string> couples{};  // "reads features.3.weight ...": what goes along, by role
  bool operator==(const PlannedGroup&) const = default;

  Index keep() const { return channels - static_cast<Index>(remove.size()); }
};

/// What to remove from a network, and what that saves for the input shape it was made with.
struct Plan {
  Shape input{};
  std::string policy{};  // as it is written in code
  std::vector<PlannedGroup> groups{};
  Index parameters_before = 0, parameters_after = 0;
  Index multiply_adds_before = 0, multiply_adds_after = 0;
  bool operator==(const Plan&) const = default;

  Index removed() const {
    Index count = 0;
    for (const auto& g : groups) count += static_cast<Index>(g.remove.size());
    return count;
  }
};

/// The plan as text that a person can read, compare and edit: one group a paragraph, lists of channels
/// in decimal, "end" last. plan_from_text(to_text(plan)) == plan.
inline std::string to_text(const Plan& plan) {
  std::string out = "espalier plan 1\ninput";
  for (const Index extent : plan.input.extents()) out += str(' ', extent);
  out += str("\npolicy ", plan.policy, "\nparameters ", plan.parameters_before, " -> ", plan.parameters_after, "\nmultiply-adds ",
             plan.multiply_adds_before, " -> ", plan.multiply_adds_after, '\n');
  for (const auto& g : plan.groups) {
    out += str("\ngroup ", g.name, "\n  channels ", g.channels, " -> ", g.keep(), "\n");
    if (!g.remove.empty()) {
      out += "  remove";
      for (const Index channel : g.remove) out += str(' ', channel);
      out += '\n';
    }
    if (!g.kept_because.empty()) out += str("  kept: ", g.kept_because, '\n');
    for (const auto& couple : g.couples) out += str("  ", couple, '\n');
  }
  return out + "\nend\n";
}

namespace detail {

// Reads a plan line by line; every error names the line.
class PlanReader {
 public:
  explicit PlanReader(std::string_view text) : rest_(text) {}

  Plan read() {
    Plan plan;
    if (take_line() != "espalier plan 1") fail("'espalier plan 1'; is this a plan, and not of a later version?");
    plan.input = shape(numbers(after("input")));
    plan.policy = std::string(after("policy "));
    std::tie(plan.parameters_before, plan.parameters_after) = arrow(after("parameters "));
    std::tie(plan.multiply_adds_before, plan.multiply_adds_after) = arrow(after("multiply-adds "));
    for (;;) {
      if (!take_line().empty()) fail("an empty line before each group");
      if (next_is("end")) break;
      plan.groups.push_back(group());
      for (std::size_t i = 0; i + 1 < plan.groups.size(); ++i)
        if (plan.groups[i].name == plan.groups.back().name) fail(str("each group once, not '", plan.groups[i].name, "' again"));
    }
    if (take_line() != "end" || !rest_.empty()) fail("'end' alone, and nothing after it");
    return plan;
  }

 private:
  PlannedGroup group() {
    PlannedGroup g;
    g.name = std::string(after("group "));
    Index keep = 0;
    std::tie(g.channels, keep) = arrow(after("  channels "));
    if (keep < 1) fail("at least one channel on either side of '->'");
    if (next_is("  remove")) {
      g.remove = numbers(after("  remove"));
      if (g.remove.empty()) fail("the channels to remove");
    }
    for (std::size_t i = 0; i < g.remove.size(); ++i)
      if (g.remove[i] < 0 || g.remove[i] >= g.channels || (i > 0 && g.remove[i] <= g.remove[i - 1]))
        fail(str("ascending channels below ", g.channels, " without repetition"));
    if (g.keep() != keep) fail(str("'channels ", g.channels, " -> ", g.keep(), "' with ", g.remove.size(), " channels to remove"));
    if (next_is("  kept: ")) {
      g.kept_because = std::string(after("  kept: "));
      if (g.kept_because.empty()) fail("a reason");
    }
    while (next_is("  ")) g.couples.emplace_back(after("  "));
    return g;
  }

  std::string_view take_line() {
    ++line_;
    const std::size_t end = rest_.find('\n');
    current_ = rest_.substr(0, end);
    if (end == std::string_view::npos) fail("more; is the file cut short?");
    rest_.remove_prefix(end + 1);
    return current_;
  }
  bool next_is(std::string_view start) const { return rest_.substr(0, start.size()) == start; }
  std::string_view after(std::string_view start) {
    const std::string_view line = take_line();
    if (line.substr(0, start.size()) != start) fail(str("a line starting with '", start, "'"));
    return line.substr(start.size());
  }
  Index number(std::string_view text) {
    Index value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || str(value) != text) fail(str("a whole number, not '", text, "'"));
    return value;
  }
  Shape shape(const std::vector<Index>& extents) const {
    try {
      return Shape(std::span<const Index>(extents));
    } catch (const ShapeError& e) {
      fail(str("an input's shape: ", e.what()));
    }
  }
  std::vector<Index> numbers(std::string_view text) {
    std::vector<Index> all;
    while (!text.empty()) {
      if (text.front() != ' ') fail("numbers separated by single blanks");
      text.remove_prefix(1);
      const std::size_t end = std::min(text.find(' '), text.size());
      all.push_back(number(text.substr(0, end)));
      text.remove_prefix(end);
    }
    return all;
  }
  std::pair<Index, Index> arrow(std::string_view text) {
    const std::size_t at = text.find(" -> ");
    if (at == std::string_view::npos) fail("'before -> after'");
    return {number(text.substr(0, at)), number(text.substr(at + 4))};
  }
  [[noreturn]] void fail(std::string needed) const {
    throw PlanError(str("plan, line ", line_, ": found '", current_, "'; needed is ", needed));
  }

  std::string_view rest_, current_;
  int line_ = 0;
};

}  // namespace detail

/// Reads what to_text wrote. Throws PlanError naming the line, what was found and what was needed.
inline Plan plan_from_text(std::string_view text) { return detail::PlanReader(text).read(); }

}  // namespace espalier
