// SPDX-License-Identifier: Apache-2.0
// report.html: one file with everything in it. No scripts, nothing from elsewhere (a content policy in the
// file forbids it), light and dark, and it prints. All text is escaped; figures come from chart values,
// so no foreign markup can enter.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "espalier/error.hpp"
#include "espalier/report/detail/markup.hpp"
#include "espalier/report/svg.hpp"
#include "espalier/report/table.hpp"

namespace espalier {

namespace detail {

inline std::string_view page_css() {
  return R"(:root{color-scheme:light dark;--page:#fff;--ink:#1c232b;--soft:#5a6673;--rule:#d9dee4;--tint:#f5f7f9;--link:#0b5cad}
@media screen and (prefers-color-scheme:dark){:root{--page:#14181d;--ink:#dde4eb;--soft:#9aa6b2;--rule:#313a44;--tint:#1c2229;--link:#7cc0f5}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","DejaVu Sans",Arial,sans-serif}
main,footer{max-width:820px;margin:0 auto;padding:0 24px}main{padding-top:36px}h1{font-size:28px;line-height:1.25;margin:0 0 10px}h2{font-size:20px;margin:44px 0 12px}
p{margin:0 0 14px}.lead{font-size:18px;color:var(--soft);max-width:60ch}a{color:var(--link)}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:4px 20px;padding:0;margin:0 0 8px;font-size:14px}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:22px 0;padding:0}
.facts div{background:var(--tint);border:1px solid var(--rule);border-radius:6px;padding:12px 14px}.facts dt{font-size:13px;color:var(--soft)}.facts dd{margin:0;font-size:22px;font-weight:600;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto;margin:0 0 8px}table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:0 0 8px}th,td{padding:6px 12px 6px 0;text-align:left;border-bottom:1px solid var(--rule);font-weight:400;white-space:nowrap}
thead th{font-weight:600;border-bottom:2px solid var(--rule)}.n{text-align:right;padding:6px 0 6px 16px}table.settings td{white-space:normal;overflow-wrap:anywhere;font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;font-size:13px}
.note,figcaption,.csv{font-size:14px;color:var(--soft)}figure{margin:20px 0 28px}figure svg{display:block;width:100%;height:auto}figcaption{margin-top:6px}figcaption a{white-space:nowrap}.wide .note{margin-top:10px}.csv{margin-top:-4px}
footer{margin-top:48px;padding-top:14px;padding-bottom:32px;font-size:13px;color:var(--soft)}footer p{margin:0 0 4px;border:0}
@media print{body{font-size:11pt}main,footer{max-width:none;padding:0}nav{display:none}h2{break-after:avoid}figure,tr,.facts{break-inside:avoid}.wide{overflow:visible}a{color:inherit;text-decoration:none}}
)";
}

/// A relative address: everything but letters, digits and -._~/ is percent-encoded, so that no scheme can be named.
inline std::string link_target(std::string_view path) {
  constexpr std::string_view hex = "0123456789ABCDEF";
  std::string out;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~/").find(c) != std::string_view::npos;
    if (plain) out += c;
    else out.append({'%', hex[byte >> 4], hex[byte & 15]});
  }
  return out;
}

}  // namespace detail

/// A headline number: {"parameters", "-64.0%"}.
struct Fact {
  std::string label = {};
  std::string value = {};
  bool operator==(const Fact&) const = default;
};

/// One line of a listing: {"seed", "1"}.
struct Setting {
  std::string name = {};
  std::string value = {};
  bool operator==(const Setting&) const = default;
};

/// Builds the page from top to bottom:
///
///   HtmlReport report("Filter pruning", "Half of the filters, 1.8 times as fast, 0.8 points of accuracy.");
///   report.section("Results").table(results, "results.csv").figure(curves, "Accuracy after each epoch.", "curves.csv");
///   report.section("Configuration").settings({{"seed", "1"}}).footer("espalier 0.1.0, g++ 12.2");
///   write_file_atomically("report.html", report.html());
class HtmlReport {
 public:
  HtmlReport(std::string_view title, std::string_view summary) : title_(title), summary_(summary) {}

