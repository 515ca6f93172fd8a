// SPDX-License-Identifier: Apache-2.0
// A result table as a value, and its forms: aligned text for a terminal, CSV and JSON for programs, HTML for
// the report. A cell holds what people read and, beside it, the exact number that files carry.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "espalier/error.hpp"
#include "espalier/io/json.hpp"
#include "espalier/report/detail/markup.hpp"
#include "espalier/report/detail/utf8.hpp"
#include "espalier/report/format.hpp"

namespace espalier {

enum class Align { left, right };

/// One column. `key` names it in CSV and JSON ("params", "median_s"); empty: the title.
struct Column {
  std::string title = {};
  Align align = Align::left;
  std::string key = {};
  bool operator==(const Column&) const = default;
};

/// What is shown, and the number behind it where there is one. Implicit from text, so that rows read well.
struct Cell {
  using Value = std::variant<std::monostate, std::int64_t, double>;

  Cell() = default;
  Cell(std::string shown) : text(std::move(shown)) {}
  Cell(const char* shown) : text(shown) {}
  Cell(std::string shown, Value number) : text(std::move(shown)), value(number) {}
  bool operator==(const Cell&) const = default;

  static Cell count(std::int64_t n) { return {format_count(n), n}; }                       // 14,987,722
  static Cell si(std::int64_t n, int decimals = 1) {
    return {format_si(static_cast<double>(n), decimals), n};
  }                                                                                               // 313.5 M
  static Cell bytes(std::uint64_t n) { return {format_bytes(n), static_cast<std::int64_t>(n)}; }  // 1.30 MiB
  static Cell seconds(double s) { return {format_seconds(s), s}; }                         // 12.3 ms
  static Cell clock(double s) { return {format_clock(s), s}; }                             // 0:14
  static Cell percent(double fraction, int decimals = 1) {
    return {format_percent(fraction, decimals), fraction};
  }  // 86.2%
  static Cell points(double difference, int decimals = 1) {
    return {format_points(difference, decimals), difference};
  }                                                                                        // -0.8
  static Cell fixed(double x, int decimals) { return {format_fixed(x, decimals), x}; }     // 0.412
  /// No value here: "-" for people, nothing in files.
  static Cell none() { return {"-", std::monostate{}, true}; }

  std::string text;
  Value value;
  bool absent = false;

 private:
  Cell(const char* shown, Value number, bool nothing) : text(shown), value(number), absent(nothing) {}
};

/// A table. Rows have one cell per column; leading spaces in a first cell indent it.
struct Table {
  std::string title = {};
  std::vector<Column> columns = {};
  std::vector<std::vector<Cell>> rows = {};
  std::vector<std::string> notes = {};
  bool operator==(const Table&) const = default;

