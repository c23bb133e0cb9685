// Products with a matrix of normal numbers, generated panel by panel and multiplied while it is in the cache.
#pragma once

#include <cstdint>

#include "column_parts.h"
#include "gemm.h"
#include "motive/dense_projection.h"
#include "philox_vector.h"

namespace motive::cpu::MOTIVE_LEVEL {

constexpr int64_t kNormalRows = 512;     // rows of a pass
constexpr int64_t kNormalColumns = 128;  // columns of a chunk: its part of the matrix stays in the second-level cache

// Panels [count][kTileColumns] of the rows first_row .. and the columns first .. first + count - 1, count a multiple
// of 4.
__attribute__((noinline)) static void normal_panels(const DenseProjection& a, int64_t first_row, int64_t rows,
                                                    int64_t first, int64_t count, float* panels) {
  const PhiloxKeys keys(a.key0, a.key1);
  for (int64_t row = 0; row < rows; row += kLanes) {
    float* to = panels + row / kTileColumns * kTileColumns * count + row % kTileColumns;
    for (int64_t column = 0; column < count; column += 4, to += 4 * kTileColumns) {
      VectorBits x[4] = {broadcast_bits(uint32_t((first + column) / 4)), lane_numbers() + uint32_t(first_row + row),
                         broadcast_bits(a.role), VectorBits{}};
      philox(x, keys);
      for (int pair = 0; pair < 2; ++pair) {
        Vector cosine, sine;
        box_muller(x[2 * pair], x[2 * pair + 1], cosine, sine);
        store(to + 2 * pair * kTileColumns, cosine);
        store(to + (2 * pair + 1) * kTileColumns, sine);
      }
    }
  }
}

// Panels [padded][kTileRows] of the samples, from columns 0 .. count - 1 of grad; zeros beyond either.
template <class T>
static inline void sample_panels(const T* grad, int64_t sample_stride, int64_t samples, int64_t count, int64_t padded,
                                 float* panels) {
  float row[kNormalColumns];
  for (int64_t s = 0; s < ceil_div(samples, kTileRows) * kTileRows; ++s) {
    to_float(grad + s * sample_stride, s < samples ? count : 0, padded, row);
    float* to = panels + s / kTileRows * kTileRows * padded + s % kTileRows;
    for (int64_t column = 0; column < padded; ++column) to[column * kTileRows] = row[column];
  }
}

// totals[s * rows + row] += sum over columns first .. last - 1, for rows first_row .. of at most kNormalRows.
template <class T>
static void add_gaussian(const DenseProjection& a, const T* grad, int64_t samples, int64_t first_row, int64_t rows,
                         int64_t first, int64_t last, float* totals) {
  const int64_t padded_rows = ceil_div(rows, kTileColumns) * kTileColumns;
  Scratch<float> matrix(padded_rows * kNormalColumns), x(panel_size(samples, kTileRows, kNormalColumns));
  Scratch<float> sums(panel_size(samples, kTileRows, padded_rows));
  memset(sums.get(), 0, size_t(panel_size(samples, kTileRows, padded_rows)) * sizeof(float));
  for (int64_t column = first; column < last; column += kNormalColumns) {
    const int64_t count = least(last - column, kNormalColumns);
    const int64_t padded = ceil_div(count, kLanes) * kLanes;
    normal_panels(a, first_row, padded_rows, column, padded, matrix.get());
    sample_panels(grad + column, a.sample_stride, samples, count, padded, x.get());
    multiply_panels(samples, padded_rows, padded, x.get(), matrix.get(),
                    [&](int64_t s, int64_t row, const Vector(&tile)[kTileRows][kTileVectors]) {
                      float* to = sums.get() + s * padded_rows + row;
                      for (int m = 0; m < kTileRows; ++m, to += padded_rows) {
                        store(to, load(to) + tile[m][0]);
                        store(to + kLanes, load(to + kLanes) + tile[m][1]);
                      }
                    });
  }
  for (int64_t s = 0; s < samples; ++s) {
    for (int64_t row = 0; row < rows; ++row) totals[s * rows + row] += sums[s * padded_rows + row];
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL
