// Dense random projection: the work of one block of threads, one matrix row each, for a few samples and a range of
// columns. The matrix is generated once for those samples; their values come from shared memory.
#pragma once

#include "motive/dense_projection.h"
#include "random.h"

namespace motive::cuda::dense {

constexpr int kThreads = 256;  // rows of a block
constexpr int kSamples = 4;
constexpr int kStage = 128;  // columns in shared memory at a time: one Philox block of signs
constexpr int64_t kMostUnits = 512, kFewestColumns = 2048;

// Columns of a block, a multiple of kStage, and blocks along the columns.
static inline int64_t columns_of_unit(int64_t columns) {
  const int64_t even = ceil_div(ceil_div(columns, kMostUnits), kStage) * kStage;
  return even > kFewestColumns ? even : kFewestColumns;
}
static inline int64_t units_of(const DenseProjection& a) { return ceil_div(a.columns, columns_of_unit(a.columns)); }

struct Grid {
  int64_t unit_columns, units, row_tiles, sample_tiles;
};

static inline Grid grid_of(const DenseProjection& a) {
  return {columns_of_unit(a.columns), units_of(a), ceil_div(a.dim, kThreads), ceil_div(a.samples, kSamples)};
}

struct alignas(16) Values {
  float of[kSamples];
};

// A block's place: its row tiles are neighbours, so that they share the gradient in the second-level cache.
struct Place {
  int64_t first_sample, first_row, unit, first_column, last_column;
};

MOTIVE_HOST_DEVICE static inline Place place_of(const DenseProjection& a, const Grid& grid, int64_t block) {
  Place place;
  place.first_row = block % grid.row_tiles * kThreads;
  place.unit = block / grid.row_tiles % grid.units;
  place.first_sample = block / grid.row_tiles / grid.units * kSamples;
  place.first_column = place.unit * grid.unit_columns;
  place.last_column = smaller(place.first_column + grid.unit_columns, a.columns);
  return place;
}

// Phase 1: kStage columns of the samples, zeros beyond either.
template <class T>
MOTIVE_HOST_DEVICE static inline void stage(const DenseProjection& a, const Place& place, int64_t column,
                                            Values* values, int thread) {
  for (int j = thread; j < kStage * kSamples; j += kThreads) {
    const int s = j / kStage, c = j % kStage;
    const int64_t sample = place.first_sample + s;
    float value = 0.0f;
    if (sample < a.samples && column + c < place.last_column) {
      const T* const address = static_cast<const T*>(a.grad) + sample * a.sample_stride + column + c;
      value = element<T>(load_once<T, 1>(address).words[0], 0);
    }
    values[c].of[s] = value;
  }
}

// Phase 2, after a barrier: a thread's row times the staged columns. A barrier follows.
MOTIVE_HOST_DEVICE static inline void add_signs(const DenseProjection& a, const Place& place, int64_t column,
                                                const Values* values, int thread, float (&sums)[kSamples]) {
  const PhiloxBlock words = matrix_words({{a.key0, a.key1}}, place.first_row + thread, column / kStage, a.role);
#pragma unroll
  for (int w = 0; w < 4; ++w) {
#pragma unroll 8
    for (int bit = 0; bit < 32; ++bit) {
      const Values x = values[32 * w + bit];
#pragma unroll
      for (int s = 0; s < kSamples; ++s) sums[s] += with_sign(x.of[s], words.words[w], bit);
    }
  }
}

MOTIVE_HOST_DEVICE static inline void add_normals(const DenseProjection& a, const Place& place, int64_t column,
                                                  const Values* values, int thread, float (&sums)[kSamples]) {
#pragma unroll 1
  for (int c = 0; c < kStage && column + c < place.last_column; c += 4) {
    float entries[4];
    normals(matrix_words({{a.key0, a.key1}}, place.first_row + thread, (column + c) / 4, a.role), entries);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const Values x = values[c + e];
#pragma unroll
      for (int s = 0; s < kSamples; ++s) sums[s] += entries[e] * x.of[s];
    }
  }
}

// The end: a row of each sample's partial vector [samples, units, dim].
MOTIVE_HOST_DEVICE static inline void write(const DenseProjection& a, const Grid& grid, const Place& place,
                                            float* partials, int thread, const float (&sums)[kSamples]) {
  const int64_t row = place.first_row + thread;
  if (row >= a.dim) return;
  for (int s = 0; s < kSamples && place.first_sample + s < a.samples; ++s) {
    partials[((place.first_sample + s) * grid.units + place.unit) * a.dim + row] = a.scale * sums[s];
  }
}

}  // namespace motive::cuda::dense
