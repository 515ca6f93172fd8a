// SPDX-License-Identifier: Apache-2.0
// Charts as SVG text: LineChart and BarChart are values; to_svg() draws them, to_csv() gives the data behind
// the drawing. No scripts, no fonts and no files from elsewhere; light, dark and paper by CSS.
#pragma once

#include "espalier/report/bar_chart.hpp"
#include "espalier/report/line_chart.hpp"
