// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "espalier/report/html.hpp"
#include "report/markup.hpp"

using namespace espalier;

namespace html_test {

namespace {

HtmlReport full_report(const std::string& text) {
  const LineChart curves{
      .title = text, .x = {.title = text}, .y = {.title = text}, .series = {{.name = text, .x = {1, 2}, .y = {1, 2}}}};
  const BarChart bars{.title = text, .categories = {text}, .series = {{text, {1}}, {text, {2}}, {text, {3}}}};
  HtmlReport report(text, text);
  report.facts({{text, text}});
  report.section(text).paragraph(text).table(
      {.title = text, .columns = {{text}}, .rows = {{text.c_str()}}, .notes = {text}}, text);
  report.section(text).figure(curves, text, text).figure(bars, text);
  report.section(text).settings({{text, text}}).footer(text).footer(text);
  return report;
}

std::vector<markup::Element> elements(const std::string& html) {
  std::string fault;
  auto all = markup::parse(html, fault);
  CHECK(fault == "");
  return all;
}

std::size_t count(const std::vector<markup::Element>& all, std::string_view name) {
  std::size_t n = 0;
  for (const markup::Element& e : all) n += e.name == name;
  return n;
}

}  // namespace

TEST_CASE("the page is well-formed and has everything that was put in, in order") {
  const std::string html = full_report("plain").html();
  const auto all = elements(html);
  CHECK(count(all, "h1") == 1);
  CHECK(count(all, "h2") == 3);
  CHECK(count(all, "svg") == 2);
  CHECK(count(all, "figcaption") == 2);
  CHECK(count(all, "table") == 2);
  CHECK(count(all, "style") == 1);
  CHECK(html.find("Figure 1. plain <a href=\"plain\">Data: plain</a></figcaption>") != std::string::npos);
  CHECK(html.find("Figure 2. plain</figcaption>") != std::string::npos);
  CHECK(html.find("<dt>plain</dt><dd>plain</dd>") < html.find("<table>"));
  CHECK(html.find("</table>") < html.find("<svg"));
  CHECK(html.find("</svg>") < html.find("<footer>"));
}

TEST_CASE("the contents link to every section where there are more than two") {
  const std::string html = full_report("plain").html();
  for (int i = 1; i <= 3; ++i) {
    CHECK(html.find(str("<a href=\"#s", i, "\">")) != std::string::npos);
    CHECK(html.find(str("<h2 id=\"s", i, "\">")) != std::string::npos);
  }
  CHECK(HtmlReport("t", "s").section("one").html().find("<nav") == std::string::npos);
}

TEST_CASE("nothing comes from elsewhere: no scripts, no sources, only relative links") {
  const std::string html = full_report("javascript:alert(1) http://example.com/x").html();
  for (const markup::Element& e : elements(html)) {
    CAPTURE(e.name);
    CHECK(e.name != "script");
    CHECK(e.name != "link");
    CHECK(e.name != "img");
    CHECK(e.attribute("src") == "");
    CHECK(e.attribute("href").find(':') == std::string::npos);
  }
  CHECK(html.find("@import") == std::string::npos);
  CHECK(html.find("url(http") == std::string::npos);
  CHECK(html.find("default-src 'none'") != std::string::npos);
}

TEST_CASE("no text becomes markup, wherever it is put") {
  const std::string html = full_report("</style></title><script>alert(\"1\")</script>&\x01\xff<b 'x").html();
  const auto all = elements(html);
  CHECK(count(all, "script") == 0);
  CHECK(count(all, "b") == 0);
  CHECK(count(all, "style") == 1);
  CHECK(html.find('\x01') == std::string::npos);
  CHECK(html.find('\xff') == std::string::npos);
}

TEST_CASE("links to files keep their folders and encode the rest") {
  CHECK(detail::link_target("figures/curves 1.csv") == "figures/curves%201.csv");
  CHECK(detail::link_target("a\"b#c?d:\xc3\xa9") == "a%22b%23c%3Fd%3A%C3%A9");
}

TEST_CASE("equal reports give equal bytes, for light, dark and paper") {
  const std::string html = full_report("plain").html();
  CHECK(html == full_report("plain").html());
  CHECK(html.find("prefers-color-scheme:dark") != std::string::npos);
  CHECK(html.find("@media print") != std::string::npos);
  CHECK(html.find("<meta name=\"color-scheme\" content=\"light dark\">") != std::string::npos);
}

TEST_CASE("an empty report is a page") {
  const auto all = elements(HtmlReport("title", "").html());
  CHECK(count(all, "h1") == 1);
  CHECK(count(all, "p") == 0);
  CHECK(count(all, "footer") == 0);
}

}  // namespace html_test
