// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "espalier/report/table.hpp"

using namespace espalier;

namespace table_test {

namespace {

Table results() {
  return {.title = "Fashion-MNIST (real), seed 1",
          .columns = {{"method"},
                      {"params", Align::right},
                      {"MACs", Align::right, "macs"},
                      {"acc", Align::right},
                      {"delta", Align::right},
                      {"time", Align::right, "seconds"}},
          .rows = {{"dense VGG", Cell::count(14987722), Cell::si(313463808), Cell::percent(0.9375), Cell::none(),
                    Cell::clock(14)},
                   {"  from scratch", Cell::count(5397034), Cell::si(206279680), Cell::percent(0.934),
                    Cell::points(-0.0035, 2), Cell::clock(72.5)}},
          .notes = {"masked models are not smaller or faster until they are shrunk, and no claim about their speed is "
                    "made here"}};
}

}  // namespace

TEST_CASE("text is aligned, without trailing spaces, with its notes wrapped") {
  CHECK(to_text(results(), 60, false) ==
        "Fashion-MNIST (real), seed 1\n"
        "\n"
        "method              params     MACs    acc  delta  time\n"
        "-------------------------------------------------------\n"
        "dense VGG       14,987,722  313.5 M  93.8%      -  0:14\n"
        "  from scratch   5,397,034  206.3 M  93.4%  -0.35  1:13\n"
        "masked models are not smaller or faster until they are\n"
        "shrunk, and no claim about their speed is made here\n");
}

TEST_CASE("a narrow terminal shortens names, never numbers") {
  const std::string text = to_text(results(), 53, false);
  CHECK(text.find("\n  from sc...   5,397,034") != std::string::npos);
  CHECK(to_text(results(), 10, false).find("14,987,722  313.5 M  93.8%      -  0:14\n") != std::string::npos);
}

TEST_CASE("columns are counted in characters, not bytes") {
  const Table table{.columns = {{"name"}, {"n", Align::right}},
                    .rows = {{"\u00e9\u00e8\u00ea", Cell::count(1)}, {"\u526a\u679d", Cell::count(20)}}};
  CHECK(to_text(table) ==
        "name   n\n\u2500\u2500\u2500\u2500\u2500\u2500\u2500\u2500\n\u00e9\u00e8\u00ea    1\n\u526a\u679d  20\n");
  CHECK(to_text(table, 80, false) == "name   n\n--------\n???    1\n??    20\n");
}

TEST_CASE("control characters of a name stay in its cell") {
  const Table table{.columns = {{"name"}}, .rows = {{"a\x1b[31m\nb"}}};
  CHECK(to_text(table, 80, false) == "name\n--------\na?[31m?b\n");
}

TEST_CASE("CSV carries exact numbers and quotes what needs it") {
  CHECK(to_csv(results()) ==
        "method,params,macs,acc,delta,seconds\n"
        "dense VGG,14987722,313463808,0.9375,,14\n"
        "from scratch,5397034,206279680,0.934,-0.0035,72.5\n");
  const Table odd{.columns = {{"a,b"}, {"c"}},
                  .rows = {{"say \"x\"", "two\nlines"}, {"plain", Cell::fixed(std::nan(""), 1)}}};
  CHECK(to_csv(odd) == "\"a,b\",c\n\"say \"\"x\"\"\",\"two\nlines\"\nplain,\n");
}

TEST_CASE("JSON has one object per row, numbers as numbers and null where there is none") {
  CHECK(to_json(results()).dump() ==
        R"([{"method":"dense VGG","params":14987722,"macs":313463808,"acc":0.9375,"delta":null,"seconds":14.0},)"
        R"({"method":"from scratch","params":5397034,"macs":206279680,"acc":0.934,"delta":-0.0035,"seconds":72.5}])");
  const Table odd{.columns = {{"a"}, {"b"}}, .rows = {{"\xff", Cell::fixed(INFINITY, 1)}}};
  CHECK(to_json(odd).dump() == R"([{"a":"?","b":null}])");
}

TEST_CASE("HTML has header cells with scope, indentation, and escaped text") {
  CHECK(to_html({.title = "A & B",
                 .columns = {{"name"}, {"n", Align::right}},
                 .rows = {{"  <b>", Cell::count(1000)}},
                 .notes = {"\"quoted\""}}) ==
        "<table>\n<caption>A &amp; B</caption>\n"
        "<thead><tr><th scope=\"col\">name</th><th scope=\"col\" class=\"n\">n</th></tr></thead>\n"
        "<tbody>\n<tr><th scope=\"row\">&#160;&#160;&lt;b&gt;</th><td class=\"n\">1,000</td></tr>\n</tbody>\n</table>\n"
        "<p class=\"note\">&quot;quoted&quot;</p>\n");
}

TEST_CASE("a table without rows is its header") {
  CHECK(to_text({.columns = {{"a"}, {"b"}}}, 80, false) == "a  b\n----\n");
  CHECK(to_csv({.columns = {{"a"}, {"b"}}}) == "a,b\n");
  CHECK(to_json({.columns = {{"a"}}}).dump() == "[]");
  CHECK(to_text({}, 80, false) == "\n\n");
}

TEST_CASE("a row of the wrong length is refused with its number") {
  const Table table{.title = "t", .columns = {{"a"}, {"b"}}, .rows = {{"1", "2"}, {"1"}}};
  CHECK_THROWS_WITH_AS(to_text(table), doctest::Contains("row 1 has 1 cells, the table has 2 columns"), ShapeError);
  CHECK_THROWS_AS(to_csv(table), ShapeError);
  CHECK_THROWS_AS(to_html(table), ShapeError);
  CHECK_THROWS_AS(to_json(table), ShapeError);
}

}  // namespace table_test
