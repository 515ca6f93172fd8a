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

inline std::string draw_series(const LineChart& chart, std::size_t index, const ChartFrame& frame, const AxisScale& x,
                               const AxisScale& y) {
  const Series& s = chart.series[index];
  const std::string color = str(index % chart_colors);
  const auto at = [&](std::size_t i, double value) {
    return str(coord(frame.x(x.part(s.x[i]))), ' ', coord(frame.y(y.part(value))));
  };
  const auto visible = [&](std::size_t i, double value) { return shows(chart.x, s.x[i]) && shows(chart.y, value); };
  const std::vector<std::size_t> points = visible_points(s, x, frame.right - frame.left);
  std::string out;
  if (!s.low.empty()) {
    for (std::size_t k = 0; k < points.size();) {
      std::vector<std::size_t> run;  // one piece of the band
      for (; k < points.size() && visible(points[k], s.low[points[k]]) && visible(points[k], s.high[points[k]]); ++k)
        run.push_back(points[k]);
      if (run.empty()) { ++k; continue; }
      std::string d;
      for (const std::size_t i : run) d += (d.empty() ? "M" : "L") + at(i, s.high[i]);
      for (std::size_t i = run.size(); i-- > 0;) d += "L" + at(run[i], s.low[run[i]]);
      out += str("<path class=\"ec-band ec-f", color, "\" d=\"", d, "Z\"/>\n");
    }
  }
  if (s.connected) {
    std::string d;
    bool pen_up = true;
    for (const std::size_t i : points) {
      if (!visible(i, s.y[i])) { pen_up = true; continue; }
      d += (pen_up ? "M" : "L") + at(i, s.y[i]);
      pen_up = false;
    }
    const std::string_view thin = points.size() > 200 ? " style=\"stroke-width:1.2\"" : "";
    if (!d.empty()) out += str("<path class=\"ec-line ec-s", color, "\"", thin, dashes(index), " d=\"", d, "\"/>\n");
  }
  // Markers at every point while there are few; else at about ten places, each series at its own.
  const std::size_t every = !s.connected || points.size() <= 25 ? 1 : points.size() / 10;
  const std::size_t first = every > 1 ? index % chart_colors * every / chart_colors : 0;
  for (std::size_t k = first; k < points.size(); k += every) {
    const std::size_t i = points[k];
    if (visible(i, s.y[i])) out += marker(index, frame.x(x.part(s.x[i])), frame.y(y.part(s.y[i])));
  }
  return out;
}

}  // namespace detail

/// The drawing. Equal charts give equal bytes.
inline std::string to_svg(const LineChart& chart, SvgForm form = SvgForm::file) {
  chart.validate();
  detail::DataRange xs, ys;
  for (const Series& s : chart.series) {
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      xs.add(chart.x, s.x[i]);
      ys.add(chart.y, s.y[i]);
      if (s.low.empty()) continue;
      ys.add(chart.y, s.low[i]);
      ys.add(chart.y, s.high[i]);
    }
  }
  const detail::AxisScale y = detail::scale_for(chart.y, ys, 5, true);
  detail::ChartFrame frame;
  frame.width = chart.width;
  frame.left = detail::left_room(y, chart.y);
  frame.right = chart.width - 24;
  detail::AxisScale x = detail::x_scale(chart.x, xs, frame.right - frame.left);
  if (!x.ticks.empty()) frame.right = chart.width - std::max(24.0, detail::text_width(x.ticks.back().label) / 2 + 6);

  std::string legend;
  std::vector<std::string> names;
  if (chart.series.size() > 1) for (const Series& s : chart.series) names.push_back(s.name);
  const double above = chart.title.empty() ? 4 : detail::title_baseline;
  const double below = detail::draw_legend(
      legend, names, chart.width, above + detail::legend_row + 2, [&](std::size_t s, double left, double middle) {
        std::string sample;
        if (chart.series[s].connected) {
          sample = str("<path class=\"ec-line ec-s", s % detail::chart_colors, "\"", detail::dashes(s), " d=\"M",
                       detail::coord(left), ' ', detail::coord(middle), 'H',
                       detail::coord(left + detail::legend_sample), "\"/>\n");
        }
        return sample + detail::marker(s, left + detail::legend_sample / 2, middle);
      });
  frame.top = below + 16;
  frame.bottom = frame.top + chart.plot_height;
  const bool titled = !detail::axis_title(chart.x).empty();
  frame.height = frame.bottom + 22 + (titled ? 22 : 0) + 8;

  std::string out = detail::open_svg(frame, chart.title,
                                     chart.description.empty() ? detail::described(chart) : chart.description, form);
  if (!chart.title.empty()) {
    out += detail::text_element(detail::chart_margin, detail::title_baseline - 4, "start",
                                detail::fit_text(chart.title, chart.width - 2 * detail::chart_margin, 15),
                                " class=\"ec-title\"");
  }
  out += legend + detail::draw_y_axis(frame, y, chart.y);
  out += detail::line_element(frame.left, frame.bottom, frame.right, frame.bottom, "ec-axis");
  for (const detail::AxisTick& tick : x.ticks) {
    const double at = frame.x(x.part(tick.at));
    out += detail::line_element(at, frame.bottom, at, frame.bottom + 5, "ec-axis");
    out += detail::text_element(at, frame.bottom + 18, "middle", tick.label);
  }
  if (titled) {
    out += detail::text_element((frame.left + frame.right) / 2, frame.bottom + 40, "middle",
                                detail::fit_text(detail::axis_title(chart.x), frame.right - frame.left));
  }
  if (!xs.any || !ys.any)
    out += detail::text_element((frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2, "middle", "no data");
  for (std::size_t s = 0; s < chart.series.size() && xs.any && ys.any; ++s)
    out += detail::draw_series(chart, s, frame, x, y);
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
