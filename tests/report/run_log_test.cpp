// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "espalier/report/run_log.hpp"

using namespace espalier;

namespace run_log_test {

namespace {

/// A folder of its own that goes with the test.
struct Folder {
  std::filesystem::path path;
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "run_log_XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path); }
  std::string file(const char* name) const { return (path / name).string(); }
};

std::string content(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void append(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary | std::ios::app).write(text.data(), static_cast<std::streamsize>(text.size()));
}

Json loss(double value) {
  Json fields;
  fields["loss"] = value;
  return fields;
}

Json settings() {
  Json config;
  config["seed"] = 1;
  config["data"] = "Fashion-MNIST";
  return config;
}

}  // namespace

TEST_CASE("the first line is the configuration, and every event is there as soon as it is logged") {
  const Folder folder;
  const std::string path = folder.file("run.jsonl");
  RunLog log = RunLog::start(path, settings());
  log.event(100, "epoch", loss(0.5));
  CHECK(content(path) ==
        "{\"step\":0,\"event\":\"config\",\"config\":{\"seed\":1,\"data\":\"Fashion-MNIST\"}}\n"
        "{\"step\":100,\"event\":\"epoch\",\"loss\":0.5}\n");
  CHECK(RunLog::configuration(path) == settings());
}

TEST_CASE("a resumed log keeps what is up to the step and drops what is later or cut short") {
  const Folder folder;
  const std::string path = folder.file("run.jsonl");
  {
    RunLog log = RunLog::start(path, settings());
    log.event(100, "epoch", loss(0.5));
    log.event(200, "epoch", loss(0.4));
    log.event(300, "epoch", loss(0.3));
  }
  append(path, "{\"step\":400,\"eve");
  RunLog log = RunLog::resume(path, 200);
  log.event(300, "epoch", loss(0.3));
  CHECK(content(path) ==
        "{\"step\":0,\"event\":\"config\",\"config\":{\"seed\":1,\"data\":\"Fashion-MNIST\"}}\n"
        "{\"step\":100,\"event\":\"epoch\",\"loss\":0.5}\n"
        "{\"step\":200,\"event\":\"epoch\",\"loss\":0.4}\n"
        "{\"step\":200,\"event\":\"resume\"}\n"
        "{\"step\":300,\"event\":\"epoch\",\"loss\":0.3}\n");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path), {}) == 1);  // no temporary file is left
}

TEST_CASE("a log is never overwritten unless that is asked for") {
  const Folder folder;
  const std::string path = folder.file("run.jsonl");
  RunLog::start(path, settings()).event(1, "epoch");
  CHECK_THROWS_WITH_AS(RunLog::start(path, settings()), doctest::Contains("earlier run"), IoError);
  CHECK(content(path).find("epoch") != std::string::npos);
  RunLog::start(path, settings(), Existing::replace);
  CHECK(content(path).find("epoch") == std::string::npos);
}

TEST_CASE("a damaged log is refused with its line, and left as it is") {
  const Folder folder;
  const std::string path = folder.file("run.jsonl");
  RunLog::start(path, settings());
  append(path, "{\"step\":1,\n{\"step\":2,\"event\":\"epoch\"}\n");
  const std::string before = content(path);
  CHECK_THROWS_WITH_AS(RunLog::resume(path, 5), doctest::Contains("line 2"), DataError);
  CHECK(content(path) == before);

  const std::string empty = folder.file("empty.jsonl");
  append(empty, "{\"step\":0,\"event\":\"epoch\"}\n");
  CHECK_THROWS_WITH_AS(RunLog::resume(empty, 5), doctest::Contains("no configuration"), DataError);
  const std::string stepless = folder.file("stepless.jsonl");
  append(stepless, "{\"config\":{}}\n{\"event\":\"epoch\"}\n");
  CHECK_THROWS_WITH_AS(RunLog::resume(stepless, 5), doctest::Contains("'step'"), DataError);
  CHECK_THROWS_AS(RunLog::resume(folder.file("missing.jsonl"), 5), IoError);
  CHECK_THROWS_AS(RunLog::start(folder.file("no/such/run.jsonl"), settings()), IoError);
}

