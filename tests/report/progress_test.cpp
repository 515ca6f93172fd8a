// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "espalier/report/progress.hpp"

using namespace espalier;

namespace progress_test {

namespace {

struct Page {
  std::vector<std::string> writes;
  double now = 0;

  std::string text() const {
    std::string all;
    for (const std::string& w : writes) all += w;
    return all;
  }
  /// What a terminal of unlimited width shows: lines, and the cursor's line last.
  std::vector<std::string> screen() const {
    std::vector<std::string> lines(1);
    std::size_t column = 0;
    for (const char c : text()) {
      if (c == '\n') { lines.emplace_back(); column = 0; }
      else if (c == '\r') column = 0;
      else {
        if (column == lines.back().size()) lines.back() += ' ';
        lines.back()[column++] = c;
      }
    }
    for (std::string& line : lines) line.erase(line.find_last_not_of(' ') + 1);
    return lines;
  }
};

struct ToPage {
  Page* page;
  void operator()(std::string_view text) const { page->writes.emplace_back(text); }
};
struct PageClock {
  Page* page;
  double operator()() const { return page->now; }
};
using TestProgress = BasicProgress<ToPage, PageClock>;

const Terminal tty{.interactive = true, .color = false, .utf8 = false, .width = 100};
const Terminal file{};

TestProgress on(Page& page, const Terminal& terminal, const ProgressOptions& options = {}) {
  return TestProgress(terminal, options, ToPage{&page}, PageClock{&page});
}

}  // namespace

TEST_CASE("the line names stage, epoch, bar, readings and ETA") {
  Page page;
  TestProgress progress = on(page, tty, {.stages = 10});
  progress.begin("train", {.epochs = 1, .steps = 1});
  progress.begin("L1 filters", {.epochs = 5, .steps = 100});
  page.now = 9;
  progress.update(3, 50, {{"loss", 0.4123}, {"acc", 0.841, Reading::percent}});
  CHECK(page.screen().back() ==
        "[ 2/10] L1 filters    epoch 3/5  [##########----------]  loss 0.412  acc 84.1%  ETA 0:09");
}

TEST_CASE("a terminal is redrawn at most ten times a second") {
  Page page;
  TestProgress progress = on(page, tty);
  progress.begin("train", {.epochs = 1, .steps = 1024});
  const std::size_t first = page.writes.size();
  for (int step = 1; step <= 1024; ++step) {
    page.now = step / 1024.0;  // exact, so that the count is
    progress.update(1, step);
  }
  CHECK(page.writes.size() - first == 9);  // 103 steps take the first 0.1 s
}

TEST_CASE("a shorter line covers a longer one wholly") {
  Page page;
  TestProgress progress = on(page, tty);
  progress.begin("train", {.epochs = 1, .steps = 10});
  page.now = 1;
  progress.update(1, 1, {{"loss", 0.1234}, {"a long name", 2}});
  page.now = 2;
  progress.update(1, 2, {});
  CHECK(page.screen().back() == "train         epoch 1/1  [####----------------]  ETA 0:08");
}

TEST_CASE("the line is gone before anything else is written, and comes back") {
  Page page;
  TestProgress progress = on(page, tty);
  progress.begin("train", {.epochs = 1, .steps = 10});
  progress.note("reading data");
  CHECK(page.screen() == std::vector<std::string>{"reading data", ""});
  page.now = 1;
  progress.update(1, 5);
  CHECK(page.screen().back() == "train         epoch 1/1  [##########----------]  ETA 0:01");
  progress.clear();
  CHECK(page.screen().back().empty());
  CHECK(page.text().back() == '\r');
}

TEST_CASE("the line is gone after the object, and after an exception") {
  Page page;
  try {
    TestProgress progress = on(page, tty);
    progress.begin("train", {.epochs = 1, .steps = 10});
    page.now = 1;
    progress.update(1, 1);
    throw std::runtime_error("stop");
  } catch (const std::runtime_error&) {
  }
  CHECK(page.screen() == std::vector<std::string>{""});
}

TEST_CASE("the end of a stage stays with its duration") {
  Page page;
  TestProgress progress = on(page, tty, {.stages = 2});
  progress.begin("train", {.epochs = 2, .steps = 10});
  page.now = 14;
  progress.end({{"acc", 0.862, Reading::percent}});
  CHECK(page.screen() == std::vector<std::string>{"[1/2] train         2 epochs  acc 86.2%  done in 0:14", ""});
}

TEST_CASE("a file gets one complete line per epoch and no carriage return") {
  Page page;
  {
    TestProgress progress = on(page, file);
    progress.begin("train", {.epochs = 2, .steps = 100});
    for (int epoch = 1; epoch <= 2; ++epoch) {
      for (int step = 1; step <= 100; ++step) {
        page.now += 0.1;
        progress.update(epoch, step, {{"loss", 1}});
      }
      progress.epoch_done(epoch, {{"loss", 0.5}});
    }
    progress.end();
  }
  CHECK(page.text() ==
        "train         epoch 1/2\n"
        "train         epoch 1/2  loss 0.500  ETA 0:10\n"
        "train         epoch 2/2  loss 0.500\n"
        "train         2 epochs  done in 0:20\n");
}

TEST_CASE("a file gets a line at least every 30 seconds of a long epoch") {
  Page page;
  TestProgress progress = on(page, file);
  progress.begin("train", {.epochs = 1, .steps = 1000});
  const std::size_t first = page.writes.size();
  for (int step = 1; step <= 999; ++step) {
    page.now += 1;
    progress.update(1, step, {});
  }
  CHECK(page.writes.size() - first == 33);
  CHECK(page.writes.back() == "train         epoch 1/1  99%  ETA 0:10\n");
}

TEST_CASE("no ETA before five percent of a stage") {
  Page page;
  TestProgress progress = on(page, tty);
  progress.begin("train", {.epochs = 1, .steps = 100});
  page.now = 1;
  progress.update(1, 4);
  CHECK(page.screen().back().find("ETA") == std::string::npos);
  page.now = 2;
  progress.update(1, 5);
  CHECK(page.screen().back().find("ETA 0:38") != std::string::npos);
}

TEST_CASE("after a resume the ETA counts only what this run does") {
  Page page;
  TestProgress progress = on(page, tty);
  progress.begin("train", {.epochs = 10, .steps = 10, .epochs_done = 5});
  page.now = 10;
  progress.update(6, 10);  // one epoch of five took 10 s
  CHECK(page.screen().back().find("ETA 0:40") != std::string::npos);
}

TEST_CASE("quiet shows warnings only") {
  Page page;
  TestProgress progress = on(page, tty, {.quiet = true});
  progress.begin("train", {.epochs = 1, .steps = 10});
  page.now = 5;
  progress.update(1, 5);
  progress.epoch_done(1);
  progress.note("a note");
  progress.end();
  CHECK(page.text().empty());
  progress.warn("no data found");
  CHECK(page.text() == "warning: no data found\n");
}

TEST_CASE("without animation a terminal gets complete lines") {
  Page page;
  TestProgress progress = on(page, tty, {.animate = false});
  progress.begin("train", {.epochs = 1, .steps = 10});
  page.now = 31;
  progress.update(1, 5);
  CHECK(page.text().find('\r') == std::string::npos);
}

TEST_CASE("the line fits any width and gives up the bar first, then readings from the last") {
  for (std::size_t width = 1; width <= 100; ++width) {
    CAPTURE(width);
    Page page;
    Terminal terminal = tty;
    terminal.width = width;
    terminal.utf8 = true;
    TestProgress progress = on(page, terminal, {.stages = 10});
    progress.begin("L1 filters", {.epochs = 5, .steps = 100});
    page.now = 9;
    progress.update(3, 50, {{"loss", 0.4123}, {"acc", 0.841, Reading::percent}});
    for (const std::string& write : page.writes) CHECK(detail::display_width(write) - 1 < width);
    const std::string& last = page.writes.back();
    if (last.find("acc") != std::string::npos) CHECK(last.find("loss") != std::string::npos);
    if (last.find('[', 8) != std::string::npos) CHECK(last.find("acc") != std::string::npos);
  }
}

TEST_CASE("a stage of unknown length has neither bar nor ETA") {
  Page page;
  TestProgress progress = on(page, tty);
  progress.begin("reading data");
  page.now = 3;
  progress.update(0, 0);
  CHECK(page.screen().back() == "reading data");
  progress.end();
  CHECK(page.screen()[0] == "reading data  done in 0:03");
}

TEST_CASE("readings keep small and large numbers readable, and names harmless") {
  CHECK(detail::reading_text({"lr", 5e-5}) == "lr 5e-05");
  CHECK(detail::reading_text({"loss", 0}) == "loss 0.000");
  CHECK(detail::reading_text({"loss", 123.456}) == "loss 123.5");
  CHECK(detail::reading_text({"loss", 8.1e7}) == "loss 8.1e+07");
  CHECK(detail::reading_text({"loss", std::nan("")}) == "loss nan");
  CHECK(detail::reading_text({"a\x1b", 1}) == "a? 1.000");
}

TEST_CASE("bars are full at the end, empty at the start, and hold for fractions outside") {
  CHECK(detail::bar_text(0, 4, false) == "[----]");
  CHECK(detail::bar_text(0.5, 4, false) == "[##--]");
  CHECK(detail::bar_text(1, 4, false) == "[####]");
  CHECK(detail::bar_text(7, 4, false) == "[####]");
  CHECK(detail::bar_text(std::nan(""), 4, false) == "[----]");
  CHECK(detail::bar_text(0.5, 2, true) == "[\u2588\u2591]");
}

}  // namespace progress_test
