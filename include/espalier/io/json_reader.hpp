// SPDX-License-Identifier: Apache-2.0
// A strict JSON reader (RFC 8259) for text that is not trusted: it reports events instead of building
// a tree, keeps its own stack instead of recursing, and has limits. io/json.hpp makes values of its
// events; the safetensors reader checks a header of many megabytes without a tree.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <espalier/error.hpp>

namespace espalier {

struct JsonLimits {
  std::size_t depth = 64;               // arrays and objects inside one another
  std::size_t string_bytes = 16 << 20;  // of one string
};

namespace detail {

/// The length of the well-formed UTF-8 sequence at the front of `text`, 0 if there is none
/// (Unicode 15, table 3-7: no surrogates, nothing over-long, nothing beyond U+10FFFF).
inline std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto tail = [&](std::size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned lead = byte(0);
  if (text.empty()) return 0;
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return tail(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F)) return 0;
    return tail(1) && tail(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    if ((lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F)) return 0;
    return tail(1) && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

inline void append_utf8(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t b) { out += static_cast<char>(static_cast<unsigned char>(b)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6), put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 0x3F)), put(0x80 | (code >> 6 & 0x3F)), put(0x80 | (code & 0x3F));
  }
}

template <class Handler>
class JsonReader {
 public:
  JsonReader(std::string_view text, Handler& handler, std::string_view where, JsonLimits limits)
      : text_(text), handler_(handler), where_(where), limits_(limits) {}

  void read() {
    value();
    while (!open_.empty()) {
      skip_space();
      const bool object = open_.back() == '}';
      if (peek() == open_.back()) {  // the end of a container, empty or not
        ++at_;
        open_.pop_back();
        object ? handler_.end_object() : handler_.end_array();
        first_ = false;
        continue;
      }
      if (!first_) {
        take(',', object ? "',' or '}'" : "',' or ']'");
        skip_space();
      }
      first_ = false;
      if (object) {
        if (peek() != '"') fail("a name in quotes");
        handler_.key(string());
        skip_space();
        take(':', "':'");
        skip_space();
      }
      value();
    }
    skip_space();
    if (at_ != text_.size()) fail("the end of the text");
  }

 private:
  void value() {
    skip_space();
    switch (peek()) {
      case '{': open('}'); handler_.begin_object(); return;
      case '[': open(']'); handler_.begin_array(); return;
      case '"': handler_.string(string()); return;
      case 't': word("true"); handler_.boolean(true); return;
      case 'f': word("false"); handler_.boolean(false); return;
      case 'n': word("null"); handler_.null(); return;
      default: handler_.number(number()); return;
    }
  }

  void open(char closing) {
    if (open_.size() >= limits_.depth) {
      fail(str("at most ", limits_.depth, " levels (JsonLimits::depth)"));
    }
    ++at_;
    open_.push_back(closing);
    first_ = true;
  }

  void word(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected) fail(expected);
    at_ += expected.size();
  }

  std::string_view number() {
    const std::size_t start = at_;
    if (peek() == '-') ++at_;
    if (peek() == '0') {
      ++at_;
    } else if (!digits()) {
      fail("a value");
    }
    if (peek() == '.') {
      ++at_;
      if (!digits()) fail("a digit after the point");
    }
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      if (!digits()) fail("a digit of the exponent");
    }
    return text_.substr(start, at_ - start);
  }
  bool digits() {
    const std::size_t start = at_;
    while (peek() >= '0' && peek() <= '9') ++at_;
    return at_ != start;
  }

  // A string without escapes is a view of the text; one with escapes is decoded into `decoded_`.
  std::string_view string() {
    const std::size_t start = ++at_;
    bool decoding = false;
    while (true) {
      if (at_ >= text_.size()) fail("a closing quote");
      const char c = text_[at_];
      if (c == '"') break;
      if (static_cast<unsigned char>(c) < 0x20) fail("control characters escaped");
      if (c == '\\') {
        if (!decoding) decoded_.assign(text_.substr(start, at_ - start));
        decoding = true;
        escape();
      } else {
        const std::size_t n = utf8_length(text_.substr(at_));
        if (n == 0) fail("well-formed UTF-8");
        if (decoding) decoded_.append(text_, at_, n);
        at_ += n;
      }
      if ((decoding ? decoded_.size() : at_ - start) > limits_.string_bytes) {
        fail(str("a string of at most ", limits_.string_bytes, " bytes (JsonLimits::string_bytes)"));
      }
    }
    const std::string_view plain = text_.substr(start, at_ - start);
    ++at_;
    return decoding ? std::string_view(decoded_) : plain;
  }

  void escape() {
    ++at_;
    const char c = peek();
    constexpr std::string_view codes = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
    if (const auto i = codes.find(c); i != std::string_view::npos) {
      decoded_ += meanings[i];
      ++at_;
      return;
    }
    if (c != 'u') fail("an escape that JSON knows");
    ++at_;
    std::uint32_t code = hex4();
    if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_, 2) == "\\u") {
      at_ += 2;
      const std::uint32_t low = hex4();
      if (low < 0xDC00 || low > 0xDFFF) fail("the second half of a surrogate pair before it");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xD800 && code < 0xE000) {
      fail("a whole surrogate pair before it");
    }
    append_utf8(decoded_, code);
  }

  std::uint32_t hex4() {
    std::uint32_t code = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail("four hexadecimal digits");
      code = code << 4 | static_cast<std::uint32_t>(digit);
    }
    return code;
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() {
    while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') ++at_;
  }
  void take(char c, std::string_view needed) {
    if (peek() != c) fail(needed);
    ++at_;
  }

  [[noreturn]] void fail(std::string_view needed) const {
    std::string found = "the end of the text";
    if (at_ < text_.size()) {
      const auto c = static_cast<unsigned char>(text_[at_]);
      found = c >= 0x20 && c < 0x7F ? str('\'', text_[at_], '\'') : str("byte ", static_cast<int>(c));
    }
    throw DataError(str(where_, ": JSON, byte ", at_, ": found ", found, ", needed ", needed,
                        "; the text is damaged: fetch or write it again"));
  }

  std::string_view text_;
  Handler& handler_;
  std::string_view where_;
  JsonLimits limits_;
  std::size_t at_ = 0;
  std::string open_;      // the closing bracket of each container that is open
  bool first_ = true;     // nothing of the innermost container has been read yet
  std::string decoded_;
};

}  // namespace detail

/// Reads one JSON value, calling for each part in turn: begin_object(), key(string_view), end_object(),
/// begin_array(), end_array(), string(string_view), number(string_view) with the number as written,
/// boolean(bool), null(). Views live until the call returns. Repeated keys are the handler's to judge.
/// **Throws** DataError naming `where` and the byte; what the handler throws.
template <class Handler>
void read_json(std::string_view text, Handler& handler, std::string_view where, JsonLimits limits = {}) {
  detail::JsonReader<Handler>(text, handler, where, limits).read();
}

}  // namespace espalier
