// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "espalier/report/svg.hpp"
#include "report/markup.hpp"

using namespace espalier;

namespace svg_test {

namespace {

const double gap = std::numeric_limits<double>::quiet_NaN();

std::vector<markup::Element> elements(const std::string& svg) {
  std::string fault;
  auto all = markup::parse(svg, fault);
  CHECK(fault == "");
  return all;
}

std::size_t count(const std::string& svg, std::string_view name, std::string_view css) {
  std::size_t n = 0;
  for (const markup::Element& e : elements(svg)) n += e.name == name && e.has(css);
  return n;
}

/// Numbers that are the same everywhere: a linear congruential generator, high bits.
struct Lcg {
  std::uint64_t state;
  std::size_t below(std::size_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::size_t>(state >> 33) % n;
  }
};

BarChart filters(std::size_t layers, const std::string& prefix) {
  BarChart chart{.title = "Filters kept per layer",
                 .category_title = "layer",
                 .y = {.title = "filters", .whole = true},
                 .series = {{.name = "before"}, {.name = "after"}}};
  for (std::size_t i = 0; i < layers; ++i) {
    chart.categories.push_back(str(prefix, i));
    chart.series[0].values.push_back(64);
    chart.series[1].values.push_back(static_cast<double>(64 - i % 33));
  }
  return chart;
}

}  // namespace

TEST_CASE("a line goes through its points and stops at a gap") {
  const LineChart chart{.y = {.title = "y"},
                        .series = {{.name = "a", .x = {0, 1, 2, 3, 4}, .y = {0, 1, gap, 1, 0}}},
                        .width = 200,
                        .plot_height = 100};
  const std::string svg = to_svg(chart);
  for (const markup::Element& e : elements(svg)) {
    if (e.name != "path" || !e.has("ec-line")) continue;
    // Left of the plot: margin 16, title 20, label "0.0" 2 * 7.68 + 4.08, gap 8; right: 24; five y pieces.
    CHECK(e.attribute("d") == "M63.44 126L91.58 26M147.86 26L176 126");
  }
  CHECK(count(svg, "path", "ec-line") == 1);
  CHECK(count(svg, "circle", "ec-mark") == 4);
}

TEST_CASE("equal charts give equal bytes, and names of patterns differ between charts") {
  BarChart chart = filters(3, "conv");
  chart.series.push_back({"third", {1, 2, 3}});
  CHECK(to_svg(chart) == to_svg(BarChart(chart)));
  const auto id = [](const BarChart& c) {
    for (const markup::Element& e : elements(to_svg(c))) if (e.name == "pattern") return e.attribute("id");
    return std::string();
  };
  const std::string first = id(chart);
  REQUIRE(first != "");
  CHECK(to_svg(chart).find("fill=\"url(#" + first + ")\"") != std::string::npos);
  chart.series[0].values[0] = 5;
  CHECK(id(chart) != first);
}

TEST_CASE("names do not overlap nor leave the drawing, from three layers to two hundred") {
  for (const char* prefix :
       {"", "conv", "features.conv", "stage2.block.with.a.very.long.name.conv.weight.", "\u5c64\u5c64\u5c64\u5c64"}) {
    for (const std::size_t layers : {0u, 1u, 2u, 3u, 5u, 8u, 13u, 16u, 20u, 27u, 36u, 55u, 80u, 109u, 200u}) {
      for (const double width : {300.0, 720.0, 1200.0}) {
        CAPTURE(prefix);
        CAPTURE(layers);
        CAPTURE(width);
        BarChart chart = filters(layers, prefix);
        chart.width = width;
        CHECK(markup::layout_faults(to_svg(chart)) == "");
        CHECK(markup::layout_faults(to_svg(chart, SvgForm::embedded)) == "");
        chart.layout = BarLayout::nested;
        CHECK(markup::layout_faults(to_svg(chart)) == "");
      }
    }
  }
}

TEST_CASE("every name is written where there is room") {
  const std::string svg = to_svg(filters(16, "features.conv"));
  for (int i = 0; i < 16; ++i) CHECK(svg.find(str(">features.conv", i, "</text>")) != std::string::npos);
  CHECK(to_svg(filters(109, "stage1.")).find("one name in") != std::string::npos);
}

TEST_CASE("axes of any range have distinct labels that do not touch") {
  Lcg random{1};
  for (int i = 0; i < 2000; ++i) {
    const double size = std::pow(10.0, static_cast<double>(random.below(18)) - 8);
    const double from = (static_cast<double>(random.below(2001)) - 1000) * size / 100;
    LineChart chart{.title = "t",
                    .x = {.title = "step", .whole = random.below(2) == 0},
                    .y = {.title = "loss", .percent = random.below(3) == 0}};
    chart.x.logarithmic = random.below(3) == 0;
    chart.y.logarithmic = random.below(3) == 0;
    chart.width = random.below(2) == 0 ? 720 : 320;
    const double shift = static_cast<double>(random.below(1000)) * size;
    const std::size_t n = 1 + random.below(4);
    Series s{.name = "s"};
    for (std::size_t k = 0; k < n; ++k) {
      s.x.push_back(chart.x.logarithmic ? std::pow(10.0, static_cast<double>(random.below(12)) - 6)
                                        : from + shift * static_cast<double>(k));
      s.y.push_back(chart.y.logarithmic ? std::pow(10.0, static_cast<double>(random.below(300)) / 50 - 3)
                                        : from - shift * static_cast<double>(k) / 3);
    }
    chart.series = {s};
    CAPTURE(i);
    CAPTURE(to_csv(chart));
    CHECK(markup::layout_faults(to_svg(chart)) == "");
  }
}

TEST_CASE("ticks lie inside their axis, grow, and their labels differ") {
  Lcg random{2};
  for (int i = 0; i < 2000; ++i) {
    const double from = (static_cast<double>(random.below(20001)) - 10000) / 100,
                 range = std::pow(10.0, static_cast<double>(random.below(80)) / 10 - 4);
    const bool extend = random.below(2) == 0;
    const detail::AxisScale scale = detail::linear_scale(from, from + range, 5, extend, false, random.below(4) == 0);
    CAPTURE(from);
    CAPTURE(range);
    CHECK(scale.from <= from + 1e-9 * range);
    CHECK(scale.to >= from + range - 1e-9 * range);
    CHECK(scale.ticks.size() >= 2);
    CHECK(scale.ticks.size() <= 7);
    std::set<std::string> labels;
    for (std::size_t t = 0; t < scale.ticks.size(); ++t) {
      CHECK(scale.part(scale.ticks[t].at) > -1e-6);
      CHECK(scale.part(scale.ticks[t].at) < 1 + 1e-6);
      if (t > 0) CHECK(scale.ticks[t].at > scale.ticks[t - 1].at);
      labels.insert(scale.ticks[t].label);
    }
    CHECK(labels.size() == scale.ticks.size());
  }
}

TEST_CASE("labels of known axes") {
  const auto labels = [](const detail::AxisScale& scale) {
    std::string all;
    for (const detail::AxisTick& tick : scale.ticks) all += (all.empty() ? "" : " | ") + tick.label;
    return all;
  };
  CHECK(labels(detail::linear_scale(0, 1, 5, true, false, false)) == "0.0 | 0.2 | 0.4 | 0.6 | 0.8 | 1.0");
  CHECK(labels(detail::linear_scale(0.61, 0.93, 5, true, false, true)) == "60% | 70% | 80% | 90% | 100%");
  CHECK(labels(detail::linear_scale(0.9301, 0.9339, 5, true, false, true)) == "93.0% | 93.1% | 93.2% | 93.3% | 93.4%");
  CHECK(labels(detail::linear_scale(0, 512, 5, true, true, false)) == "0 | 200 | 400 | 600");
  CHECK(labels(detail::linear_scale(0, 50000, 5, true, false, false)) == "0 | 10 k | 20 k | 30 k | 40 k | 50 k");
  CHECK(labels(detail::linear_scale(0, 14987722, 5, true, false, false)) == "0 | 5 M | 10 M | 15 M");
  CHECK(labels(detail::linear_scale(1, 3, 10, false, true, false)) == "1 | 2 | 3");
  CHECK(labels(detail::linear_scale(-1, 1, 4, true, false, false)) == "-1.0 | -0.5 | 0.0 | 0.5 | 1.0");
  CHECK(labels(detail::linear_scale(0, 1e-5, 5, true, false, false)) ==
        "0 | 2.0e-6 | 4.0e-6 | 6.0e-6 | 8.0e-6 | 1.0e-5");
  CHECK(labels(detail::log_scale(1e-5, 1, 6, false)) == "1e-5 | 1e-4 | 0.001 | 0.01 | 0.1 | 1");
  CHECK(labels(detail::log_scale(0.3, 20, 6, false)) == "0.5 | 1 | 2 | 5 | 10 | 20");
  CHECK(labels(detail::log_scale(1, 1e6, 6, false)) == "1 | 10 | 100 | 1 k | 10 k | 100 k | 1 M");
  CHECK(labels(detail::log_scale(0.01, 1, 6, true)) == "1% | 2% | 5% | 10% | 20% | 50% | 100%");
}

TEST_CASE("values that a logarithmic axis cannot show leave a gap") {
  const LineChart chart{.y = {.logarithmic = true}, .series = {{.name = "a", .x = {1, 2, 3, 4}, .y = {1, 0, -1, 10}}}};
  const std::string svg = to_svg(chart);
  CHECK(count(svg, "circle", "ec-mark") == 2);
  CHECK(markup::layout_faults(svg) == "");
}

TEST_CASE("a chart without data says so, and one with a single value is drawn") {
  CHECK(to_svg(LineChart{}).find(">no data<") != std::string::npos);
  CHECK(to_svg(LineChart{.series = {{.name = "a", .x = {1}, .y = {gap}}}}).find(">no data<") != std::string::npos);
  CHECK(to_svg(BarChart{}).find(">no data<") != std::string::npos);
  const std::string one = to_svg(LineChart{.series = {{.name = "a", .x = {5}, .y = {0}}}});
  CHECK(markup::layout_faults(one) == "");
  CHECK(count(one, "circle", "ec-mark") == 1);
}

TEST_CASE("series differ without colour: by dashes, by markers, by fills") {
  LineChart lines;
  BarChart bars{.categories = {"a"}};
  std::set<std::string> dashes, fills;
  for (int i = 0; i < 6; ++i) lines.series.push_back({.name = str(i), .x = {1, 2}, .y = {1.0 * i, 2}});
  for (int i = 0; i < 4; ++i) bars.series.push_back({str(i), {1.0 + i}});
  const std::string svg = to_svg(lines);
  for (const markup::Element& e : elements(svg)) if (e.has("ec-line")) dashes.insert(e.attribute("stroke-dasharray"));
  CHECK(dashes.size() == 6);
  std::set<std::string> shapes;
  for (const markup::Element& e : elements(svg)) if (e.has("ec-mark")) shapes.insert(e.name + e.attribute("d"));
  CHECK(shapes.size() == 6);
  for (const markup::Element& e : elements(to_svg(bars))) {
    if (e.name == "rect" && e.has("ec-bar")) fills.insert(e.has("ec-open") ? "open" : e.attribute("fill"));
  }
  CHECK(fills.size() == 4);
}

TEST_CASE("hostile names are text, not markup") {
  const std::string bad = "<script>\"x\" & 'y'</script>\x01\xff";
  const LineChart line{.title = bad,
                       .description = bad,
                       .x = {.title = bad},
                       .y = {.title = bad},
                       .series = {{.name = bad, .x = {1}, .y = {1}}, {.name = "b", .x = {1}, .y = {2}}}};
  const BarChart bar{.title = bad,
                     .category_title = bad,
                     .y = {.title = bad},
                     .categories = {bad},
                     .series = {{bad, {1}}, {bad, {2}}}};
  for (const std::string& svg : {to_svg(line), to_svg(bar)}) {
    std::string fault;
    for (const markup::Element& e : markup::parse(svg, fault)) CHECK(e.name != "script");
    CHECK(fault == "");
    CHECK(svg.find('\x01') == std::string::npos);
    CHECK(svg.find('\xff') == std::string::npos);
    CHECK(svg.find("&lt;script&gt;") != std::string::npos);
  }
}

TEST_CASE("a drawing has a title and a description for those who do not see it") {
  const std::string svg = to_svg(LineChart{.title = "T",
                                           .x = {.title = "epoch"},
                                           .y = {.title = "accuracy", .percent = true},
                                           .series = {{.name = "dense", .x = {1, 2}, .y = {0.5, 0.25}}}});
  const auto all = elements(svg);
  CHECK(all[0].attribute("role") == "img");
  CHECK(all[1].name == "title");
  CHECK(all[1].text == "T");
  CHECK(all[2].name == "desc");
  CHECK(all[2].text == "Line chart of accuracy over epoch. dense: 2 points, from 25.0% to 50.0%, last 25.0%.");
}

TEST_CASE("a file carries its colours for light and dark, a page its own") {
  const BarChart chart = filters(3, "conv");
  CHECK(to_svg(chart).find("prefers-color-scheme:dark") != std::string::npos);
  CHECK(count(to_svg(chart), "rect", "ec-bg") == 1);
  CHECK(to_svg(chart, SvgForm::embedded).find("<style") == std::string::npos);
  CHECK(count(to_svg(chart, SvgForm::embedded), "rect", "ec-bg") == 0);
}

TEST_CASE("fifty thousand steps make a small drawing that keeps every peak") {
  Series s{.name = "loss"};
  for (int i = 0; i < 50000; ++i) {
    s.x.push_back(i);
    s.y.push_back(i == 31234 ? 100.0 : std::sin(i * 0.7));
  }
  const LineChart chart{.series = {s}};
  const std::string svg = to_svg(chart);
  CHECK(svg.size() < 60000);
  const std::string alone = to_svg(LineChart{.series = {{.name = "loss", .x = {0, 31234, 49999}, .y = {0, 100, -1}}}});
  for (const markup::Element& e : elements(alone)) {
    if (!e.has("ec-line")) continue;
    const std::string d = e.attribute("d");
    const std::string peak = d.substr(d.find('L') + 1, d.rfind('L') - d.find('L') - 1);
    CHECK(svg.find("L" + peak + "L") != std::string::npos);
  }
}

TEST_CASE("a band is drawn around its line and is in the CSV") {
  const LineChart chart{
      .x = {.title = "epoch"},
      .y = {.title = "accuracy"},
      .series = {{.name = "a", .x = {1, 2, 3}, .y = {1, 2, 3}, .low = {0, gap, 2}, .high = {2, gap, 4}},
                 {.name = "b,c", .x = {1}, .y = {gap}}}};
  CHECK(count(to_svg(chart), "path", "ec-band") == 2);
  CHECK(to_csv(chart) == "series,epoch,accuracy,low,high\na,1,1,0,2\na,2,2,,\na,3,3,2,4\n\"b,c\",1,,,\n");
}

TEST_CASE("bars begin at zero, also below it, and a missing value leaves its place empty") {
  const BarChart chart{
      .y = {.title = "points"}, .categories = {"a", "b", "c"}, .series = {{"delta", {-0.5, 1.25, gap}}}};
  const std::string svg = to_svg(chart, SvgForm::embedded);
  CHECK(count(svg, "rect", "ec-bar") == 2);
  std::vector<double> tops, bottoms;
  for (const markup::Element& e : elements(svg)) {
    if (!e.has("ec-bar")) continue;
    tops.push_back(e.number("y"));
    bottoms.push_back(e.number("y") + e.number("height"));
  }
  CHECK(tops[0] == doctest::Approx(bottoms[1]));
  CHECK(bottoms[0] - tops[0] == doctest::Approx((bottoms[1] - tops[1]) * 0.4).epsilon(1e-3));
  CHECK(svg.find("<title>a, delta: -0.50</title>") != std::string::npos);
  CHECK(to_csv(chart) == "category,delta\na,-0.5\nb,1.25\nc,\n");
}

TEST_CASE("nested bars stand within each other") {
  BarChart chart = filters(2, "conv");
  chart.layout = BarLayout::nested;
  std::vector<markup::Element> bars;
  for (const markup::Element& e : elements(to_svg(chart)))
    if (e.has("ec-bar") && e.attributes.find("height=\"12\"") == std::string::npos) bars.push_back(e);
  REQUIRE(bars.size() == 4);
  CHECK(bars[0].number("x") < bars[1].number("x"));
  CHECK(bars[0].number("x") + bars[0].number("width") > bars[1].number("x") + bars[1].number("width"));
  CHECK(bars[0].number("x") + bars[0].number("width") / 2 ==
        doctest::Approx(bars[1].number("x") + bars[1].number("width") / 2).epsilon(1e-4));
}

TEST_CASE("series of the wrong length and logarithmic bars are refused") {
  CHECK_THROWS_WITH_AS(to_svg(LineChart{.series = {{.name = "a", .x = {1, 2}, .y = {1}}}}),
                       doctest::Contains("series 'a'"), ShapeError);
  CHECK_THROWS_AS(to_svg(LineChart{.series = {{.name = "a", .x = {1}, .y = {1}, .low = {1}}}}), ShapeError);
  CHECK_THROWS_WITH_AS(to_svg(BarChart{.categories = {"a"}, .series = {{"s", {1, 2}}}}),
                       doctest::Contains("2 values for 1 categories"), ShapeError);
  CHECK_THROWS_AS(to_svg(BarChart{.y = {.logarithmic = true}}), PolicyError);
}

}  // namespace svg_test
