// The inner part of a matrix product over packed panels, C[m, n] = sum_t A[t, m] B[t, n] in float.
//
// The caller fills panels (by a gather, a random generator, a plain copy) and takes finished tiles, so neither A, B nor
// C has to exist in memory as a whole:
//   A panel: [depth][kTileRows],    element [t][m] of kTileRows adjacent columns m of A
//   B panel: [depth][kTileColumns], element [t][n] of kTileColumns adjacent columns n of B
// Both may be padded with zeros. Depth about 256 keeps a B panel in the first-level cache.
#pragma once

#include <cstdint>

#include "axis.h"
#include "simd.h"

namespace motive::cpu::MOTIVE_LEVEL {

// As many accumulators as the register file holds beside one row of B: 12 of 16, or 28 of 32.
#if defined(__AVX512F__)
constexpr int kTileRows = 14;
#elif defined(__aarch64__)
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;
#endif
constexpr int kTileVectors = 2;
constexpr int kTileColumns = kTileVectors * kLanes;
constexpr int64_t kPanelDepth = 256;

// Floats that the panels of `columns` columns take, for tiles of `width` of them.
static inline int64_t panel_size(int64_t columns, int64_t width, int64_t depth) {
  return ceil_div(columns, width) * width * depth;
}

// tile = A panel^T B panel.
MOTIVE_INLINE void multiply_tile(int64_t depth, const float* a, const float* b,
                                 Vector (&tile)[kTileRows][kTileVectors]) {
  Vector sum[kTileRows][kTileVectors] = {};
  for (int64_t t = 0; t < depth; ++t, a += kTileRows, b += kTileColumns) {
    const Vector b0 = load(b), b1 = load(b + kLanes);
#pragma GCC unroll 14
    for (int m = 0; m < kTileRows; ++m) {
      const Vector value = broadcast(a[m]);
      sum[m][0] += value * b0;
      sum[m][1] += value * b1;
    }
  }
#pragma GCC unroll 14
  for (int m = 0; m < kTileRows; ++m) {
    tile[m][0] = sum[m][0];
    tile[m][1] = sum[m][1];
  }
}

// Every tile of the product of all panels of A and all panels of B: consume(m0, n0, tile) with the first column of A
// and of B that the tile belongs to. Blocks of A panels stay in the second-level cache while B passes by.
template <class Consume>
MOTIVE_INLINE void multiply_panels(int64_t a_columns, int64_t b_columns, int64_t depth, const float* a_panels,
                                   const float* b_panels, Consume&& consume) {
  constexpr int64_t kBlock = 16;
  const int64_t a_count = ceil_div(a_columns, kTileRows), b_count = ceil_div(b_columns, kTileColumns);
  for (int64_t first = 0; first < a_count; first += kBlock) {
    const int64_t last = first + kBlock < a_count ? first + kBlock : a_count;
    for (int64_t n = 0; n < b_count; ++n) {
      for (int64_t m = first; m < last; ++m) {
        Vector tile[kTileRows][kTileVectors];
        multiply_tile(depth, a_panels + m * kTileRows * depth, b_panels + n * kTileColumns * depth, tile);
        consume(m * kTileRows, n * kTileColumns, tile);
      }
    }
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL
