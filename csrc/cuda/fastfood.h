// Tiled Fastfood: the work of one block of threads, between its barriers.
//
// A block takes a few tiles of one sample, each through signs, Hadamard transform and Gaussian factors in shared
// memory, and adds them up position by position; the labels are the same for every tile, so positions are put into
// buckets once, after the sum over blocks. One more transform, of the buckets, ends it.
#pragma once

#include "motive/cuda/fastfood.h"
#include "random.h"
#include "reduce.h"

namespace motive::cuda::tiled {

constexpr int kThreads = 512;
constexpr int kFoldBuckets = 32, kFoldParts = 8;  // of a block that puts positions into buckets
constexpr uint32_t kRoleSigns = 0, kRoleFactors = 1;
constexpr int64_t kFewestTiles = 4, kMostUnits = 128;

static inline void check_device(const Fastfood& a) {
  const char* where = "fastfood_into";
  check_size(where, "samples", a.samples, 0);
  check_size(where, "columns", a.columns, 0);
  check_size(where, "dim", a.dim, 1);
  if ((a.dim & (a.dim - 1)) != 0 || (a.tile & (a.tile - 1)) != 0 || a.tile < a.dim || a.tile > kMaxFastfoodTile) {
    fail(where, "dim and tile", "powers of two, tile in dim .. 32768",
         std::to_string(a.dim) + " and " + std::to_string(a.tile), "choose others");
  }
  if (a.samples == 0 || a.columns == 0) return;
  check_pointer(where, "z", a.z);
  check_pointer(where, "grad", a.grad);
  check_pointer(where, "labels", a.labels);
}

struct Cut {
  int64_t tiles, unit_tiles, units;
};

static inline Cut cut_of(const Fastfood& a) {
  Cut cut;
  cut.tiles = ceil_div(a.columns, a.tile);
  const int64_t even = ceil_div(cut.tiles, kMostUnits);
  cut.unit_tiles = even > kFewestTiles ? even : kFewestTiles;
  cut.units = ceil_div(cut.tiles, cut.unit_tiles);
  return cut;
}

// Working memory: sums [samples, units, tile], those of groups of them, then buckets [samples, dim].
static inline int64_t workspace_floats(const Fastfood& a) {
  const int64_t units = cut_of(a).units;
  return a.samples * units * a.tile + reduction_floats(a.samples, units, a.tile) + a.samples * a.dim;
}

// Sign bits of a tile, whole Philox blocks.
MOTIVE_HOST_DEVICE static inline int sign_words(int tile) { return (tile + 127) / 128 * 4; }

static inline int64_t shared_bytes(int64_t tile) { return 4 * (tile + sign_words(int(tile))); }

// Phase 1: the tile's sign bits.
MOTIVE_HOST_DEVICE static inline void make_signs(const Fastfood& a, int64_t tile, uint32_t* signs, int thread) {
  for (int block = thread; block < sign_words(int(a.tile)) / 4; block += kThreads) {
    const PhiloxBlock words = matrix_words({{a.key0, a.key1}}, tile, block, kRoleSigns);
    for (int w = 0; w < 4; ++w) signs[4 * block + w] = words.words[w];
  }
}

// Phase 2, after a barrier: the tile's values with their signs, zeros beyond the end.
template <class T>
MOTIVE_HOST_DEVICE static inline void load_tile(const Fastfood& a, int64_t sample, int64_t tile, const uint32_t* signs,
                                                float* values, int thread) {
  const int64_t first = tile * a.tile;
  const T* const grad = static_cast<const T*>(a.grad) + sample * a.sample_stride + first;
  const int count = int(smaller(a.tile, a.columns - first));
  for (int j = thread; j < a.tile; j += kThreads) {
    const float value = j < count ? element<T>(load_once<T, 1>(grad + j).words[0], 0) : 0.0f;
    values[j] = with_sign(value, signs[j / 32], j % 32);
  }
}

// One pass of a Hadamard transform, after a barrier: 2^Log values at distances of `half` each.
template <int Log>
MOTIVE_HOST_DEVICE static inline void hadamard_pass(float* values, int length, int half, int thread) {
  constexpr int R = 1 << Log;
  for (int g = thread; g < length / R; g += kThreads) {
    float* const v = values + g / half * (half * R) + g % half;
    float x[R];
#pragma unroll
    for (int r = 0; r < R; ++r) x[r] = v[r * half];
#pragma unroll
    for (int h = 1; h < R; h *= 2) {
#pragma unroll
      for (int r = 0; r < R; ++r) {
        if (r & h) continue;
        const float low = x[r], high = x[r + h];
        x[r] = low + high;
        x[r + h] = low - high;
      }
    }
#pragma unroll
    for (int r = 0; r < R; ++r) v[r * half] = x[r];
  }
}

// log2 of the radix of the pass at distance `half`.
MOTIVE_HOST_DEVICE static inline int log_radix(int length, int half) {
  return length / half >= 8 ? 3 : length / half >= 4 ? 2 : 1;
}

MOTIVE_HOST_DEVICE static inline void hadamard_pass(float* values, int length, int half, int thread) {
  switch (log_radix(length, half)) {
    case 3: return hadamard_pass<3>(values, length, half, thread);
    case 2: return hadamard_pass<2>(values, length, half, thread);
    default: return hadamard_pass<1>(values, length, half, thread);
  }
}

// Last phase of a tile, after a barrier: its factors, added to the block's sums [tile]. A barrier follows.
MOTIVE_HOST_DEVICE static inline void add_tile(const Fastfood& a, int64_t tile, bool first, const float* values,
                                               float* sums, int thread) {
  for (int block = thread; block < (a.tile + 3) / 4; block += kThreads) {
    float factors[4];
    normals(matrix_words({{a.key0, a.key1}}, tile, block, kRoleFactors), factors);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int j = 4 * block + e;
      if (j < a.tile) sums[j] = (first ? 0.0f : sums[j]) + factors[e] * values[j];
    }
  }
}

// A thread's part of a bucket: positions of its part of the tile that are labelled so, summed over at most one group of
// units. Thread = part * kFoldBuckets + bucket.
MOTIVE_HOST_DEVICE static inline float fold_part(const Fastfood& a, const float* sums, int64_t count, int64_t sample,
                                                 int64_t first_bucket, int thread) {
  const int64_t bucket = first_bucket + thread % kFoldBuckets, part = thread / kFoldBuckets;
  const int64_t length = (a.tile + kFoldParts - 1) / kFoldParts;
  float sum = 0.0f;
  for (int64_t j = part * length; j < smaller((part + 1) * length, a.tile); ++j) {
    if (load_table(a.labels + j) == bucket) sum += group_sum(sums + sample * count * a.tile + j, a.tile, 0, count);
  }
  return sum;
}

}  // namespace motive::cuda::tiled
