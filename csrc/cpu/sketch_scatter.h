// The inner loop of the sketch of a gradient: kLanes rows at once, each element added to the bucket of its column.
//
// A transpose in registers turns kLanes rows at one column into one vector, and adding that to its bucket is one
// aligned load, add and store: no gather and, since a run of columns never hits a bucket twice, no chain of dependent
// additions.
#pragma once

#include <cstdint>

#include "axis.h"
#include "simd.h"

namespace motive::cpu::MOTIVE_LEVEL {

// kLanes rows of a matrix, and where the rows that follow them begin: their cache lines are fetched meanwhile.
template <class T>
struct RowGroup {
  const T* rows[kLanes];
  const T* ahead[kLanes];
};

// Columns first .. first + count - 1 of a matrix, count padded with zero entries to a multiple of kLanes.
struct Columns {
  int64_t first, count;
  int32_t* bucket;
  uint32_t* sign;
};

// sums[(bucket of column + shift) mod k][lane] += column, for the kLanes x kLanes block of columns at j.
MOTIVE_INLINE void scatter_block(Vector (&r)[kLanes], const int32_t* bucket, VectorBits flip, uint32_t shift,
                                 uint32_t k, float* sums) {
  for (int lane = 0; lane < kLanes; ++lane) r[lane] = flip_sign(r[lane], flip);
  transpose(r);
  for (int column = 0; column < kLanes; ++column) {
    const uint32_t b = uint32_t(bucket[column]) + shift;
    float* to = sums + int64_t(b < k ? b : b - k) * kLanes;
    store(to, load(to) + r[column]);
  }
}

// sums [k][kLanes] += the rows, with every bucket moved by `shift` and every sign flipped by `flip_all` (bit 31).
template <class T>
void scatter_rows(const RowGroup<T>& group, const Columns& columns, uint32_t shift, uint32_t flip_all, uint32_t k,
                  float* sums) {
  constexpr int64_t kLine = 64 / sizeof(T);
  const VectorBits flip_rows = broadcast_bits(flip_all);
  const T* rows[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) rows[lane] = group.rows[lane];
  int64_t j = 0;
  for (; j + kLine <= columns.count; j += kLine) {
    for (int lane = 0; lane < kLanes; ++lane) __builtin_prefetch(group.ahead[lane] + j);
    for (int64_t c = j; c < j + kLine; c += kLanes) {
      Vector r[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) r[lane] = load(rows[lane] + c);
      scatter_block(r, columns.bucket + c, load_bits(columns.sign + c) ^ flip_rows, shift, k, sums);
    }
  }
  for (; j < columns.count; j += kLanes) {
    Vector r[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      float last[kLanes] = {};
      for (int64_t c = 0; c < kLanes && j + c < columns.count; ++c) last[c] = to_float(rows[lane][j + c]);
      r[lane] = load(last);
    }
    scatter_block(r, columns.bucket + j, load_bits(columns.sign + j) ^ flip_rows, shift, k, sums);
  }
}

// out[(m + shift[lane]) mod k] += factor[lane] * sums[m][lane] for every lane and bucket; sums becomes zero. `lines`
// holds kLanes * k floats meanwhile.
static inline void fold_lanes(float* sums, int64_t k, const int64_t* shift, const float* factor, int lanes,
                              int64_t out_stride, float* out, float* lines) {
  int64_t m = 0;
  for (; m + kLanes <= k; m += kLanes) {
    Vector r[kLanes];
    for (int j = 0; j < kLanes; ++j) {
      r[j] = load(sums + (m + j) * kLanes);
      store(sums + (m + j) * kLanes, Vector{});
    }
    transpose(r);
    for (int lane = 0; lane < kLanes; ++lane) store(lines + lane * k + m, r[lane]);
  }
  for (; m < k; ++m) {
    for (int lane = 0; lane < kLanes; ++lane) {
      lines[lane * k + m] = sums[m * kLanes + lane];
      sums[m * kLanes + lane] = 0.f;
    }
  }
  for (int lane = 0; lane < lanes; ++lane) {
    const float *low = lines + lane * k, *high = low + (k - shift[lane]);
    float* to = out + lane * out_stride;
    for (int64_t b = shift[lane]; b < k; ++b) to[b] += factor[lane] * low[b - shift[lane]];
    for (int64_t b = 0; b < shift[lane]; ++b) to[b] += factor[lane] * high[b];
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL
