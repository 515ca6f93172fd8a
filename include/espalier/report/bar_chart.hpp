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
#include <utility>
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

/// Where everything of a bar chart goes.
struct BarDrawing {
  BarDrawing(const BarChart& bar_chart, std::string pattern_prefix)
      : chart(bar_chart), id(std::move(pattern_prefix)), decimals(bar_decimals(chart)) {
    double least = 0, most = 0;
    for_each_value([&](double v) {
      least = std::min(least, v);
      most = std::max(most, v);
      widest_number = std::max(widest_number, text_width(bar_number(chart.y, v, decimals), 10));
    });
    y = linear_scale(least, most > least ? most : least + 1, 5, true, chart.y.whole, chart.y.percent);
    frame.width = chart.width;
    frame.right = chart.width - 24;
    place_names();
    bars = static_cast<double>(std::max<std::size_t>(chart.series.size(), 1));
    nested = chart.layout == BarLayout::nested;
    bar = std::min(slot() * 0.8 / (nested ? 1 : bars), 48.0);
  }

  template <class F>
  void for_each_value(F&& f) const {
    for (const BarSeries& s : chart.series) {
      for (const double v : s.values) {
        if (std::isfinite(v)) f(v);
      }
    }
  }

  /// Pixels that belong to one category.
  double slot() const {
    return (frame.right - frame.left) / static_cast<double>(std::max<std::size_t>(chart.categories.size(), 1));
  }
  double middle(std::size_t category) const { return frame.left + (static_cast<double>(category) + 0.5) * slot(); }

  /// A turned first name may reach past the left edge. Moving the plot makes the slots narrower: look again.
  void place_names() {
    const double room = left_room(y, chart.y), most_left = std::max(room, chart.width / 3);
    frame.left = room;
    for (int i = 0; i < 4; ++i) {
      names = layout_names(chart.categories, slot(), most_left + slot() / 2 - chart_margin);
      if (i < 3) frame.left = std::clamp(names.overhang - slot() / 2 + chart_margin, room, most_left);
    }
  }

  std::string draw_sample(std::size_t s, double left, double centre) const {
    return str("<rect ", bar_attributes(s, id), " x=\"", coord(left + 8), "\" y=\"", coord(centre - 6),
               "\" width=\"22\" height=\"12\"/>\n");
  }

  std::string draw_bar(std::size_t category, std::size_t s) const {
    const double value = chart.series[s].values[category];
    if (!std::isfinite(value)) return {};
    const double place = static_cast<double>(s), gap = bar > 6 ? 1 : 0;
    const double wide = nested ? bar * (1 - 0.8 * place / bars) : bar - gap;
    const double left = middle(category) + (nested ? -wide / 2 : (place - bars / 2) * bar + gap / 2);
    const double zero = frame.y(y.part(0)), end = frame.y(y.part(value));
    const std::string shown = bar_number(chart.y, value, decimals);
    std::string out =
        str("<rect ", bar_attributes(s, id), " x=\"", coord(left), "\" y=\"", coord(std::min(zero, end)), "\" width=\"",
            coord(wide), "\" height=\"", coord(std::fabs(zero - end)), bar < 8 ? "\" style=\"stroke-width:.5\"" : "\"",
            "><title>", escaped(chart.categories[category]), ", ", escaped(chart.series[s].name), ": ", shown,
            "</title></rect>\n");
    if (!nested && widest_number + 4 <= bar) {
      out += text_element(left + wide / 2, value < 0 ? end + 12 : end - 4, "middle", shown, " class=\"ec-small\"");
    }
    return out;
  }

  std::string draw_name(std::size_t category) const {
    if (category % names.every != 0) return {};
    const std::string name = fit_text(chart.categories[category], names.longest);
    if (names.angle == 0) return text_element(middle(category), frame.bottom + 18, "middle", name);
    const double x = middle(category) + (names.angle == 90 ? 4 : 3), under = frame.bottom + 12;
    return text_element(x, under, "end", name,
                        str(" transform=\"rotate(-", names.angle, ' ', coord(x), ' ', coord(under), ")\""));
  }

  std::string draw_x_title() const {
    if (chart.category_title.empty()) return {};
    const std::string thinned = names.every > 1 ? str(" (one name in ", names.every, " shown)") : "";
    return centred(frame, frame.height - 12, chart.category_title + thinned);
  }

  const BarChart& chart;
  std::string id;  // what the names of patterns begin with
  int decimals;    // of the numbers on the bars
  double widest_number = 0, bars = 1, bar = 0;
  bool nested = false;
  AxisScale y;
  ChartFrame frame;
  NameLayout names;
};

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
  detail::BarDrawing drawing(chart, detail::drawing_id(chart.title + to_csv(chart)));
  detail::ChartFrame& frame = drawing.frame;
  const std::string head = detail::draw_head(
      frame, chart.title, detail::series_names(chart.series), chart.plot_height,
      [&](std::size_t s, double left, double middle) { return drawing.draw_sample(s, left, middle); });
  frame.height = frame.bottom + drawing.names.height + (chart.category_title.empty() ? 18 : 40);

  std::string out = detail::open_svg(frame, chart.title,
                                     chart.description.empty() ? detail::described(chart) : chart.description, form);
  out += detail::bar_patterns(chart.series.size(), drawing.id) + head;
  out += detail::draw_y_axis(frame, drawing.y, chart.y);
  for (std::size_t c = 0; c < chart.categories.size(); ++c) {
    for (std::size_t s = 0; s < chart.series.size(); ++s) out += drawing.draw_bar(c, s);
    out += drawing.draw_name(c);
  }
  const double zero = frame.y(drawing.y.part(0));
  out += detail::line_element(frame.left, zero, frame.right, zero, "ec-axis") + drawing.draw_x_title();
  if (chart.categories.empty() || chart.series.empty()) {
    out += detail::centred(frame, (frame.top + frame.bottom) / 2, "no data");
  }
  return out + "</svg>\n";
}

}  // namespace espalier