TEST_CASE("what JSON cannot hold is logged as null or '?', at any depth") {
  const Folder folder;
  const std::string path = folder.file("run.jsonl");
  RunLog log = RunLog::start(path, Json::object());
  Json fields = loss(std::nan(""));
  fields["file"] = "a\xff\n.bin";
  Json list = Json::array();
  list.push_back(INFINITY);
  list.push_back(1);
  fields["list"] = list;
  log.event(1, "diverged", fields);
  CHECK(content(path).find(
            "{\"step\":1,\"event\":\"diverged\",\"loss\":null,\"file\":\"a?\\n.bin\",\"list\":[null,1]}\n") !=
        std::string::npos);
}

TEST_CASE("a field cannot take the place of the step or the event's name") {
  const Folder folder;
  RunLog log = RunLog::start(folder.file("run.jsonl"), Json::object());
  Json fields;
  fields["step"] = 3;
  CHECK_THROWS_AS(log.event(1, "epoch", fields), DataError);
  CHECK_THROWS_AS(log.event(1, "epoch", Json(3)), DataError);
  CHECK_NOTHROW(log.event(1, "epoch", Json()));
}

TEST_CASE("metrics are one row per evaluation, with gaps for what is not finite") {
  const Folder folder;
  const std::string path = folder.file("metrics.csv");
  MetricsCsv csv = MetricsCsv::start(path, {"train loss", "acc, top 1"});
  csv.row(100, std::vector<double>{0.1, 0.875});
  csv.row(200, std::vector<double>{std::nan(""), 0.9});
  csv.sync();
  CHECK(content(path) == "step,train loss,\"acc, top 1\"\n100,0.1,0.875\n200,,0.9\n");
  CHECK_THROWS_WITH_AS(csv.row(300, std::vector<double>{1}), doctest::Contains("1 values"), ShapeError);
}

TEST_CASE("resumed metrics end with the same bytes as metrics of a run that never stopped") {
  const Folder folder;
  const std::vector<std::string> columns = {"loss"};
  const auto row = [](MetricsCsv& csv, int step) { csv.row(step, std::vector<double>{1.0 / step}); };
  MetricsCsv whole = MetricsCsv::start(folder.file("whole.csv"), columns);
  for (int step = 1; step <= 9; ++step) row(whole, step);
  const std::string path = folder.file("cut.csv");
  for (int step = 1; step <= 9; ++step) {
    if (step == 1) {
      MetricsCsv csv = MetricsCsv::start(path, columns);
      row(csv, 1);
    } else {
      MetricsCsv csv = MetricsCsv::resume(path, columns, step - 1);
      row(csv, step);
      row(csv, step + 1);  // past the checkpoint, to be dropped
      append(path, "12,0.");
    }
  }
  { MetricsCsv csv = MetricsCsv::resume(path, columns, 9); }
  CHECK(content(path) == content(folder.file("whole.csv")));
}

TEST_CASE("metrics of other columns or with a damaged row are refused") {
  const Folder folder;
  const std::string path = folder.file("metrics.csv");
  { MetricsCsv csv = MetricsCsv::start(path, {"loss"}); }
  CHECK_THROWS_WITH_AS(MetricsCsv::resume(path, {"acc"}, 1), doctest::Contains("'step,loss'"), DataError);
  append(path, "x,1\n");
  CHECK_THROWS_WITH_AS(MetricsCsv::resume(path, {"loss"}, 1), doctest::Contains("line 2"), DataError);
  append(folder.file("zero.csv"), "");
  CHECK_THROWS_AS(MetricsCsv::resume(folder.file("zero.csv"), {"loss"}, 1), DataError);
}

TEST_CASE("a full disk is an error that names the file") {
  if (!std::filesystem::exists("/dev/full")) return;
  detail::LineFile full = detail::LineFile::append("/dev/full");
  CHECK_THROWS_WITH_AS(full.line("x"), doctest::Contains("/dev/full: a line could not be added"), IoError);
}

}  // namespace run_log_test
