// SPDX-License-Identifier: Apache-2.0
// How products are cut into blocks for threads and pieces for caches: by the shape alone, so that every number of threads
// gives the same bits.
#pragma once

#include <algorithm>

#include <espalier/backend/detail/tile.hpp>
#include <espalier/backend/geometry.hpp>

namespace espalier::detail {

/// How a product is cut: blocks of C, pieces of the sum for each, and steps of the sum in cache at once.
struct GemmBlocks {
  Index block_rows = 0, block_columns = 0;
  Index splits = 1;
  Index k_step = 0;

  /// `tall` blocks have up to three times the rows: fewer of them read the same columns of B.
  explicit GemmBlocks(const GemmShape& s, bool tall = false) {
    const Index most_rows = (tall ? 24 : 8) * tile_rows;   // of A in cache, packed
    const Index affordable = 1 + s.m * s.n * s.k / 65536;  // a block should outlast its start
    const Index wanted = std::min<Index>(16, affordable);  // blocks: enough for 8 threads
    Index row_blocks = ceil_div(s.m, most_rows), column_blocks = 1;
    while (row_blocks * column_blocks < wanted) {
      const Index rows = ceil_div(s.m, row_blocks), columns = ceil_div(s.n, column_blocks);
      if (rows <= tile_rows && columns <= tile_columns) break;
      if (rows * tile_columns >= 2 * columns * tile_rows) ++row_blocks; else ++column_blocks;
      if (column_blocks > ceil_div(s.n, tile_columns)) { --column_blocks; break; }
    }
    block_rows = std::min(round_up(ceil_div(s.m, row_blocks), tile_rows), most_rows);
    block_columns = round_up(ceil_div(s.n, column_blocks), tile_columns);
    const Index blocks = ceil_div(s.m, block_rows) * ceil_div(s.n, block_columns);
    if (blocks < wanted && s.k >= 1024) splits = std::min(ceil_div(wanted, blocks), s.k / 512);
    // Of few rows, B is what costs. A thread that takes a range of its rows finds them in its cache: their gradients
    // and updates are cut that way too.
    if (s.m <= 5 * tile_rows && s.k >= 512 && 12 * s.m <= s.k && affordable >= 64) splits = std::max<Index>(splits, 4);
    k_step = std::max<Index>(1, Pieces::at_most(ceil_div(s.k, splits), 384).size(0));
  }
};

/// How a product is cut. If several blocks of columns are wanted anyway, an A that must be packed is packed once for all
/// of them, and taller blocks read B fewer times; where one block takes all columns, it packs the rows that it reads. How
/// the sum is cut does not depend on that.
inline GemmBlocks gemm_blocks(const GemmShape& s) {
  const GemmBlocks flat(s);
  if (flat.block_columns >= s.n) return flat;
  GemmBlocks tall(s, true);
  tall.splits = flat.splits;
  tall.k_step = flat.k_step;
  return tall;
}

}  // namespace espalier::detail
