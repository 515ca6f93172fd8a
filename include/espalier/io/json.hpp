// SPDX-License-Identifier: Apache-2.0
// A JSON value that keeps the order of its members and tells integers from doubles, for run logs,
// metadata and reports. Our own, because the core needs nothing but Eigen and the standard library,
// and because repeated keys and numbers that are not finite must be errors.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <espalier/error.hpp>
#include <espalier/io/checked.hpp>
#include <espalier/io/detail/json_string.hpp>
#include <espalier/io/json_reader.hpp>

namespace espalier {

/// A regular value: null, bool, integer, double, string, array or object. Integers are exact from
/// -2^63 to 2^64 - 1 and stay integers; 1.0 is written "1.0" and stays a double.
class Json {
 public:
  using Array = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;

  Json() = default;
  Json(std::nullptr_t) {}
  template <class T>
    requires std::is_arithmetic_v<T>
  Json(T x) {
    if constexpr (std::same_as<T, bool>) {
      value_ = x;
    } else if constexpr (std::floating_point<T>) {
      value_ = static_cast<double>(x);
    } else if (std::cmp_less_equal(x, INT64_MAX)) {
      value_ = static_cast<std::int64_t>(x);
    } else {
      value_ = static_cast<std::uint64_t>(x);
    }
  }
  Json(std::string text) : value_(std::move(text)) {}
  Json(std::string_view text) : value_(std::string(text)) {}
  Json(const char* text) : value_(std::string(text)) {}
  Json(Array items) : value_(std::move(items)) {}
  Json(Object members) : value_(std::move(members)) {}
  static Json array() { return Json(Array{}); }
  static Json object() { return Json(Object{}); }

  // Not defaulted: nvcc would look into Member before Json is complete.
  friend bool operator==(const Json& a, const Json& b) { return a.value_ == b.value_; }

  bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  bool is_bool() const { return std::holds_alternative<bool>(value_); }
  bool is_integer() const {
    return std::holds_alternative<std::int64_t>(value_) || std::holds_alternative<std::uint64_t>(value_);
  }
  bool is_number() const { return is_integer() || std::holds_alternative<double>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }
  bool is_array() const { return std::holds_alternative<Array>(value_); }
  bool is_object() const { return std::holds_alternative<Object>(value_); }

  /// What the value holds. **Throws** DataError if it holds something else or the number does not fit.
  bool as_bool() const { return get<bool>("true or false"); }
  const std::string& as_string() const { return get<std::string>("a string"); }
  const Array& items() const { return get<Array>("an array"); }
  const Object& members() const { return get<Object>("an object"); }
  double as_double() const {
    if (const auto* i = std::get_if<std::int64_t>(&value_)) return static_cast<double>(*i);
    if (const auto* u = std::get_if<std::uint64_t>(&value_)) return static_cast<double>(*u);
    return get<double>("a number");
  }
  std::int64_t as_int() const { return get<std::int64_t>("an integer below 2^63"); }
  std::uint64_t as_uint() const {
    if (const auto* i = std::get_if<std::int64_t>(&value_); i != nullptr && *i >= 0)
      return static_cast<std::uint64_t>(*i);
    return get<std::uint64_t>("an integer of at least 0");
  }

  /// The member of that name, or nullptr (also if this is no object).
  const Json* find(std::string_view key) const {
    const auto* object = std::get_if<Object>(&value_);
    if (object == nullptr) return nullptr;
    for (const Member& member : *object) {
      if (member.first == key) return &member.second;
    }
    return nullptr;
  }
  /// The member of that name. **Throws** DataError if there is none.
  const Json& at(std::string_view key) const {
    if (const Json* found = find(key)) return *found;
    throw DataError(str("JSON: found no member '", key, "' in ", kind(), "; check the version of its writer"));
  }
  /// The member of that name, appended as null if absent; null becomes an object first.
  Json& operator[](std::string_view key) {
    if (is_null()) value_ = Object{};
    Object& object = const_cast<Object&>(members());
    for (Member& member : object) {
      if (member.first == key) return member.second;
    }
    object.push_back(Member(std::string(key), Json()));
    return object.back().second;
  }
  /// Appends to an array; null becomes an array first.
  void push_back(Json item) {
    if (is_null()) value_ = Array{};
    const_cast<Array&>(items()).push_back(std::move(item));
  }

  /// The text, on one line or, with `indent` spaces a level, on many.
  /// **Throws** DataError naming the member that holds a NaN, an infinity or a string not in UTF-8.
  std::string dump(std::size_t indent = 0) const {
    std::string out;
    write(out, indent, 0);
    return out;
  }
  /// **Throws** DataError naming `where` and the byte; also for a repeated key.
  static Json parse(std::string_view text, std::string_view where = "text", JsonLimits limits = {});

 private:
  struct Builder;

