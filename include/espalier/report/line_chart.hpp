// SPDX-License-Identifier: Apache-2.0
// A line chart: several series, each with an optional band, on linear or logarithmic axes. Series differ by
// colour, dashes and markers, so that none of them carries the meaning alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/error.hpp"
#include "espalier/report/detail/drawing.hpp"

namespace espalier {

/// y over x. A NaN leaves a gap. `low` and `high` are empty, or one value per point: the band's edges.
struct Series {
  std::string name = {};
  std::vector<double> x = {};
  std::vector<double> y = {};
  std::vector<double> low = {};
  std::vector<double> high = {};
  bool connected = true;  // false: markers without a line
  bool operator==(const Series&) const = default;
};

struct LineChart {
  std::string title = {};
  std::string description = {};  // for those who do not see it; empty: made from the data
  Axis x = {};
  Axis y = {};
  std::vector<Series> series = {};
  double width = 720;        // of the drawing, pixels
  double plot_height = 240;  // between the axes, pixels
  bool operator==(const LineChart&) const = default;

  /// Throws ShapeError where the vectors of a series differ in length.
  void validate() const {
    for (const Series& s : series) {
      const std::size_t n = s.x.size();
      const bool band = s.low.empty() == s.high.empty() && (s.low.empty() || (s.low.size() == n && s.high.size() == n));
      if (s.y.size() == n && band) continue;
      throw ShapeError(
          str("chart '", title, "', series '", s.name, "': x, y, low, high have ", n, ", ", s.y.size(), ", ",
              s.low.size(), ", ", s.high.size(),
              " values; needed: as many y as x, and low and high both empty or as many. Fill in a NaN for no value."));
    }
  }
};

namespace detail {

inline bool shows(const Axis& axis, double value) { return std::isfinite(value) && (!axis.logarithmic || value > 0); }

struct DataRange {
  double from = 0, to = 0;
  bool any = false;
  void add(const Axis& axis, double value) {
    if (!shows(axis, value)) return;
    from = any ? std::min(from, value) : value;
    to = any ? std::max(to, value) : value;
    any = true;
  }
};

inline AxisScale scale_for(const Axis& axis, const DataRange& extent, std::size_t pieces, bool extend) {
  if (!axis.logarithmic) {
    return linear_scale(extent.any ? extent.from : 0, extent.any ? extent.to : 1, pieces, extend, axis.whole,
                        axis.percent);
  }
  const double from = extent.any ? extent.from : 1, to = extent.any ? extent.to : 10;
  const double margin = std::pow(to / from, extend ? 0.05 : 0);  // curves do not touch the frame
  return log_scale(from / margin, to * margin, pieces, axis.percent);
}

/// Ticks as many as fit without touching each other.
inline AxisScale x_scale(const Axis& axis, const DataRange& extent, double width) {
  for (std::size_t pieces = 10; pieces > 1; --pieces) {
    AxisScale scale = scale_for(axis, extent, pieces, false);
    bool fits = true;
    for (std::size_t i = 1; i < scale.ticks.size(); ++i) {
      const double apart = (scale.part(scale.ticks[i].at) - scale.part(scale.ticks[i - 1].at)) * width;
      fits = fits && apart >= (text_width(scale.ticks[i].label) + text_width(scale.ticks[i - 1].label)) / 2 + 12;
    }
    if (fits) return scale;
  }
  AxisScale scale = scale_for(axis, extent, 1, false);  // long labels on a narrow drawing: one of them
  if (scale.ticks.size() > 1) scale.ticks.resize(1);
  return scale;
}

inline std::string described(const LineChart& chart) {
  std::string text = str("Line chart of ", axis_title(chart.y), " over ", axis_title(chart.x), ".");
  for (const Series& s : chart.series) {
    DataRange extent;
    double last = 0;
    for (const double y : s.y) {
      extent.add(chart.y, y);
      if (shows(chart.y, y)) last = y;
    }
    const auto number = [&](double v) {
      return chart.y.percent ? format_percent(v) : format_fixed(v, std::fabs(v) < 100 ? 3 : 0);
    };
    text += str(' ', s.name, ": ", s.y.size(), s.y.size() == 1 ? " point" : " points");
    if (extent.any) text += str(", from ", number(extent.from), " to ", number(extent.to), ", last ", number(last));
    text += '.';
  }
  return text;
}

/// Indices that are drawn: all of them, or per pixel column the first, least, greatest and last, which look the same.
inline std::vector<std::size_t> visible_points(const Series& s, const AxisScale& x, double width) {
  std::vector<std::size_t> keep;
  const std::size_t n = s.x.size();
  if (static_cast<double>(n) <= 4 * width) {
    for (std::size_t i = 0; i < n; ++i) keep.push_back(i);
    return keep;
  }
  const auto column = [&](std::size_t i) { return std::floor(x.part(s.x[i]) * width); };
  for (std::size_t begin = 0; begin < n;) {
    std::size_t end = begin + 1, least = begin, most = begin;
    while (end < n && std::isfinite(s.y[end]) == std::isfinite(s.y[begin]) && column(end) == column(begin)) {
      if (s.y[end] < s.y[least]) least = end;
      if (s.y[end] > s.y[most]) most = end;
      ++end;
    }
    for (const std::size_t i : {begin, std::min(least, most), std::max(least, most), end - 1}) {
      if (keep.empty() || keep.back() < i) keep.push_back(i);
    }
    begin = end;
  }
  return keep;
}

/// Where everything of a line chart goes.
struct LineDrawing {
  explicit LineDrawing(const LineChart& line_chart) : chart(line_chart) {
    for (const Series& s : chart.series) {
      for (std::size_t i = 0; i < s.x.size(); ++i) {
        xs.add(chart.x, s.x[i]);
        ys.add(chart.y, s.y[i]);
        if (s.low.empty()) continue;
        ys.add(chart.y, s.low[i]);
        ys.add(chart.y, s.high[i]);
      }
    }
    y = scale_for(chart.y, ys, 5, true);
    frame.width = chart.width;
    frame.left = left_room(y, chart.y);
    frame.right = chart.width - 24;
    x = x_scale(chart.x, xs, frame.right - frame.left);
    if (!x.ticks.empty()) frame.right = chart.width - std::max(24.0, text_width(x.ticks.back().label) / 2 + 6);
  }

