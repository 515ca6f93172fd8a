// SPDX-License-Identifier: Apache-2.0
// Text made safe for HTML, XML and CSV. Every string that reaches a report goes through one of these:
// layer names and paths come from files that others wrote.
#pragma once

#include <string>
#include <string_view>

#include "espalier/report/detail/utf8.hpp"

namespace espalier::detail {

/// For element content and for attribute values in double quotes, in HTML and in XML. Characters that XML
/// does not allow, and invalid bytes, become '?'; tabs and line ends stay.
inline std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint point = decode_utf8(text);
    const char32_t c = point.value;
    const bool allowed =
        point.valid && (c >= 0x20 || c == '\n' || c == '\t') && c != 0x7F && c != 0xFFFE && c != 0xFFFF;
    if (!allowed) out += '?';
    else if (c == '&') out += "&amp;";
    else if (c == '<') out += "&lt;";
    else if (c == '>') out += "&gt;";
    else if (c == '"') out += "&quot;";
    else if (c == '\'') out += "&#39;";
    else out += text.substr(0, point.bytes);
    text.remove_prefix(point.bytes);
  }
  return out;
}

/// One CSV field as RFC 4180 says: quoted where it holds a comma, a quote or a line end.
inline std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

}  // namespace espalier::detail
