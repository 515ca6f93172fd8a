// SPDX-License-Identifier: Apache-2.0
// A grouped bar chart: for each category one bar per series, as filters per layer before and after pruning.
// Names that are too long for their place are turned, and thinned out where even that is too close;
// every bar tells its full name and value when pointed at.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/error.hpp"
#include "espalier/report/detail/drawing.hpp"

namespace espalier {

/// One bar per category. A NaN leaves a place empty.
struct BarSeries {
  std::string name = {};
  std::vector<double> values = {};
  bool operator==(const BarSeries&) const = default;
};

/// Beside each other, or each in front of the one before and narrower: for parts of a whole, such as what is kept.
enum class BarLayout { grouped, nested };

struct BarChart {
  std::string title = {};
  std::string description = {};     // for those who do not see it; empty: made from the data
  std::string category_title = {};  // below the names: "layer"
  Axis y = {};                      // linear; always contains 0
  std::vector<std::string> categories = {};
  std::vector<BarSeries> series = {};
  BarLayout layout = BarLayout::grouped;
  double width = 720;               // of the drawing, pixels
  double plot_height = 240;         // between the axes, pixels
  bool operator==(const BarChart&) const = default;

  /// Throws ShapeError where a series has another number of values than there are categories,
  /// PolicyError for a logarithmic axis: a bar's length would mean nothing.
  void validate() const {
    for (const BarSeries& s : series) {
      if (s.values.size() == categories.size()) continue;
      throw ShapeError(str("chart '", title, "', series '", s.name, "': ", s.values.size(), " values for ",
                           categories.size(), " categories; one each is needed. Fill in a NaN for no value."));
    }
    if (y.logarithmic) {
      throw PolicyError(
          str("chart '", title,
              "': the y axis is logarithmic; bars need a linear one, since they begin at 0. Use a LineChart."));
    }
  }
};

namespace detail {

/// How the names of the categories are written.
struct NameLayout {
  int angle = 0;             // degrees: 0, 45 or 90
  std::size_t every = 1;     // 1: all of them
  double longest = 0;        // pixels that a name may have
  double height = 0;         // pixels that the names take below the axis
  double overhang = 0;       // pixels that a turned name reaches to the left of its bar's middle
};

/// `reach`: how far the first name may extend to the left of its bar's middle, at most.
inline NameLayout layout_names(const std::vector<std::string>& names, double slot, double reach) {
  double widest = 0;
  for (const std::string& name : names) widest = std::max(widest, text_width(name));
  constexpr double line = 14, limit = 150, diagonal = 0.7072;
  if (widest + 8 <= slot) return {0, 1, widest, line, widest / 2};
  double longest = std::min(widest, limit);
  if (slot * diagonal >= line) {
    longest = std::min(longest, (reach - line) / diagonal);
    return {45, 1, longest, longest * diagonal + line, longest * diagonal + line / 2};
  }
  const auto every = static_cast<std::size_t>(std::ceil(line / slot));
  return {90, every, longest, longest + 4, line / 2};
}

/// Decimals that suit every bar of a chart: none where all values are integers.
inline int bar_decimals(const BarChart& chart) {
  bool integers = true;
  double largest = 0;
  for (const BarSeries& s : chart.series) {
    for (const double v : s.values) {
      if (!std::isfinite(v)) continue;
      integers = integers && v == std::floor(v);
      largest = std::max(largest, std::fabs(v));
    }
  }
  return integers || largest >= 1000 ? 0 : largest >= 10 ? 1 : largest >= 1 ? 2 : 3;
}

inline std::string bar_number(const Axis& axis, double value, int decimals) {
  if (axis.percent) return format_percent(value);
  if (decimals == 0 && std::fabs(value) < 1e15) return format_count(std::llround(value));
  return format_fixed(value, decimals);
}

inline std::string described(const BarChart& chart) {
  std::string text = str("Bar chart of ", axis_title(chart.y), " for ", chart.categories.size(), " categories.");
  const int decimals = bar_decimals(chart);
  for (const BarSeries& s : chart.series) {
    std::vector<double> values = s.values;
    std::erase_if(values, [](double v) { return !std::isfinite(v); });
    if (values.empty()) continue;
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    text += str(' ', s.name, ": from ", bar_number(chart.y, *least, decimals), " to ",
                bar_number(chart.y, *most, decimals), '.');
  }
  return text;
}

/// Fills of series 0, 1, 2, 3: outlined and light, solid, hatched, dotted; then again.
inline std::string bar_attributes(std::size_t s, const std::string& id) {
  const std::string color = str(s % chart_colors);
  switch (s % 4) {
    case 0: return str("class=\"ec-bar ec-open ec-s", color, " ec-f", color, "\"");
    case 1: return str("class=\"ec-bar ec-s", color, " ec-f", color, "\"");
    default: return str("class=\"ec-bar ec-s", color, "\" fill=\"url(#", id, '-', s, ")\"");
  }
}

inline std::string bar_patterns(std::size_t series, const std::string& id) {
  std::string out;
  for (std::size_t s = 0; s < series; ++s) {
    if (s % 4 < 2) continue;
    const std::string color = str(s % chart_colors);
    out += str("<pattern id=\"", id, '-', s,
               "\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">");
    out += s % 4 == 2 ? str("<path class=\"ec-s", color, "\" stroke-width=\"3\" d=\"M0 0V5\"/>")
                      : str("<circle class=\"ec-f", color, "\" cx=\"2.5\" cy=\"2.5\" r=\"1.4\"/>");
    out += "</pattern>\n";
  }
  return out.empty() ? out : "<defs>\n" + out + "</defs>\n";
}

}  // namespace detail

/// The data behind the drawing, one row per category and one column per series.
inline std::string to_csv(const BarChart& chart) {
  chart.validate();
  std::string out = detail::csv_field(chart.category_title.empty() ? "category" : chart.category_title);
  for (const BarSeries& s : chart.series) out += "," + detail::csv_field(s.name);
  out += '\n';
  for (std::size_t c = 0; c < chart.categories.size(); ++c) {
    out += detail::csv_field(chart.categories[c]);
    for (const BarSeries& s : chart.series) out += "," + (std::isnan(s.values[c]) ? std::string() : str(s.values[c]));
    out += '\n';
  }
  return out;
}

/// The drawing. Equal charts give equal bytes.
inline std::string to_svg(const BarChart& chart, SvgForm form = SvgForm::file) {
  chart.validate();
  double least = 0, most = 0;
  for (const BarSeries& s : chart.series) {
    for (const double v : s.values) {
      if (!std::isfinite(v)) continue;
      least = std::min(least, v);
      most = std::max(most, v);
    }
  }
  const detail::AxisScale y =
      detail::linear_scale(least, most > least ? most : least + 1, 5, true, chart.y.whole, chart.y.percent);
  const std::string id = detail::drawing_id(chart.title + to_csv(chart));
  const std::size_t count = chart.categories.size();
  const auto slots = static_cast<double>(std::max<std::size_t>(count, 1));

  detail::ChartFrame frame;
  frame.width = chart.width;
  frame.right = chart.width - 24;
  const double room = detail::left_room(y, chart.y);
  frame.left = room;
  // A turned first name may reach past the left edge. Moving the plot makes the slots narrower: look again.
  const double most_left = std::max(room, chart.width / 3);
  const auto name_layout = [&] {
    const double slot = (frame.right - frame.left) / slots;
    return detail::layout_names(chart.categories, slot, most_left + slot / 2 - detail::chart_margin);
  };
  detail::NameLayout names = name_layout();
  for (int i = 0; i < 3; ++i) {
    const double wanted = names.overhang - (frame.right - frame.left) / slots / 2 + detail::chart_margin;
    frame.left = std::clamp(wanted, room, most_left);
    names = name_layout();
  }
  const double slot = (frame.right - frame.left) / slots;

  std::string legend;
  std::vector<std::string> series_names;
  if (chart.series.size() > 1) for (const BarSeries& s : chart.series) series_names.push_back(s.name);
  const double above = chart.title.empty() ? 4 : detail::title_baseline;
  const double below =
      detail::draw_legend(legend, series_names, chart.width, above + detail::legend_row + 2,
                          [&](std::size_t s, double left, double middle) {
                            return str("<rect ", detail::bar_attributes(s, id), " x=\"", detail::coord(left + 8),
                                       "\" y=\"", detail::coord(middle - 6), "\" width=\"22\" height=\"12\"/>\n");
                          });
  frame.top = below + 20;
  frame.bottom = frame.top + chart.plot_height;
  const bool titled = !chart.category_title.empty();
  frame.height = frame.bottom + 8 + names.height + (titled ? 22 : 0) + 10;

  std::string out = detail::open_svg(frame, chart.title,
                                     chart.description.empty() ? detail::described(chart) : chart.description, form);
  out += detail::bar_patterns(chart.series.size(), id);
  if (!chart.title.empty()) {
    out += detail::text_element(detail::chart_margin, detail::title_baseline - 4, "start",
                                detail::fit_text(chart.title, chart.width - 2 * detail::chart_margin, 15),
                                " class=\"ec-title\"");
  }
  out += legend + detail::draw_y_axis(frame, y, chart.y);

  const auto bars = static_cast<double>(std::max<std::size_t>(chart.series.size(), 1));
  const bool nested = chart.layout == BarLayout::nested;
  const double bar = std::min(slot * 0.8 / (nested ? 1 : bars), 48.0), gap = bar > 6 ? 1 : 0;
  const int decimals = detail::bar_decimals(chart);
  double widest_number = 0;
  for (const BarSeries& s : chart.series) {
    for (const double v : s.values) {
      if (std::isfinite(v))
        widest_number = std::max(widest_number, detail::text_width(detail::bar_number(chart.y, v, decimals), 10));
    }
  }
  const std::string_view thin = bar < 8 ? "\" style=\"stroke-width:.5\"" : "\"";
  const bool numbers = !nested && widest_number + 4 <= bar;
  const double zero = frame.y(y.part(0));
  for (std::size_t c = 0; c < count; ++c) {
    const double middle = frame.left + (static_cast<double>(c) + 0.5) * slot;
    for (std::size_t s = 0; s < chart.series.size(); ++s) {
      const double value = chart.series[s].values[c];
      if (!std::isfinite(value)) continue;
      const auto place = static_cast<double>(s);
      const double wide =
          nested ? bar * (1 - place / bars) + 0.2 * bar * place / bars : bar - gap;  // nested: 1, ..., at least 0.2
      const double left = nested ? middle - wide / 2 : middle + (place - bars / 2) * bar + gap / 2;
      const double end = frame.y(y.part(value));
      const std::string shown = detail::bar_number(chart.y, value, decimals);
      out += str("<rect ", detail::bar_attributes(s, id), " x=\"", detail::coord(left), "\" y=\"",
                 detail::coord(std::min(zero, end)), "\" width=\"", detail::coord(wide), "\" height=\"",
                 detail::coord(std::fabs(zero - end)), thin, "><title>", detail::escaped(chart.categories[c]), ", ",
                 detail::escaped(chart.series[s].name), ": ", shown, "</title></rect>\n");
      if (numbers)
        out += detail::text_element(left + wide / 2, value < 0 ? end + 12 : end - 4, "middle", shown,
                                    " class=\"ec-small\"");
    }
    if (c % names.every != 0) continue;
    const std::string name = detail::fit_text(chart.categories[c], names.longest);
    const double under = frame.bottom + (names.angle == 0 ? 18 : 12);
    if (names.angle == 0) {
      out += detail::text_element(middle, under, "middle", name);
    } else {
      const double x = middle + (names.angle == 90 ? 4 : 3);
      out += detail::text_element(
          x, under, "end", name,
          str(" transform=\"rotate(-", names.angle, ' ', detail::coord(x), ' ', detail::coord(under), ")\""));
    }
  }
  out += detail::line_element(frame.left, zero, frame.right, zero, "ec-axis");
  if (titled) {
    const std::string thinned = names.every > 1 ? str(" (one name in ", names.every, " shown)") : "";
    out += detail::text_element((frame.left + frame.right) / 2, frame.height - 12, "middle",
                                detail::fit_text(chart.category_title + thinned, frame.right - frame.left));
  }
  if (count == 0 || chart.series.empty())
    out += detail::text_element((frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2, "middle", "no data");
  return out + "</svg>\n";
}

}  // namespace espalier
