// Sums over the columns of flattened gradients, split into parts that threads take one at a time.
#pragma once

#include <cstdint>

#include "axis.h"
#include "common/parallel.h"
#include "scratch.h"
#include "simd.h"

namespace motive::cpu::MOTIVE_LEVEL {

// A constant of the shape: results must not depend on the number of threads.
constexpr int64_t kMostParts = 128;
constexpr int64_t kMostSumsOfParts = 1 << 18;  // of one sample

// z[s, 0 .. rows - 1] += scale * sum over parts of sums[s, 0 .. rows - 1], where body(first, last, sums) adds the
// columns first .. last - 1 to sums [samples, rows], zero on entry. Parts begin at multiples of `grain` columns.
template <class Body>
void add_column_parts(float* z, int64_t z_stride, int64_t samples, int64_t rows, int64_t columns, int64_t grain,
                      float scale, int threads, Body&& body) {
  const int64_t grains = ceil_div(columns, grain);
  const int64_t affordable = least(kMostParts, kMostSumsOfParts / rows + 1), parts = least(grains, affordable);
  const int64_t size = samples * rows;
  Scratch<float> sums(parts * size);
  parallel_for(parts, threads, [&](int64_t part) {
    const int64_t first = grains * part / parts * grain, end = grains * (part + 1) / parts * grain;
    float* mine = sums.get() + part * size;
    memset(mine, 0, size_t(size) * sizeof(float));
    body(first, least(end, columns), mine);
  });
  parallel_for(samples, parts * size < 1 << 20 ? 1 : threads, [&](int64_t s) {
    float* total = sums.get() + s * rows;
    for (int64_t part = 1; part < parts; ++part) {
      for (int64_t row = 0; row < rows; ++row) total[row] += total[part * size + row];
    }
    for (int64_t row = 0; row < rows; ++row) z[s * z_stride + row] += scale * total[row];
  });
}

// to[0 .. count - 1] = from[0 .. count - 1] as float, and zeros up to `padded`.
template <class T>
MOTIVE_INLINE void to_float(const T* from, int64_t count, int64_t padded, float* to) {
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) store(to + j, load(from + j));
  if (j < count) {
    T last[kLanes] = {};
    memcpy(last, from + j, size_t(count - j) * sizeof(T));
    store(to + j, load(last));
    j += kLanes;
  }
  for (; j < padded; ++j) to[j] = 0.f;
}

// block[j][s] = column j of sample s: kLanes columns of kLanes samples, zeros beyond `samples` and `count`.
template <class T>
MOTIVE_INLINE void load_transposed(const T* grad, int64_t sample_stride, int64_t samples, int64_t count,
                                   Vector (&block)[kLanes]) {
  if (samples >= kLanes && count >= kLanes) {
#pragma GCC unroll 16
    for (int s = 0; s < kLanes; ++s) block[s] = load(grad + s * sample_stride);
  } else {
    for (int s = 0; s < kLanes; ++s) {
      const bool present = s < samples && count > 0;
      if (present && count >= kLanes) {
        block[s] = load(grad + s * sample_stride);
      } else {
        T row[kLanes] = {};
        if (present) memcpy(row, grad + s * sample_stride, size_t(count) * sizeof(T));
        block[s] = load(row);
      }
    }
  }
  transpose(block);
}

}  // namespace motive::cpu::MOTIVE_LEVEL
