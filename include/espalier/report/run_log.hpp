// SPDX-License-Identifier: Apache-2.0
// What a run leaves for other programs: run.jsonl, one JSON object per event, the first with the whole
// configuration; metrics.csv, one row per evaluation, one column per metric. Both go on after a resume as if
// the run had never stopped: lines past the step that is resumed are dropped.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "espalier/error.hpp"
#include "espalier/io/json.hpp"
#include "espalier/report/detail/line_file.hpp"
#include "espalier/report/detail/markup.hpp"
#include "espalier/report/detail/utf8.hpp"

namespace espalier {

namespace detail {

/// The value with every number that is not finite as null and every invalid byte as '?': a log that refuses
/// to record a divergence or a strange file name would be of no use.
inline Json loggable(const Json& value) {
  if (value.is_object()) {
    Json::Object out;
    for (const Json::Member& member : value.members())
      out.emplace_back(valid_utf8(member.first), loggable(member.second));
    return Json(std::move(out));
  }
  if (value.is_array()) {
    Json::Array out;
    for (const Json& item : value.items()) out.push_back(loggable(item));
    return Json(std::move(out));
  }
  if (value.is_string()) return Json(valid_utf8(value.as_string()));
  if (value.is_number() && !value.is_integer() && !std::isfinite(value.as_double())) return Json();
  return value;
}

inline std::int64_t event_step(const std::string& path, std::string_view line, std::size_t number) {
  const std::string where = str(path, ", line ", number);
  const Json event = Json::parse(line, where);
  const Json* step = event.find("step");
  if (step == nullptr || !step->is_integer()) {
    throw DataError(
        str(where, ": found no whole number 'step'; every event needs one. Restore the file, or start a new run."));
  }
  return step->as_int();
}

}  // namespace detail

/// run.jsonl. Every line is an object whose first members are "step" and "event".
class RunLog {
 public:
  /// A new log: its first line is {"step":0,"event":"config","config":...}.
  /// Throws IoError where the file exists, unless it may be replaced.
  static RunLog start(std::string path, const Json& configuration, Existing existing = Existing::refuse) {
    RunLog log(detail::LineFile::create(std::move(path), existing));
    Json fields;
    fields["config"] = configuration;
    log.event(0, "config", fields);
    return log;
  }

  /// Goes on with a log: keeps the configuration and the events up to `step`, drops later ones and a line that
  /// was cut short, and adds an event "resume". Log before the checkpoint of a step is written, not after.
  /// Throws IoError without a file, DataError for a damaged line.
  static RunLog resume(const std::string& path, std::int64_t step) {
    const std::vector<std::string> lines = detail::complete_lines(path);
    static_cast<void>(configuration(path, lines));
    detail::keep_lines_until(path, lines, step, [&](std::string_view line, std::size_t number) {
      return detail::event_step(path, line, number);
    });
    RunLog log(detail::LineFile::append(path));
    log.event(step, "resume");
    return log;
  }

  /// The configuration that the run at `path` was started with.
  static Json configuration(const std::string& path) { return configuration(path, detail::complete_lines(path)); }

  /// One line: {"step":412,"event":"epoch",...fields}. Numbers that are not finite become null.
  /// Throws DataError where `fields` is no object or names "step" or "event" itself.
  void event(std::int64_t step, std::string_view name, const Json& fields = Json::object()) {
    if (!fields.is_null() && !fields.is_object()) {
      throw DataError(str(file_.path(), ": event '", name,
                          "': its fields are no object; a log line needs names. Wrap the value in an object."));
    }
    if (fields.find("step") != nullptr || fields.find("event") != nullptr) {
      throw DataError(str(file_.path(), ": event '", name,
                          "': a field is called 'step' or 'event'; these are given by the call. Rename it."));
    }
    Json line;
    line["step"] = step;
    line["event"] = detail::valid_utf8(name);
    if (fields.is_object()) {
      for (const Json::Member& member : fields.members())
        line[detail::valid_utf8(member.first)] = detail::loggable(member.second);
    }
    file_.line(line.dump());
  }

  /// Waits until the lines are on the device.
  void sync() { file_.sync(); }

 private:
  explicit RunLog(detail::LineFile file) : file_(std::move(file)) {}

  static Json configuration(const std::string& path, const std::vector<std::string>& lines) {
    if (!lines.empty()) {
      const Json first = Json::parse(lines.front(), path + ", line 1");
      if (const Json* config = first.find("config")) return *config;
    }
    throw DataError(str(path,
                        ": found no configuration in the first line; a run log begins with one. Restore the file, or "
                        "start a new run."));
  }

  detail::LineFile file_;
};

/// metrics.csv: a header "step,<columns>", then one row per evaluation. A number that is not finite is an empty field.
class MetricsCsv {
 public:
  /// A new file. Throws IoError where it exists, unless it may be replaced.
  static MetricsCsv start(std::string path, const std::vector<std::string>& columns,
                          Existing existing = Existing::refuse) {
    MetricsCsv csv(detail::LineFile::create(std::move(path), existing), columns.size());
    csv.file_.line(header(columns));
    return csv;
  }

  /// Goes on with a file: keeps the rows up to `step`, drops later ones and a row that was cut short.
  /// Throws DataError where the file has other columns or a damaged row.
  static MetricsCsv resume(const std::string& path, const std::vector<std::string>& columns, std::int64_t step) {
    const std::vector<std::string> lines = detail::complete_lines(path);
    const std::string found = lines.empty() ? std::string() : lines.front();
    if (found != header(columns)) {
      throw DataError(str(path, ": found the columns '", found, "'; this run writes '", header(columns),
                          "'. Resume with the settings of the first run, or start a new one."));
    }
    detail::keep_lines_until(path, lines, step, [&](std::string_view line, std::size_t number) {
      std::int64_t value = 0;
      const auto result = std::from_chars(line.data(), line.data() + line.size(), value);
      const bool ends = result.ptr == line.data() + line.size() || *result.ptr == ',';
      if (result.ec != std::errc() || !ends) {
        throw DataError(
            str(path, ", line ", number,
                ": found no step at its start; every row needs one. Restore the file, or start a new run."));
      }
      return value;
    });
    return MetricsCsv(detail::LineFile::append(path), columns.size());
  }

  /// One row. Throws ShapeError for a number of values that differs from the number of columns.
  void row(std::int64_t step, std::span<const double> values) {
    if (values.size() != columns_) {
      throw ShapeError(str(file_.path(), ": a row has ", values.size(), " values, the header ", columns_,
                           " columns beside the step. Give one value per column; NaN for none."));
    }
    std::string line = str(step);
    for (const double value : values) line += std::isfinite(value) ? "," + str(value) : ",";
    file_.line(std::move(line));
  }

  /// Waits until the rows are on the device.
  void sync() { file_.sync(); }

 private:
  MetricsCsv(detail::LineFile file, std::size_t columns) : file_(std::move(file)), columns_(columns) {}

  /// Line ends in a name would end the header too early; they become '?' as every control character.
  static std::string header(const std::vector<std::string>& columns) {
    std::string line = "step";
    for (const std::string& column : columns) line += "," + detail::csv_field(detail::printable(column));
    return line;
  }

  detail::LineFile file_;
  std::size_t columns_;
};

}  // namespace espalier