  /// Headline numbers as tiles.
  HtmlReport& facts(const std::vector<Fact>& facts) {
    body_ += "<dl class=\"facts\">\n";
    for (const Fact& fact : facts) {
      body_ += "<div><dt>" + detail::escaped(fact.label) + "</dt><dd>" + detail::escaped(fact.value) + "</dd></div>\n";
    }
    body_ += "</dl>\n";
    return *this;
  }

  HtmlReport& section(std::string_view heading) {
    headings_.emplace_back(heading);
    body_ += str("<h2 id=\"s", headings_.size(), "\">", detail::escaped(heading), "</h2>\n");
    return *this;
  }

  HtmlReport& paragraph(std::string_view text) {
    body_ += "<p>" + detail::escaped(text) + "</p>\n";
    return *this;
  }

  /// `csv`: the file beside the report that holds the exact numbers, to be written from to_csv().
  HtmlReport& table(const Table& table, std::string_view csv = {}) {
    body_ += "<div class=\"wide\">" + to_html(table) + "</div>\n";
    if (!csv.empty()) body_ += "<p class=\"csv\">" + link(csv) + "</p>\n";
    return *this;
  }

  /// A LineChart or a BarChart with its caption.
  template <class Chart>
  HtmlReport& figure(const Chart& chart, std::string_view caption, std::string_view csv = {}) {
    ++figures_;
    body_ += str("<figure>\n", to_svg(chart, SvgForm::embedded), "<figcaption>Figure ", figures_, ". ",
                 detail::escaped(caption), csv.empty() ? "" : " " + link(csv), "</figcaption>\n</figure>\n");
    return *this;
  }

  /// A listing of names and values, such as the whole configuration.
  HtmlReport& settings(const std::vector<Setting>& settings) {
    body_ += "<div class=\"wide\"><table class=\"settings\">\n<tbody>\n";
    for (const Setting& setting : settings) {
      body_ += "<tr><th scope=\"row\">" + detail::escaped(setting.name) + "</th><td>" + detail::escaped(setting.value) +
               "</td></tr>\n";
    }
    body_ += "</tbody>\n</table></div>\n";
    return *this;
  }

  /// A line at the end of the page: versions, machine, date.
  HtmlReport& footer(std::string_view text) {
    footer_ += "<p>" + detail::escaped(text) + "</p>\n";
    return *this;
  }

  /// The page.
  std::string html() const {
    const std::string title = detail::escaped(title_);
    std::string out =
        str("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" "
            "content=\"light dark\">\n<title>",
            title, "</title>\n<style>\n", detail::page_css(), detail::chart_css(),
            "</style>\n</head>\n<body>\n<main>\n<h1>", title, "</h1>\n");
    if (!summary_.empty()) out += "<p class=\"lead\">" + detail::escaped(summary_) + "</p>\n";
    if (headings_.size() > 2) {
      out += "<nav aria-label=\"Sections\"><ul>\n";
      for (std::size_t i = 0; i < headings_.size(); ++i)
        out += str("<li><a href=\"#s", i + 1, "\">", detail::escaped(headings_[i]), "</a></li>\n");
      out += "</ul></nav>\n";
    }
    out += body_ + "</main>\n";
    if (!footer_.empty()) out += "<footer>\n" + footer_ + "</footer>\n";
    return out + "</body>\n</html>\n";
  }

 private:
  static std::string link(std::string_view path) {
    return "<a href=\"" + detail::link_target(path) + "\">Data: " + detail::escaped(path) + "</a>";
  }

  std::string title_, summary_, body_, footer_;
  std::vector<std::string> headings_;
  std::size_t figures_ = 0;
};

}  // namespace espalier
