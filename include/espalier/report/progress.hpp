// SPDX-License-Identifier: Apache-2.0
// Progress of a run in stages, on standard error: one line that redraws itself on a terminal, complete lines
// in a file or a pipe. The line is cleared before anything else is written and when the object goes,
// also by an exception, so it never mixes with results or errors.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "espalier/error.hpp"
#include "espalier/report/clock.hpp"
#include "espalier/report/detail/utf8.hpp"
#include "espalier/report/format.hpp"
#include "espalier/report/terminal.hpp"

namespace espalier {

/// One number that is shown beside the bar: {"loss", 0.412}, {"acc", 0.841, Reading::percent}.
struct Reading {
  enum Unit { plain, percent };
  std::string_view name = {};
  double value = 0;
  Unit unit = plain;
};

/// How long a stage is. An unknown length is 0: then neither bar nor ETA is shown.
struct StageSize {
  int epochs = 0;               // 0: a stage without epochs
  long long steps = 0;          // steps per epoch, or of the whole stage if it has no epochs
  int epochs_done = 0;          // by an earlier run that is now resumed
  bool operator==(const StageSize&) const = default;
};

/// How progress is shown.
struct ProgressOptions {
  int stages = 0;               // in the run; 0: not numbered
  bool quiet = false;           // warnings only
  bool animate = true;          // false: complete lines even on a terminal, as with --json
  double redraw_seconds = 0.1;  // between two redraws, at least
  double line_seconds = 30;     // between two lines where nothing is redrawn, at most
  double eta_after = 0.05;      // fraction of a stage before an ETA is believed
  std::size_t name_width = 12;  // columns that stage names are padded to
  bool operator==(const ProgressOptions&) const = default;
};

namespace detail {

inline std::string reading_text(const Reading& reading) {
  if (reading.unit == Reading::percent) return str(printable(reading.name), ' ', format_percent(reading.value));
  const double size = std::fabs(reading.value);
  if (size != 0 && (size < 0.01 || size >= 1e6) && non_finite(reading.value).empty()) {
    char buffer[32];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, reading.value, std::chars_format::general, 3).ptr;
    return str(printable(reading.name), ' ', std::string_view(buffer, static_cast<std::size_t>(end - buffer)));
  }
  return str(printable(reading.name), ' ', format_fixed(reading.value, size < 100 ? 3 : 1));
}

/// "[#####-----]" of `cells` cells; blocks where the terminal has UTF-8.
inline std::string bar_text(double fraction, std::size_t cells, bool utf8) {
  const double part = fraction > 0 ? (fraction < 1 ? fraction : 1) : 0;
  const auto full = static_cast<std::size_t>(part * static_cast<double>(cells));
  std::string bar = "[";
  for (std::size_t i = 0; i < cells; ++i) bar += i < full ? (utf8 ? "\u2588" : "#") : (utf8 ? "\u2591" : "-");
  return bar + "]";
}

}  // namespace detail

/// Shows the stages of a run. `Sink` is called with text to write, `Clock` returns seconds; see Progress below.
///
///   progress.begin("L1 filters", {.epochs = 5, .steps = 469});
///   progress.update(epoch, step, {{"loss", loss}});              // as often as you like
///   progress.epoch_done(epoch, {{"loss", loss}, {"acc", accuracy, Reading::percent}});
///   progress.end({{"acc", accuracy, Reading::percent}});
template <class Sink = StreamSink, class Clock = SteadySeconds>
class BasicProgress {
 public:
  using Readings = std::initializer_list<Reading>;

  explicit BasicProgress(const Terminal& terminal, const ProgressOptions& options = {}, Sink sink = {},
                         Clock clock = {})
      : terminal_(terminal), options_(options), sink_(std::move(sink)), clock_(std::move(clock)) {}
  BasicProgress(const BasicProgress&) = delete;
  BasicProgress& operator=(const BasicProgress&) = delete;
  ~BasicProgress() {
    try {
      clear();
    } catch (...) {  // a sink that fails while the object goes must not end the program
    }
  }

  /// Starts the next stage; ends a stage that is still open.
  void begin(std::string_view name, const StageSize& size = {}) {
    if (open_) end();
    open_ = true;
    ++stage_;
    name_ = detail::printable(name);
    if (!terminal_.utf8) name_ = detail::ascii(name_);
    size_ = size;
    start_ = last_ = clock_();
    epoch_ = size.epochs > 0 ? size.epochs_done + 1 : 0;
    step_ = 0;
    if (animated()) draw({});
    else say(line({}, ""));
  }

  /// `step` steps of `epoch` are done; epochs count from 1. Costs one look at the clock unless a redraw is due.
  void update(int epoch, long long step, std::span<const Reading> readings = {}) {
    epoch_ = epoch;
    step_ = step;
    if (options_.quiet) return;
    const double now = clock_();
    if (now - last_ < (animated() ? options_.redraw_seconds : options_.line_seconds)) return;
    last_ = now;
    if (animated()) draw(readings);
    else say(line(readings, str(format_fixed(100 * fraction(), 0), '%')));
  }
  void update(int epoch, long long step, Readings readings) {
    update(epoch, step, std::span(readings.begin(), readings.size()));
  }