  bool empty() const { return !xs.any || !ys.any; }
  bool visible(const Series& s, std::size_t i, double value) const {
    return shows(chart.x, s.x[i]) && shows(chart.y, value);
  }
  std::string at(const Series& s, std::size_t i, double value) const {
    return str(coord(frame.x(x.part(s.x[i]))), ' ', coord(frame.y(y.part(value))));
  }

  std::string draw_x_axis() const {
    std::string out = line_element(frame.left, frame.bottom, frame.right, frame.bottom, "ec-axis");
    for (const AxisTick& tick : x.ticks) {
      const double place = frame.x(x.part(tick.at));
      out += line_element(place, frame.bottom, place, frame.bottom + 5, "ec-axis");
      out += text_element(place, frame.bottom + 18, "middle", tick.label);
    }
    const std::string title = axis_title(chart.x);
    return title.empty() ? out : out + centred(frame, frame.bottom + 40, title);
  }

  /// The area between low and high, one piece between two gaps.
  std::string draw_band(std::size_t index, const std::vector<std::size_t>& points) const {
    const Series& s = chart.series[index];
    std::string out, there, back;
    const auto close = [&] {
      if (!there.empty())
        out += str("<path class=\"ec-band ec-f", index % chart_colors, "\" d=\"M", there, back, "Z\"/>\n");
      there.clear();
      back.clear();
    };
    for (const std::size_t i : points) {
      if (!visible(s, i, s.low[i]) || !visible(s, i, s.high[i])) {
        close();
        continue;
      }
      there += (there.empty() ? "" : "L") + at(s, i, s.high[i]);
      back.insert(0, "L" + at(s, i, s.low[i]));
    }
    close();
    return out;
  }