  template <class T>
  const T& get(std::string_view needed) const {
    if (const T* held = std::get_if<T>(&value_)) return *held;
    throw DataError(str("JSON: found ", kind(), ", needed ", needed, "; check the version of its writer"));
  }
  std::string_view kind() const {
    constexpr std::string_view kinds[] = {"null", "a bool", "an integer", "an integer of 2^63 or more",
                                          "a double", "a string", "an array", "an object"};
    return kinds[value_.index()];
  }

  void write(std::string& out, std::size_t indent, std::size_t level) const {
    const auto line = [&](std::size_t l) {
      if (indent != 0) (out += '\n').append(indent * l, ' ');
    };
    if (const auto* object = std::get_if<Object>(&value_)) {
      out += '{';
      for (const Member& member : *object) {
        if (&member != object->data()) out += ',';
        line(level + 1);
        detail::append_json_string(out, member.first);
        out += indent != 0 ? ": " : ":";
        try {
          member.second.write(out, indent, level + 1);
        } catch (const DataError& e) {
          throw DataError(str(member.first, " > ", e.what()));
        }
      }
      if (!object->empty()) line(level);
      out += '}';
    } else if (const auto* array = std::get_if<Array>(&value_)) {
      out += '[';
      for (const Json& item : *array) {
        if (&item != array->data()) out += ',';
        line(level + 1);
        item.write(out, indent, level + 1);
      }
      if (!array->empty()) line(level);
      out += ']';
    } else if (const auto* text = std::get_if<std::string>(&value_)) {
      detail::append_json_string(out, *text);
    } else if (const auto* x = std::get_if<double>(&value_)) {
      if (!std::isfinite(*x))
        throw DataError(str("JSON: found ", *x, ", needed a finite number; write null or a string instead"));
      const std::string digits = str(*x);
      out += digits;
      if (digits.find_first_of(".e") == std::string::npos) out += ".0";
    } else if (const auto* i = std::get_if<std::int64_t>(&value_)) {
      out += str(*i);
    } else if (const auto* u = std::get_if<std::uint64_t>(&value_)) {
      out += str(*u);
    } else {
      out += is_null() ? "null" : as_bool() ? "true" : "false";
    }
  }

  std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string, Array, Object> value_;
};

struct Json::Builder {
  std::string_view where;
  std::vector<Json> open;         // containers begun and not ended
  std::vector<std::string> keys;  // the key each of them will have in its parent; "" in an array
  std::string next_key;
  Json result;

  void null() { add(Json()); }
  void boolean(bool b) { add(b); }
  void string(std::string_view s) { add(s); }
  void key(std::string_view k) { next_key = k; }
  void begin_object() { begin(object()); }
  void begin_array() { begin(array()); }
  void end_array() { end(); }
  void end_object() {
    const Object& members = open.back().members();
    std::vector<std::string_view> names;
    for (const Member& member : members) names.push_back(member.first);
    std::sort(names.begin(), names.end());
    if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end()) {
      throw DataError(
          str(where, ": JSON: found the key '", *twice, "' twice in one object, needed it once; remove one"));
    }
    end();
  }
  void number(std::string_view text) {
    const char *first = text.data(), *last = first + text.size();
    if (text.find_first_of(".eE") == std::string_view::npos && text != "-0") {
      std::int64_t i = 0;
      if (std::from_chars(first, last, i).ec == std::errc()) return add(i);
      std::uint64_t u = 0;
      if (text[0] != '-' && std::from_chars(first, last, u).ec == std::errc()) return add(u);
    }
    double x = 0;
    if (std::from_chars(first, last, x).ec != std::errc() && !underflows(text)) {
      throw DataError(
          str(where, ": JSON: found the number ", text.substr(0, 40), ", needed one that a double holds; correct it"));
    }
    add(x);
  }

 private:
  // from_chars reports too large and too small alike; only the former is an error.
  static bool underflows(std::string_view text) {
    const auto e = text.find_first_of("eE");
    if (e != std::string_view::npos) return text.substr(e + 1, 1) == "-";
    return text.starts_with("0.") || text.starts_with("-0.");
  }
  void begin(Json container) {
    open.push_back(std::move(container));
    keys.push_back(std::move(next_key));
    next_key.clear();
  }
  void end() {
    Json done = std::move(open.back());
    open.pop_back();
    next_key = std::move(keys.back());
    keys.pop_back();
    add(std::move(done));
  }
  void add(Json item) {
    if (open.empty()) {
      result = std::move(item);
    } else if (auto* members = std::get_if<Object>(&open.back().value_)) {
      members->push_back(Member(std::move(next_key), std::move(item)));
      next_key.clear();
    } else {
      open.back().push_back(std::move(item));
    }
  }
};

inline Json Json::parse(std::string_view text, std::string_view where, JsonLimits limits) {
  return with_memory(where, text.size(), [&] {
    Builder builder{where, {}, {}, {}, {}};
    read_json(text, builder, where, limits);
    return std::move(builder.result);
  });
}

}  // namespace espalier
