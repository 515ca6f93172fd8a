// SPDX-License-Identifier: Apache-2.0
// What one output stream can show: animation, colour, UTF-8, how many columns. Decided per stream:
// results go to standard output, progress and notes to standard error, and either may be a file.
// Rules: NO_COLOR (non-empty) turns colour off, CLICOLOR_FORCE turns it on, --color beats both.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "espalier/error.hpp"

namespace espalier {

/// The user's --color.
enum class ColorMode { automatic, always, never };

/// "auto", "always" or "never". Throws PolicyError for anything else.
inline ColorMode parse_color_mode(std::string_view text) {
  if (text == "auto") return ColorMode::automatic;
  if (text == "always") return ColorMode::always;
  if (text == "never") return ColorMode::never;
  throw PolicyError(str("--color: found '", text, "'; needed auto, always or never. Leave it out for auto."));
}

/// What the system says about a stream; filled in by hand in tests.
struct StreamFacts {
  bool is_terminal = false;
  std::optional<std::size_t> columns = {};  // as the terminal reports them
  std::string term = {};                    // TERM
  std::string no_color = {};                // NO_COLOR
  std::string clicolor_force = {};          // CLICOLOR_FORCE
  std::string locale = {};                  // LC_ALL, else LC_CTYPE, else LANG
  bool operator==(const StreamFacts&) const = default;
};

/// What follows for output on that stream.
struct Terminal {
  bool interactive = false;  // lines may be redrawn
  bool color = false;        // escape sequences may be used
  bool utf8 = false;         // characters beyond ASCII may be used
  std::size_t width = 80;    // columns
  bool operator==(const Terminal&) const = default;
};

namespace detail {

inline bool names_utf8(std::string_view locale) {
  std::string letters;
  for (const char c : locale) {
    if (c == '@') break;  // a modifier follows the character set
    if (c >= 'a' && c <= 'z') letters += static_cast<char>(c - 'a' + 'A');
    else if (c != '-') letters += c;
  }
  return letters.size() >= 4 && letters.compare(letters.size() - 4, 4, "UTF8") == 0;
}

inline std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

}  // namespace detail

/// Facts to decisions. Pure.
inline Terminal decide(const StreamFacts& facts, ColorMode mode = ColorMode::automatic) {
  Terminal terminal;
  terminal.interactive = facts.is_terminal && facts.term != "dumb";
  terminal.utf8 = detail::names_utf8(facts.locale);
  if (facts.columns && *facts.columns > 0) terminal.width = *facts.columns;
  switch (mode) {
    case ColorMode::always: terminal.color = true; break;
    case ColorMode::never: terminal.color = false; break;
    case ColorMode::automatic:
      if (!facts.no_color.empty()) terminal.color = false;
      else if (!facts.clicolor_force.empty() && facts.clicolor_force != "0") terminal.color = true;
      else terminal.color = terminal.interactive;
  }
  return terminal;
}

/// Asks the system about a file descriptor: STDOUT_FILENO or STDERR_FILENO.
inline StreamFacts stream_facts(int descriptor) {
  StreamFacts facts;
  facts.is_terminal = ::isatty(descriptor) == 1;
  winsize size{};
  if (facts.is_terminal && ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) facts.columns = size.ws_col;
  facts.term = detail::environment("TERM");
  facts.no_color = detail::environment("NO_COLOR");
  facts.clicolor_force = detail::environment("CLICOLOR_FORCE");
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    facts.locale = detail::environment(name);
    if (!facts.locale.empty()) break;
  }
  return facts;
}

/// The decisions for standard output, where results go.
inline Terminal standard_output(ColorMode mode = ColorMode::automatic) {
  return decide(stream_facts(STDOUT_FILENO), mode);
}

/// The decisions for standard error, where progress, notes and warnings go.
inline Terminal standard_error(ColorMode mode = ColorMode::automatic) {
  return decide(stream_facts(STDERR_FILENO), mode);
}

/// Colour is decoration only: the text says the same without it.
enum class Style { bold, dim, red, green, yellow };

/// The text in a style where the terminal has colour, else the text.
inline std::string styled(const Terminal& terminal, Style style, std::string_view text) {
  if (!terminal.color) return std::string(text);
  constexpr std::string_view codes[] = {"\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m"};
  return str(codes[static_cast<std::size_t>(style)], text, "\x1b[0m");
}

/// Writes to a C stream and flushes, so that a line is seen when it is written. A reader that has gone away
/// is not an error here.
struct StreamSink {
  std::FILE* stream = stderr;
  void operator()(std::string_view text) const {
    std::fwrite(text.data(), 1, text.size(), stream);
    std::fflush(stream);
  }
};

}  // namespace espalier
