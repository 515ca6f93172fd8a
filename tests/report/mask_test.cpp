// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <espalier/backend/reference.hpp>
#include <espalier/models/mlp.hpp>
#include <espalier/prune/unstructured.hpp>
#include <espalier/report/mask.hpp>

using namespace espalier;

namespace mask_test {

TEST_CASE("a mask's table has a row a layer and one for all: LeNet-300-100 after a round of the lottery paper") {
  Reference b;
  const models::Mlp<Reference> net(b, models::lenet_300_100, Rng(1));
  const Table table = mask_table(LayerMagnitude{.remove = 0.2, .layers = {{"fc3", 0.1}}}.first(b, net));
  CHECK(to_text(table, 80, false) ==
        "layer  weights    alive  density\n"
        "--------------------------------\n"
        "fc1    235,200  188,160   80.00%\n"
        "fc2     30,000   24,000   80.00%\n"
        "fc3      1,000      900   90.00%\n"
        "total  266,200  213,060   80.04%\n");
  CHECK(to_csv(table) ==
        "layer,weights,alive,density\n"
        "fc1,235200,188160,0.8\n"
        "fc2,30000,24000,0.8\n"
        "fc3,1000,900,0.9\n"
        "total,266200,213060,0.8003756574004508\n");
}

TEST_CASE("a parameter that is no layer's weight keeps its path; a mask that names nothing has a total alone") {
  MaskPart part = MaskPart::ones("attention.in_proj_weight", {3, 2});
  part.kill(1);
  const Table table = mask_table(Mask({part, MaskPart::ones("none.weight", {0, 4})}));
  REQUIRE(table.rows.size() == 3);
  CHECK(table.rows[0][0].text == "attention.in_proj_weight");
  CHECK(table.rows[0][3].text == "83.33%");
  CHECK(table.rows[1][0].text == "none");
  CHECK(table.rows[1][3].text == "100.00%");
  CHECK(mask_table(Mask{}).rows == std::vector<std::vector<Cell>>{{"total", Cell::count(0), Cell::count(0), Cell::percent(1, 2)}});
}

}  // namespace mask_test
