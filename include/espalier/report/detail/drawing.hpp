// SPDX-License-Identifier: Apache-2.0
// What the charts share: colours as CSS classes for light, dark and paper, text sizes estimated wide enough
// for any common font, the frame with title, legend and axes. All coordinates are written with two decimals,
// so that equal data gives equal bytes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/error.hpp"
#include "espalier/report/detail/markup.hpp"
#include "espalier/report/detail/ticks.hpp"
#include "espalier/report/detail/utf8.hpp"

namespace espalier {

/// Where an SVG goes: into a file of its own, with colours and background, or into a page that has them.
enum class SvgForm { file, embedded };

/// One axis. With `percent`, values are fractions and labels percentages; `whole` has ticks at integers only.
struct Axis {
  std::string title = {};
  std::string unit = {};       // shown in brackets behind the title
  bool logarithmic = false;    // values that are not positive leave a gap
  bool percent = false;
  bool whole = false;
  bool operator==(const Axis&) const = default;
};

}  // namespace espalier

namespace espalier::detail {

inline constexpr std::size_t chart_colors = 6;

/// The style sheet of every chart.
inline std::string_view chart_css() {
  return R"(.ec{font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","DejaVu Sans",Arial,sans-serif;font-size:12px}
.ec text{fill:#3d4652}.ec .ec-title{fill:#161b22;font-size:14px;font-weight:600}.ec .ec-small{font-size:10px}
.ec .ec-bg{fill:#fff}.ec .ec-grid{stroke:#e3e6ea}.ec .ec-axis{stroke:#8a94a0}.ec .ec-line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.ec .ec-band{stroke:none;fill-opacity:.16}.ec .ec-mark{stroke:#fff;stroke-width:1}.ec .ec-open{fill-opacity:.22}.ec .ec-bar{stroke-width:1}
.ec .ec-s0{stroke:#0b67b2}.ec .ec-s1{stroke:#c2500a}.ec .ec-s2{stroke:#0c7c59}.ec .ec-s3{stroke:#92479b}.ec .ec-s4{stroke:#7d6200}.ec .ec-s5{stroke:#5a6673}
.ec .ec-f0{fill:#0b67b2}.ec .ec-f1{fill:#c2500a}.ec .ec-f2{fill:#0c7c59}.ec .ec-f3{fill:#92479b}.ec .ec-f4{fill:#7d6200}.ec .ec-f5{fill:#5a6673}
@media screen and (prefers-color-scheme:dark){.ec text{fill:#b6c0cc}.ec .ec-title{fill:#eef2f6}.ec .ec-bg{fill:#14181d}.ec .ec-grid{stroke:#2a313a}.ec .ec-axis{stroke:#77828e}.ec .ec-mark{stroke:#14181d}
.ec .ec-s0{stroke:#63b3f0}.ec .ec-s1{stroke:#ff9a5c}.ec .ec-s2{stroke:#4ecb9f}.ec .ec-s3{stroke:#d79ade}.ec .ec-s4{stroke:#e2c14e}.ec .ec-s5{stroke:#a9b4c0}
.ec .ec-f0{fill:#63b3f0}.ec .ec-f1{fill:#ff9a5c}.ec .ec-f2{fill:#4ecb9f}.ec .ec-f3{fill:#d79ade}.ec .ec-f4{fill:#e2c14e}.ec .ec-f5{fill:#a9b4c0}}
)";
}

/// A coordinate: two decimals at most.
inline std::string coord(double x) {
  std::string text = fixed_text(x, 2);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

/// An upper estimate of a text's width in pixels, for sans-serif fonts up to the width of DejaVu Sans.
inline double text_width(std::string_view text, double size = 12) {
  double ems = 0;
  while (!text.empty()) {
    const CodePoint point = decode_utf8(text);
    const char c = point.bytes == 1 ? text.front() : '\0';
    if (c == '\0') ems += 0.75 * static_cast<double>(code_point_columns(point.value));
    else if (std::string_view("ijlI.,:;|!' ").find(c) != std::string_view::npos) ems += 0.34;
    else if (std::string_view("ftr()[]-/").find(c) != std::string_view::npos) ems += 0.43;
    else if (std::string_view("mwMW@%").find(c) != std::string_view::npos) ems += 1.0;
    else if (c >= 'A' && c <= 'Z') ems += 0.75;
    else ems += 0.64;
    text.remove_prefix(point.bytes);
  }
  return ems * size;
}

/// The text within `width` pixels; what does not fit goes from its middle, because the ends of layer names differ.
inline std::string fit_text(std::string_view text, double width, double size = 12) {
  if (text_width(text, size) <= width) return std::string(text);
  std::vector<std::string_view> characters;
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t bytes = decode_utf8(rest).bytes;
    characters.push_back(rest.substr(0, bytes));
    rest.remove_prefix(bytes);
  }
  for (std::size_t kept = characters.size() - 1; kept > 0; --kept) {
    std::string out;
    for (std::size_t i = 0; i < (kept + 1) / 2; ++i) out += characters[i];
    out += "...";
    for (std::size_t i = characters.size() - kept / 2; i < characters.size(); ++i) out += characters[i];
    if (text_width(out, size) <= width) return out;
  }
  return "...";
}

/// A name for elements of one drawing that no other drawing in a page has, made from the drawing's content.
inline std::string drawing_id(std::string_view content) {
  std::uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const char c : content) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  std::string id = "ec";
  for (int i = 0; i < 10; ++i, hash /= 26) id += static_cast<char>('a' + hash % 26);
  return id;
}

inline std::string text_element(double x, double y, std::string_view anchor, std::string_view text,
                                std::string_view more = {}) {
  return str("<text x=\"", coord(x), "\" y=\"", coord(y), "\"",
             anchor == "start" ? "" : str(" text-anchor=\"", anchor, "\""), more, ">", escaped(text), "</text>\n");
}

inline std::string line_element(double x1, double y1, double x2, double y2, std::string_view css) {
  return str("<line class=\"", css, "\" x1=\"", coord(x1), "\" y1=\"", coord(y1), "\" x2=\"", coord(x2), "\" y2=\"",
             coord(y2), "\"/>\n");
}

/// The marker of series `s`: circle, square, triangle, diamond, inverted triangle, cross.
inline std::string marker(std::size_t s, double x, double y) {
  const std::string at = str(" transform=\"translate(", coord(x), " ", coord(y), ")\"/>\n");
  const std::string css = str("class=\"ec-mark ec-f", s % chart_colors, "\"");
  switch (s % chart_colors) {
    case 0: return str("<circle ", css, " r=\"3.5\"", at);
    case 1: return str("<path ", css, " d=\"M-3.2-3.2H3.2V3.2H-3.2Z\"", at);
    case 2: return str("<path ", css, " d=\"M0-4.4L4.2 3.2H-4.2Z\"", at);
    case 3: return str("<path ", css, " d=\"M0-4.8L4.8 0L0 4.8L-4.8 0Z\"", at);
    case 4: return str("<path ", css, " d=\"M0 4.4L4.2-3.2H-4.2Z\"", at);
    default: return str("<path ", css, " d=\"M-1.5-4.5H1.5V-1.5H4.5V1.5H1.5V4.5H-1.5V1.5H-4.5V-1.5H-1.5Z\"", at);
  }
}

/// Line ends are round and add the line's width to every dash.
inline std::string_view dashes(std::size_t s) {
  constexpr std::string_view patterns[chart_colors] = {
      "", " stroke-dasharray=\"8 5\"", " stroke-dasharray=\"1 5\"", " stroke-dasharray=\"10 5 1 5\"",
      " stroke-dasharray=\"4 5\"", " stroke-dasharray=\"10 5 1 5 1 5\""};
  return patterns[s % chart_colors];
}

/// The drawing around the data: sizes first, then the parts in the order they are written.
struct ChartFrame {
  double width = 720;
  double left = 0, right = 0, top = 0, bottom = 0;  // the plot's rectangle
  double height = 0;

  double x(double part) const { return left + part * (right - left); }
  double y(double part) const { return bottom - part * (bottom - top); }
};

inline std::string open_svg(const ChartFrame& frame, std::string_view title, std::string_view description,
                            SvgForm form) {
  const double trim = form == SvgForm::embedded ? 12 : 0;  // a page has a margin of its own
  const std::string w = coord(frame.width - trim), h = coord(frame.height);
  std::string out = str("<svg class=\"ec\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"", coord(trim), " 0 ", w, " ",
                        h, "\" width=\"", w, "\" height=\"", h, "\" role=\"img\">\n<title>", escaped(title),
                        "</title>\n<desc>", escaped(description), "</desc>\n");
  if (form == SvgForm::file) {
    out += str("<style>\n", chart_css(), "</style>\n<rect class=\"ec-bg\" width=\"", w, "\" height=\"", h, "\"/>\n");
  }
  return out;
}

inline constexpr double chart_margin = 16, title_baseline = 26, legend_row = 20, legend_sample = 30;

/// Title and legend. Sets the frame's top below them and its bottom `plot_height` further down. A legend is drawn for
/// more than one series: `sample(s, left, middle)` draws what stands before the name of series s.
template <class Sample>
std::string draw_head(ChartFrame& frame, std::string_view title, const std::vector<std::string>& names,
                      double plot_height, Sample&& sample) {
  std::string out;
  double y = 6;  // the baseline of what was written last
  if (!title.empty()) {
    y = title_baseline - 4;
    out += text_element(chart_margin, y, "start", fit_text(title, frame.width - 2 * chart_margin, 15),
                        " class=\"ec-title\"");
  }
  double x = chart_margin;
  for (std::size_t s = 0; s < names.size() && names.size() > 1; ++s) {
    const std::string name = fit_text(names[s], frame.width - 2 * chart_margin - legend_sample - 6);
    const double wide = legend_sample + 6 + text_width(name);
    const bool full = x + wide > frame.width - chart_margin;
    if (s == 0) y += legend_row + 6;
    if (s > 0 && full) {
      x = chart_margin;
      y += legend_row;
    }
    out += sample(s, x, y - 4);
    out += text_element(x + legend_sample + 6, y, "start", name);
    x += wide + 18;
  }
  frame.top = y + 20;
  frame.bottom = frame.top + plot_height;
  return out;
}

template <class Named>
std::vector<std::string> series_names(const std::vector<Named>& series) {
  std::vector<std::string> names;
  for (const Named& s : series) names.push_back(s.name);
  return names;
}

/// A line of text in the middle of the plot, at height y.
inline std::string centred(const ChartFrame& frame, double y, std::string_view text) {
  return text_element((frame.left + frame.right) / 2, y, "middle", fit_text(text, frame.right - frame.left));
}

inline std::string axis_title(const Axis& axis) {
  return axis.unit.empty() ? axis.title : axis.title + " (" + axis.unit + ")";
}

/// Horizontal grid lines with their labels, and the title of the y axis.
inline std::string draw_y_axis(const ChartFrame& frame, const AxisScale& scale, const Axis& axis) {
  std::string out;
  for (const AxisTick& tick : scale.ticks) {
    const double y = frame.y(scale.part(tick.at));
    out += line_element(frame.left, y, frame.right, y, "ec-grid");
    out += text_element(frame.left - 8, y + 4, "end", tick.label);
  }
  const std::string title = fit_text(axis_title(axis), frame.bottom - frame.top + 40);
  if (title.empty()) return out;
  const double middle = (frame.top + frame.bottom) / 2;
  return out + text_element(chart_margin + 8, middle, "middle", title,
                            str(" transform=\"rotate(-90 ", coord(chart_margin + 8), " ", coord(middle), ")\""));
}

inline double widest_label(const AxisScale& scale) {
  double widest = 0;
  for (const AxisTick& tick : scale.ticks) widest = std::max(widest, text_width(tick.label));
  return widest;
}

/// Room on the left for the title and the labels of the y axis.
inline double left_room(const AxisScale& scale, const Axis& axis) {
  return chart_margin + (axis_title(axis).empty() ? 0 : 20) + widest_label(scale) + 8;
}

}  // namespace espalier::detail