  /// Throws ShapeError where a row has more or fewer cells than there are columns.
  void validate() const {
    for (std::size_t r = 0; r < rows.size(); ++r) {
      if (rows[r].size() == columns.size()) continue;
      throw ShapeError(str("table '", title, "': row ", r, " has ", rows[r].size(), " cells, the table has ",
                           columns.size(), " columns. Give every row one cell per column; Cell::none() for no value."));
    }
  }
};

namespace detail {

/// The words of a text in lines of at most `width` columns; a longer word has a line of its own.
inline std::vector<std::string> wrapped(std::string_view text, std::size_t width) {
  std::vector<std::string> lines(1);
  std::size_t used = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    const std::size_t columns = display_width(word);
    if (used > 0 && used + 1 + columns > width) {
      lines.emplace_back();
      used = 0;
    } else if (used > 0) {
      lines.back() += ' ';
      ++used;
    }
    lines.back() += word;
    used += columns;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

inline std::string key_of(const Column& column) { return column.key.empty() ? column.title : column.key; }

}  // namespace detail

/// Aligned text, lines without trailing spaces, at most `width` columns where that can be had: the widest left
/// columns are shortened to no less than 12 columns, numbers never. Notes are wrapped.
inline std::string to_text(const Table& table, std::size_t width = 80, bool utf8 = true) {
  table.validate();
  const auto clean = [&](std::string_view text) {
    return utf8 ? detail::printable(text) : detail::ascii(detail::printable(text));
  };
  std::vector<std::vector<std::string>> grid(1);
  for (const Column& column : table.columns) grid[0].push_back(clean(column.title));
  for (const auto& row : table.rows) {
    grid.emplace_back();
    for (const Cell& cell : row) grid.back().push_back(clean(cell.text));
  }
  const std::size_t count = table.columns.size();
  std::vector<std::size_t> widths(count, 0);
  for (const auto& row : grid) {
    for (std::size_t c = 0; c < count; ++c) widths[c] = std::max(widths[c], detail::display_width(row[c]));
  }
  constexpr std::size_t gap = 2, least = 12;
  std::size_t total = count > 0 ? gap * (count - 1) : 0;
  for (const std::size_t w : widths) total += w;
  while (total > width) {
    std::size_t widest = count;
    for (std::size_t c = 0; c < count; ++c) {
      if (table.columns[c].align == Align::left && widths[c] > least && (widest == count || widths[c] > widths[widest]))
        widest = c;
    }
    if (widest == count) break;
    --widths[widest];
    --total;
  }
  std::string out;
  if (!table.title.empty()) out += clean(table.title) + "\n\n";
  for (std::size_t r = 0; r < grid.size(); ++r) {
    std::string line;
    for (std::size_t c = 0; c < count; ++c) {
      const std::string text = detail::shorten(grid[r][c], widths[c]);
      const std::string fill(widths[c] - detail::display_width(text), ' ');
      if (c > 0) line.append(gap, ' ');
      line += table.columns[c].align == Align::right ? fill + text : text + fill;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
    if (r == 0) {
      std::string rule;
      for (std::size_t i = 0; i < total; ++i) rule += utf8 ? "\u2500" : "-";
      out += rule + '\n';
    }
  }
  for (const std::string& note : table.notes) {
    for (const std::string& line : detail::wrapped(clean(note), width)) out += line + '\n';
  }
  return out;
}

/// The number of a cell in full precision; its text without indentation where it has none; nothing where it is
/// absent or not finite.
inline std::string exact_text(const Cell& cell) {
  if (cell.absent) return {};
  if (const auto* n = std::get_if<std::int64_t>(&cell.value)) return str(*n);
  if (const auto* x = std::get_if<double>(&cell.value)) return std::isfinite(*x) ? str(*x) : std::string();
  return cell.text.substr(std::min(cell.text.find_first_not_of(' '), cell.text.size()));
}

/// CSV with a header of keys; exact numbers; lines end in \n. Notes are left out.
inline std::string to_csv(const Table& table) {
  table.validate();
  std::string out;
  for (std::size_t c = 0; c < table.columns.size(); ++c) {
    out += (c > 0 ? "," : "") + detail::csv_field(detail::key_of(table.columns[c]));
  }
  out += '\n';
  for (const auto& row : table.rows) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string text = exact_text(row[c]);
      out += (c > 0 ? "," : "") + detail::csv_field(text);
    }
    out += '\n';
  }
  return out;
}

/// An array with one object per row, its members in the order of the columns; null where there is no finite value.
inline Json to_json(const Table& table) {
  table.validate();
  Json rows = Json::array();
  for (const auto& row : table.rows) {
    Json object = Json::object();
    for (std::size_t c = 0; c < row.size(); ++c) {
      Json& member = object[detail::valid_utf8(detail::key_of(table.columns[c]))];
      if (const auto* n = std::get_if<std::int64_t>(&row[c].value)) member = *n;
      else if (const auto* x = std::get_if<double>(&row[c].value)) member = std::isfinite(*x) ? Json(*x) : Json();
      else if (!row[c].absent) member = detail::valid_utf8(exact_text(row[c]));
    }
    rows.push_back(std::move(object));
  }
  return rows;
}

/// A <table> element with caption, header cells and notes; no classes but "n" for right-aligned cells.
inline std::string to_html(const Table& table) {
  table.validate();
  const auto cell = [](std::string_view tag, std::string_view scope, Align align, std::string_view text) {
    std::size_t indent = 0;
    while (indent < text.size() && text[indent] == ' ') ++indent;
    std::string content = detail::escaped(text.substr(indent));
    for (std::size_t i = 0; i < indent; ++i) content.insert(0, "&#160;");
    return str("<", tag, scope, align == Align::right ? " class=\"n\">" : ">", content, "</", tag, ">");
  };
  std::string out = "<table>\n";
  if (!table.title.empty()) out += "<caption>" + detail::escaped(table.title) + "</caption>\n";
  out += "<thead><tr>";
  for (const Column& column : table.columns) out += cell("th", " scope=\"col\"", column.align, column.title);
  out += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    out += "<tr>";
    for (std::size_t c = 0; c < row.size(); ++c) {
      const bool heads = c == 0 && table.columns[c].align == Align::left;
      out += cell(heads ? "th" : "td", heads ? " scope=\"row\"" : "", table.columns[c].align, row[c].text);
    }
    out += "</tr>\n";
  }
  out += "</tbody>\n</table>\n";
  for (const std::string& note : table.notes) out += "<p class=\"note\">" + detail::escaped(note) + "</p>\n";
  return out;
}

}  // namespace espalier
