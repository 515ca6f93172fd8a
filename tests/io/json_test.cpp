// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <concepts>
#include <limits>
#include <string>

#include <espalier/io/json.hpp>

namespace json_test {

using espalier::DataError;
using espalier::Json;

static_assert(std::regular<Json>);

namespace {

std::string refusal(std::string_view text) {
  try {
    Json::parse(text, "file.json");
  } catch (const DataError& e) {
    return e.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("a JSON text of every kind survives parse and dump unchanged") {
  for (const std::string text : {
           R"({"b":1,"a":[true,false,null,-7,2.5,"x"],"z":{}})", "[]", "0", "-9223372036854775808",
           "18446744073709551615", "1.0", "-0.0", R"("tab\t quote\" back\\ \u0001")", "\"\xC3\xA9\xF0\x9F\x8C\xB3\"",
           R"([[[[]]],{"":{}}])", "1e+300", "0.1"}) {
    CHECK(Json::parse(text).dump() == text);
  }
}

TEST_CASE("integers and doubles stay what they are") {
  CHECK(Json::parse("1").is_integer());
  CHECK_FALSE(Json::parse("1.0").is_integer());
  CHECK(Json::parse("1e2").as_double() == 100);
  CHECK(Json::parse("18446744073709551615").as_uint() == std::numeric_limits<std::uint64_t>::max());
  CHECK(Json(std::uint64_t{5}) == Json(5));
  CHECK(Json(1.0f).dump() == "1.0");
  CHECK_THROWS_AS(Json::parse("18446744073709551615").as_int(), DataError);
  CHECK_THROWS_AS(Json(-1).as_uint(), DataError);
  CHECK_THROWS_AS(Json(1.5).as_int(), DataError);
  CHECK(Json::parse("1e-999").as_double() == 0);
  CHECK(refusal("1e999").find("1e999") != std::string::npos);
  CHECK(Json::parse("18446744073709551616").as_double() == 0x1p64);
}

TEST_CASE("objects keep the order of insertion, find their members, and refuse a repeated key") {
  Json run;
  run["step"] = 3;
  run["loss"] = 0.25;
  run["step"] = 4;
  run["tags"].push_back("a");
  CHECK(run.dump() == R"({"step":4,"loss":0.25,"tags":["a"]})");
  CHECK(run.at("loss").as_double() == 0.25);
  CHECK(run.find("absent") == nullptr);
  CHECK_THROWS_AS(run.at("absent"), DataError);
  CHECK_THROWS_AS(run.at("loss").as_string(), DataError);
  CHECK_THROWS_AS(run.push_back(1), DataError);
  CHECK(refusal(R"({"a":1,"b":2,"a":3})").find("'a' twice") != std::string::npos);
  CHECK(refusal(R"({"a":1,"\u0061":3})").find("'a' twice") != std::string::npos);
  CHECK(refusal(R"([{"a":1},{"a":1}])") == "accepted");
}

TEST_CASE("indented text is stable and reads back to the same value") {
  const Json json = Json::parse(R"({"a":[1,{"b":[]}],"c":{}})");
  CHECK(json.dump(2) == "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": {}\n}");
  CHECK(Json::parse(json.dump(2)) == json);
}

TEST_CASE("a number that is not finite and a string that is not UTF-8 are named, not written") {
  Json json;
  json["metrics"]["loss"] = std::numeric_limits<double>::quiet_NaN();
  CHECK_THROWS_WITH_AS(json.dump(), doctest::Contains("metrics > loss > JSON: found nan"), DataError);
  CHECK_THROWS_AS(Json(std::numeric_limits<float>::infinity()).dump(), DataError);
  CHECK_THROWS_AS(Json("\xC3").dump(), DataError);
}

TEST_CASE("escapes are decoded, surrogate pairs too") {
  CHECK(Json::parse(R"("\u00e9\ud83c\udf33\/\b\f\n\r\t")").as_string() == "\xC3\xA9\xF0\x9F\x8C\xB3/\b\f\n\r\t");
  CHECK(Json::parse(R"("\u0000")").as_string() == std::string(1, '\0'));
}

TEST_CASE("what is not JSON is refused with the byte where it goes wrong") {
  for (const std::string text : {"",
                                 " ",
                                 "{",
                                 "[",
                                 "[1",
                                 "[1,",
                                 "[1,]",
                                 "[,1]",
                                 "{\"a\"",
                                 "{\"a\":",
                                 "{\"a\":1,",
                                 "{\"a\":1,}",
                                 "{a:1}",
                                 "{1:1}",
                                 "'a'",
                                 "01",
                                 "-",
                                 "+1",
                                 ".5",
                                 "1.",
                                 "1e",
                                 "1e+",
                                 "0x10",
                                 "NaN",
                                 "Infinity",
                                 "-Infinity",
                                 "tru",
                                 "nulll",
                                 "[1 2]",
                                 "1 2",
                                 "{}{}",
                                 "\"",
                                 "\"\\",
                                 "\"\\x\"",
                                 "\"\\u12\"",
                                 "\"\\u12g4\"",
                                 "\"\\ud83c\"",
                                 "\"\\udf33\"",
                                 "\"\\ud83c\\u0041\"",
                                 "\"\\ud83cx\"",
                                 "\"\n\"",
                                 "\"\x80\"",
                                 "\"\xC0\x80\"",
                                 "\"\xED\xA0\x80\"",
                                 "\"\xF4\x90\x80\x80\"",
                                 "\"\xE2\x82\"",
                                 "[1}",
                                 "{\"a\":1]",
                                 "// c\n1",
                                 "\xEF\xBB\xBF{}",
                                 "[1]\x01"}) {
    CAPTURE(text);
    CHECK(refusal(text).find("file.json: JSON, byte ") == 0);
  }
  CHECK(refusal(std::string("[1]\0", 4)) != "accepted");
  CHECK(refusal("[1,]") ==
        "file.json: JSON, byte 3: found ']', needed a value; the text is damaged: fetch or write it again");
}

TEST_CASE("limits hold: a million brackets and a long string are refused, not survived by luck") {
  CHECK(refusal(std::string(1000000, '[')).find("JsonLimits::depth") != std::string::npos);
  const std::string nested = std::string(64, '[') + std::string(64, ']');
  CHECK(refusal(nested) == "accepted");
  CHECK(refusal("[" + nested + "]") != "accepted");
  CHECK_THROWS_AS(Json::parse("\"abcd\"", "t", {.string_bytes = 3}), DataError);
  CHECK_THROWS_AS(Json::parse("\"ab\\nd\"", "t", {.string_bytes = 3}), DataError);
  CHECK(Json::parse("\"abc\"", "t", {.string_bytes = 3}).as_string() == "abc");
}

}  // namespace json_test