  std::string draw_line(std::size_t index, const std::vector<std::size_t>& points) const {
    const Series& s = chart.series[index];
    std::string d;
    bool drawing = false;
    for (const std::size_t i : points) {
      const bool shown = visible(s, i, s.y[i]);
      if (shown) d += (drawing ? "L" : "M") + at(s, i, s.y[i]);
      drawing = shown;
    }
    if (d.empty()) return d;
    const std::string_view thin = points.size() > 200 ? " style=\"stroke-width:1.2\"" : "";
    return str("<path class=\"ec-line ec-s", index % chart_colors, "\"", thin, dashes(index), " d=\"", d, "\"/>\n");
  }

  /// At every point while there are few; else at about ten places, each series at its own.
  std::string draw_markers(std::size_t index, const std::vector<std::size_t>& points) const {
    const Series& s = chart.series[index];
    const std::size_t every = !s.connected || points.size() <= 25 ? 1 : points.size() / 10;
    std::string out;
    for (std::size_t k = every > 1 ? index % chart_colors * every / chart_colors : 0; k < points.size(); k += every) {
      const std::size_t i = points[k];
      if (visible(s, i, s.y[i])) out += marker(index, frame.x(x.part(s.x[i])), frame.y(y.part(s.y[i])));
    }
    return out;
  }

  std::string draw_sample(std::size_t s, double left, double middle) const {
    const std::string line = str("<path class=\"ec-line ec-s", s % chart_colors, "\"", dashes(s), " d=\"M", coord(left),
                                 ' ', coord(middle), 'H', coord(left + legend_sample), "\"/>\n");
    return (chart.series[s].connected ? line : "") + marker(s, left + legend_sample / 2, middle);
  }

  const LineChart& chart;
  DataRange xs, ys;
  AxisScale x, y;
  ChartFrame frame;
};

}  // namespace detail

/// The drawing. Equal charts give equal bytes.
inline std::string to_svg(const LineChart& chart, SvgForm form = SvgForm::file) {
  chart.validate();
  detail::LineDrawing drawing(chart);
  detail::ChartFrame& frame = drawing.frame;
  const std::string head = detail::draw_head(
      frame, chart.title, detail::series_names(chart.series), chart.plot_height,
      [&](std::size_t s, double left, double middle) { return drawing.draw_sample(s, left, middle); });
  frame.height = frame.bottom + (detail::axis_title(chart.x).empty() ? 30 : 52);

  std::string out = detail::open_svg(frame, chart.title,
                                     chart.description.empty() ? detail::described(chart) : chart.description, form);
  out += head + detail::draw_y_axis(frame, drawing.y, chart.y) + drawing.draw_x_axis();
  if (drawing.empty()) out += detail::centred(frame, (frame.top + frame.bottom) / 2, "no data");
  for (std::size_t s = 0; s < chart.series.size() && !drawing.empty(); ++s) {
    const auto points = detail::visible_points(chart.series[s], drawing.x, frame.right - frame.left);
    if (!chart.series[s].low.empty()) out += drawing.draw_band(s, points);
    if (chart.series[s].connected) out += drawing.draw_line(s, points);
    out += drawing.draw_markers(s, points);
  }
  return out + "</svg>\n";
}

/// The data behind the drawing, one row per point: series, x, y, and low and high where a series has a band.
inline std::string to_csv(const LineChart& chart) {
  chart.validate();
  const bool band =
      std::any_of(chart.series.begin(), chart.series.end(), [](const Series& s) { return !s.low.empty(); });
  std::string out = str("series,", detail::csv_field(detail::axis_title(chart.x)), ',',
                        detail::csv_field(detail::axis_title(chart.y)), band ? ",low,high\n" : "\n");
  const auto number = [](double v) { return std::isnan(v) ? std::string() : str(v); };
  for (const Series& s : chart.series) {
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      out += str(detail::csv_field(s.name), ',', number(s.x[i]), ',', number(s.y[i]));
      if (band) out += s.low.empty() ? std::string(",,") : str(',', number(s.low[i]), ',', number(s.high[i]));
      out += '\n';
    }
  }
  return out;
}

}  // namespace espalier
