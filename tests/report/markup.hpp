// SPDX-License-Identifier: Apache-2.0
// Reads back the markup that the report writes: are its elements closed in order, where does its text stand?
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "espalier/report/detail/drawing.hpp"

namespace markup {

struct Element {
  std::string name;
  std::string attributes;
  std::string text;  // directly inside
  bool has(std::string_view what) const { return attributes.find(what) != std::string::npos; }
  std::string attribute(std::string_view key) const {
    const std::string start = " " + std::string(key) + "=\"";
    const auto from = attributes.find(start);
    if (from == std::string::npos) return {};
    const auto begin = from + start.size();
    return attributes.substr(begin, attributes.find('"', begin) - begin);
  }
  double number(std::string_view key) const { return std::strtod(attribute(key).c_str(), nullptr); }
};

/// All elements in the order in which they begin. `fault` says what is not well-formed; empty: nothing.
inline std::vector<Element> parse(std::string_view text, std::string& fault) {
  std::vector<Element> elements;
  std::vector<std::size_t> open;
  fault.clear();
  while (!text.empty() && fault.empty()) {
    const auto tag = text.find('<');
    if (tag == std::string_view::npos) {
      if (text.find_first_not_of('\n') != std::string_view::npos) fault = "text after the last element";
      break;
    }
    if (!open.empty()) elements[open.back()].text += text.substr(0, tag);
    text.remove_prefix(tag + 1);
    const bool style = !open.empty() && elements[open.back()].name == "style" && text.front() != '/';
    if (style) { fault = "'<' inside a style"; break; }
    const auto end = text.find('>');
    if (end == std::string_view::npos) { fault = "a tag without an end"; break; }
    std::string_view inside = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (inside.front() == '!') continue;
    if (inside.front() == '/') {
      if (open.empty() || elements[open.back()].name != inside.substr(1)) {
        fault = "</" + std::string(inside.substr(1)) + "> closes nothing";
        break;
      }
      open.pop_back();
      continue;
    }
    const bool empty = inside.back() == '/';
    if (empty) inside.remove_suffix(1);
    const auto space = inside.find_first_of(" \n");
    Element element;
    element.name = inside.substr(0, space);
    if (space != std::string_view::npos) element.attributes = inside.substr(space);
    std::size_t quotes = 0;
    for (const char c : element.attributes) quotes += c == '"';
    if (quotes % 2 == 1 || element.attributes.find('<') != std::string::npos)
      fault = "broken attributes in <" + element.name + ">";
    elements.push_back(element);
    if (!empty && element.name != "meta") open.push_back(elements.size() - 1);
  }
  if (fault.empty() && !open.empty()) fault = "<" + elements[open.back()].name + "> is not closed";
  return elements;
}

/// A rectangle that may be turned: its corners in order.
struct Box {
  double x[4] = {}, y[4] = {};
  std::string text;
};

/// Where a <text> element stands at most, by the estimate that the charts are laid out with.
inline Box box_of(const Element& element) {
  const double size = element.has("ec-small") ? 10 : element.has("ec-title") ? 15 : 12;
  std::string plain = element.text;
  for (const auto& [code, c] : {std::pair{"&lt;", "<"}, std::pair{"&gt;", ">"}, std::pair{"&amp;", "&"},
                                std::pair{"&quot;", "\""}, std::pair{"&#39;", "'"}}) {
    for (std::size_t at; (at = plain.find(code)) != std::string::npos;)
      plain.replace(at, std::string_view(code).size(), c);
  }
  const double width = espalier::detail::text_width(plain, size);
  const std::string anchor = element.attribute("text-anchor");
  const double x = element.number("x"), y = element.number("y");
  const double left = anchor == "end" ? x - width : anchor == "middle" ? x - width / 2 : x;
  Box box{{left, left + width, left + width, left},
          {y - 0.75 * size, y - 0.75 * size, y + 0.2 * size, y + 0.2 * size},
          element.text};
  const std::string turn = element.attribute("transform");
  if (turn.empty()) return box;
  const double angle = std::strtod(turn.c_str() + 7, nullptr) * std::acos(-1.0) / 180;
  for (int i = 0; i < 4; ++i) {
    const double dx = box.x[i] - x, dy = box.y[i] - y;
    box.x[i] = x + dx * std::cos(angle) - dy * std::sin(angle);
    box.y[i] = y + dx * std::sin(angle) + dy * std::cos(angle);
  }
  return box;
}

/// Whether two rectangles share an area: no edge direction of either separates them.
inline bool overlap(const Box& a, const Box& b) {
  for (const Box* one : {&a, &b}) {
    for (int edge = 0; edge < 2; ++edge) {
      const double nx = one->y[edge + 1] - one->y[edge], ny = one->x[edge] - one->x[edge + 1];
      double low[2] = {1e300, 1e300}, high[2] = {-1e300, -1e300};
      for (int k = 0; k < 2; ++k) {
        const Box& box = k == 0 ? a : b;
        for (int i = 0; i < 4; ++i) {
          const double d = box.x[i] * nx + box.y[i] * ny;
          low[k] = std::fmin(low[k], d);
          high[k] = std::fmax(high[k], d);
        }
      }
      if (high[0] <= low[1] || high[1] <= low[0]) return false;
    }
  }
  return true;
}

/// Everything that is wrong with the layout of a chart; empty where all is well.
inline std::string layout_faults(const std::string& svg) {
  std::string fault;
  const std::vector<Element> elements = parse(svg, fault);
  if (!fault.empty()) return fault;
  double view[4] = {};
  const std::string box_text = elements.front().attribute("viewBox");
  const char* rest = box_text.c_str();
  for (double& v : view) { char* end = nullptr; v = std::strtod(rest, &end); rest = end; }
  std::vector<Box> boxes;
  for (const Element& element : elements) {
    if (element.attributes.find("nan") != std::string::npos || element.attributes.find("inf") != std::string::npos)
      return "nan or inf in <" + element.name + ">";
    if (element.name == "text" && !element.text.empty()) boxes.push_back(box_of(element));
    if (element.name != "rect" || !element.has("ec-bar")) continue;
    if (element.number("height") < 0 || element.number("width") <= 0) return "a bar of no size";
    if (element.number("x") < view[0] || element.number("x") + element.number("width") > view[0] + view[2])
      return "a bar outside";
  }
  for (std::size_t i = 0; i < boxes.size(); ++i) {
    for (int k = 0; k < 4; ++k) {
      const bool inside = boxes[i].x[k] >= view[0] - 0.5 && boxes[i].x[k] <= view[0] + view[2] + 0.5 &&
                          boxes[i].y[k] >= view[1] - 0.5 && boxes[i].y[k] <= view[1] + view[3] + 0.5;
      if (!inside) return "'" + boxes[i].text + "' leaves the drawing";
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (overlap(boxes[i], boxes[j])) return "'" + boxes[i].text + "' and '" + boxes[j].text + "' overlap";
    }
  }
  return {};
}

}  // namespace markup
