// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <string>

#include "common/skip.hpp"
#include "espalier/report/detail/utf8.hpp"
#include "espalier/report/terminal.hpp"

using namespace espalier;

namespace terminal_test {

namespace {
const StreamFacts terminal{.is_terminal = true, .columns = 120, .term = "xterm-256color", .locale = "en_GB.UTF-8"};

StreamFacts with(void (*change)(StreamFacts&)) {
  StreamFacts facts = terminal;
  change(facts);
  return facts;
}
}  // namespace

TEST_CASE("a terminal animates, has colour, UTF-8 and its own width") {
  CHECK(decide(terminal) == Terminal{.interactive = true, .color = true, .utf8 = true, .width = 120});
}

TEST_CASE("a file has nothing of that, and 80 columns") {
  CHECK(decide(StreamFacts{}) == Terminal{.interactive = false, .color = false, .utf8 = false, .width = 80});
}

TEST_CASE("a dumb terminal is not redrawn") {
  const Terminal dumb = decide(with([](StreamFacts& f) { f.term = "dumb"; }));
  CHECK_FALSE(dumb.interactive);
  CHECK_FALSE(dumb.color);
}

TEST_CASE("NO_COLOR counts when it is not empty, CLICOLOR_FORCE unless NO_COLOR, --color above both") {
  CHECK(decide(with([](StreamFacts& f) { f.no_color = ""; })).color);
  CHECK_FALSE(decide(with([](StreamFacts& f) { f.no_color = "0"; })).color);
  CHECK_FALSE(decide(with([](StreamFacts& f) { f.no_color = "1"; f.clicolor_force = "1"; })).color);
  CHECK(decide(StreamFacts{.clicolor_force = "1"}).color);
  CHECK_FALSE(decide(StreamFacts{.clicolor_force = "0"}).color);
  CHECK_FALSE(decide(StreamFacts{.clicolor_force = ""}).color);
  CHECK(decide(StreamFacts{.no_color = "1"}, ColorMode::always).color);
  CHECK_FALSE(decide(terminal, ColorMode::never).color);
  CHECK_FALSE(decide(StreamFacts{.clicolor_force = "1"}, ColorMode::never).color);
}

TEST_CASE("colour on a file does not make it animated") {
  CHECK_FALSE(decide(StreamFacts{}, ColorMode::always).interactive);
}

TEST_CASE("the character set is read from the locale's name") {
  for (const char* name : {"C.UTF-8", "en_GB.utf8", "de_DE.UTF-8@euro", "UTF-8"}) {
    CAPTURE(name);
    CHECK(decide(StreamFacts{.locale = name}).utf8);
  }
  for (const char* name : {"", "C", "POSIX", "de_DE.ISO-8859-1", "en_GB", "en_GB.UTF-16"}) {
    CAPTURE(name);
    CHECK_FALSE(decide(StreamFacts{.locale = name}).utf8);
  }
}

TEST_CASE("a width of 0 is no width") { CHECK(decide(with([](StreamFacts& f) { f.columns = 0; })).width == 80); }

TEST_CASE("a pipe is not a terminal") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  CHECK_FALSE(stream_facts(ends[1]).is_terminal);
  CHECK_FALSE(stream_facts(ends[1]).columns);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("a pseudo-terminal is one, with the width that it was given") {
  const int master = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (master < 0 || ::grantpt(master) != 0 || ::unlockpt(master) != 0)
    return espalier::test::skip("no pseudo-terminals here");
  const int line = ::open(::ptsname(master), O_RDWR | O_NOCTTY);
  if (line < 0) return espalier::test::skip("no pseudo-terminals here");
  winsize size{};
  size.ws_col = 97;
  REQUIRE(::ioctl(line, TIOCSWINSZ, &size) == 0);
  CHECK(stream_facts(line).is_terminal);
  CHECK(stream_facts(line).columns == std::size_t{97});
  size.ws_col = 0;
  REQUIRE(::ioctl(line, TIOCSWINSZ, &size) == 0);
  CHECK_FALSE(stream_facts(line).columns);
  ::close(line);
  ::close(master);
}

TEST_CASE("--color takes three words") {
  CHECK(parse_color_mode("auto") == ColorMode::automatic);
  CHECK(parse_color_mode("always") == ColorMode::always);
  CHECK(parse_color_mode("never") == ColorMode::never);
  CHECK_THROWS_WITH_AS(parse_color_mode("yes"), doctest::Contains("auto, always or never"), PolicyError);
}

TEST_CASE("styled text is the text where there is no colour") {
  CHECK(styled(Terminal{}, Style::red, "x") == "x");
  CHECK(styled(Terminal{.color = true}, Style::red, "x") == "\x1b[31mx\x1b[0m");
}

TEST_CASE("columns of UTF-8 text: accents one, combining marks none, East Asian characters two") {
  CHECK(detail::display_width("abc") == 3);
  CHECK(detail::display_width("h\u00e9") == 2);
  CHECK(detail::display_width("he\u0301") == 2);
  CHECK(detail::display_width("\u526a\u679d") == 4);
  CHECK(detail::display_width("\U0001F333") == 2);
  CHECK(detail::display_width("a\xff\xc3") == 3);
  CHECK(detail::display_width("\xed\xa0\x80") == 3);      // a surrogate
  CHECK(detail::display_width("\xc0\xaf") == 2);          // an overlong '/'
  CHECK(detail::display_width("\xe0\x80\xaf") == 3);      // and a longer one
  CHECK(detail::display_width("\xf4\x90\x80\x80") == 4);  // beyond U+10FFFF
}

TEST_CASE("text is shortened to columns, not to bytes, and never inside a character") {
  CHECK(detail::shorten("abcdef", 6) == "abcdef");
  CHECK(detail::shorten("abcdefg", 6) == "abc...");
  CHECK(detail::shorten("\u526a\u679d\u526a\u679d", 6) == "\u526a...");
  CHECK(detail::shorten("abcdef", 2) == "..");
  CHECK(detail::shorten("abcdef", 0) == "");
}

TEST_CASE("control characters of a hostile name do not reach the terminal") {
  CHECK(detail::printable("a\x1b[2Jb\r\nc") == "a?[2Jb??c");
  CHECK(detail::printable("a\u202eb\u0085\x7f") == "a?b??");
  CHECK(detail::printable("\xffok\u00e9") == "?ok\u00e9");
  CHECK(detail::ascii("h\u00e9 e\u0301 \xff") == "h? e ?");
}

}  // namespace terminal_test
