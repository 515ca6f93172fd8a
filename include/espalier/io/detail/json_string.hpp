// SPDX-License-Identifier: Apache-2.0
// A string as JSON has it: in quotes, escaped. Values of io/json.hpp are written with it, and the headers of
// safetensors files.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <espalier/error.hpp>
#include <espalier/io/json_reader.hpp>

namespace espalier::detail {

/// Appends `text` in quotes, escaping what JSON demands and no more (the form serde_json writes).
inline void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    constexpr std::string_view special = "\"\\\b\f\n\r\t", letters = "\"\\bfnrt";
    if (const auto k = special.find(c); k != std::string_view::npos) {
      out += '\\';
      out += letters[k];
      ++i;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      constexpr std::string_view hex = "0123456789abcdef";
      out += "\\u00";
      out += hex[static_cast<unsigned char>(c) >> 4];
      out += hex[static_cast<unsigned char>(c) & 15];
      ++i;
    } else {
      const std::size_t n = utf8_length(text.substr(i));
      if (n == 0) throw DataError(str("a JSON string: found byte ", static_cast<int>(static_cast<unsigned char>(c)),
                                      " at ", i, ", needed UTF-8; encode the text first"));
      out.append(text, i, n);
      i += n;
    }
  }
  out += '"';
}

}  // namespace espalier::detail