  /// The epoch is complete: a line where nothing is redrawn.
  void epoch_done(int epoch, std::span<const Reading> readings = {}) {
    epoch_ = epoch;
    step_ = size_.steps;
    if (animated()) return update(epoch, size_.steps, readings);
    last_ = clock_();
    say(line(readings, ""));
  }
  void epoch_done(int epoch, Readings readings) { epoch_done(epoch, std::span(readings.begin(), readings.size())); }

  /// The stage is complete: one line stays, with its duration.
  void end(std::span<const Reading> readings = {}) {
    if (!open_) return;
    open_ = false;
    clear();
    say(final_line(readings));
  }
  void end(Readings readings) { end(std::span(readings.begin(), readings.size())); }

  /// A line for the reader; silent in quiet mode.
  void note(std::string_view text) {
    if (!options_.quiet) say(detail::printable(text));
  }
  /// A line that is shown in quiet mode too.
  void warn(std::string_view text) {
    clear();
    sink_(styled(terminal_, Style::yellow, "warning:") + ' ' + detail::printable(text) + '\n');
  }
  /// Removes the line: call before writing to standard output. The next update draws it again.
  void clear() {
    if (drawn_ == 0) return;
    const std::size_t columns = std::exchange(drawn_, 0);
    sink_('\r' + std::string(columns, ' ') + '\r');
  }

 private:
  bool animated() const { return terminal_.interactive && options_.animate && !options_.quiet; }

  void say(const std::string& text) {
    if (options_.quiet) return;
    clear();
    sink_(text + '\n');
  }

  void draw(std::span<const Reading> readings) {
    const std::string text = fitted(readings, terminal_.width > 0 ? terminal_.width - 1 : 0);
    const std::size_t columns = detail::display_width(text);
    sink_('\r' + text + std::string(drawn_ > columns ? drawn_ - columns : 0, ' '));
    drawn_ = columns > drawn_ ? columns : drawn_;
  }

  /// Done part of the stage, 0 where its length is unknown.
  double fraction() const {
    const double in_epoch = size_.steps > 0 ? static_cast<double>(step_) / static_cast<double>(size_.steps) : 0;
    return size_.epochs > 0 ? (epoch_ - 1 + in_epoch) / size_.epochs : in_epoch;
  }

  std::optional<double> eta() const {
    const double before = size_.epochs > 0 ? static_cast<double>(size_.epochs_done) / size_.epochs : 0;
    const double done = fraction() - before;
    if (!(done > 0) || done < options_.eta_after * (1 - before)) return std::nullopt;
    const double left = (clock_() - start_) * (1 - fraction()) / done;
    return left > 0 ? left : 0;
  }

  std::string head() const {
    std::string text;
    if (options_.stages > 0) {
      const std::string total = str(options_.stages), number = str(stage_);
      text = str('[', std::string(number.size() < total.size() ? total.size() - number.size() : 0, ' '), number, '/',
                 total, "] ");
    }
    const std::size_t width = detail::display_width(name_);
    return text + name_ + std::string(width < options_.name_width ? options_.name_width - width : 0, ' ');
  }

  static std::string joined(std::span<const Reading> readings) {
    std::string text;
    for (const Reading& reading : readings) text += "  " + detail::reading_text(reading);
    return text;
  }

  std::string eta_text() const {
    const auto seconds = eta();
    return seconds && fraction() < 1 ? "  ETA " + format_clock(*seconds) : "";
  }

  std::string where() const { return size_.epochs > 0 ? str("  epoch ", epoch_, '/', size_.epochs) : ""; }

  /// A complete line.
  std::string line(std::span<const Reading> readings, const std::string& percent) const {
    return trimmed(head() + where() + (percent.empty() ? "" : "  " + percent) + joined(readings) + eta_text());
  }

  std::string final_line(std::span<const Reading> readings) const {
    const std::string epochs =
        size_.epochs > 0 ? str("  ", size_.epochs, size_.epochs == 1 ? " epoch" : " epochs") : "";
    return trimmed(head() + epochs + joined(readings) + "  done in " + format_clock(clock_() - start_));
  }

  /// The animated line within `width` columns: the bar shrinks, then goes, then readings go from the last on.
  std::string fitted(std::span<const Reading> readings, std::size_t width) const {
    const bool known = size_.epochs > 0 || size_.steps > 0;
    const std::string left = head() + where(), right = eta_text();
    for (std::size_t shown = readings.size();; --shown) {
      const std::string middle = joined(readings.first(shown));
      for (std::size_t cells : {std::size_t{20}, std::size_t{10}, std::size_t{0}}) {
        if (!known && cells > 0) continue;
        const std::string bar = cells > 0 ? "  " + detail::bar_text(fraction(), cells, terminal_.utf8) : "";
        const std::string text = trimmed(left + bar + middle + right);
        if (detail::display_width(text) <= width) return text;
      }
      if (shown == 0) return detail::shorten(trimmed(left), width);
    }
  }

  static std::string trimmed(std::string text) {
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
  }

  Terminal terminal_;
  ProgressOptions options_;
  Sink sink_;
  Clock clock_;
  bool open_ = false;
  std::string name_;
  StageSize size_;
  int stage_ = 0;
  int epoch_ = 0;
  long long step_ = 0;
  double start_ = 0;
  double last_ = 0;         // when something was last shown
  std::size_t drawn_ = 0;   // columns of the line that is on the terminal
};

/// Progress on standard error.
using Progress = BasicProgress<>;

}  // namespace espalier
