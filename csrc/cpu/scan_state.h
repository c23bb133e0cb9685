// State shared by the ways of scanning a store: queries in lanes, what a worker has found, and rows that are in cache.
#pragma once

#include "dot_tile.h"
#include "motive/scan.h"
#include "scratch.h"

namespace motive::cpu::MOTIVE_LEVEL {

constexpr int64_t kBlock = 4 * kTileRows;  // rows that are in cache at a time
constexpr int64_t kChunk = 40 * kBlock;    // rows of a task

MOTIVE_INLINE int any_lane(VectorInt mask) {
#if defined(__AVX512F__)
  return int(_mm512_test_epi32_mask((__m512i)mask, (__m512i)mask));
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)mask);
#elif defined(__SSE2__)
  return _mm_movemask_ps((__m128)mask);
#else
  int bits = 0;
  for (int lane = 0; lane < kLanes; ++lane) bits |= (mask[lane] & 1) << lane;
  return bits;
#endif
}

MOTIVE_INLINE VectorInt load_ints(const int32_t* from) { return (VectorInt)load_bits(from); }

// Whether every score is listed, so that the row is its place and threads need not agree on one.
static inline bool lists_everything(const Scan& a) {
  bool everything = !a.keep && a.capacity >= a.rows;
  for (int64_t q = 0; q < a.count; ++q) {
    everything = everything && a.low[q] == -__builtin_inff() && a.high[q] == __builtin_inff();
  }
  return everything;
}

// What a scan asks of each query, padded to whole vectors with queries that no score reaches.
struct Lanes {
  explicit Lanes(const Scan& a)
      : vectors(ceil_div(a.count, kLanes)),
        low(vectors * kLanes),
        high(vectors * kLanes),
        scales(vectors * kLanes),
        padding(vectors * kLanes),
        weights(vectors * kLanes),
        everything(lists_everything(a)) {
    for (int64_t q = 0; q < vectors * kLanes; ++q) {
      const bool real = q < a.count;
      low[q] = real ? a.low[q] : __builtin_inff();
      high[q] = real ? a.high[q] : __builtin_inff();
      scales[q] = real ? a.query_scales[q] : 0.f;
      padding[q] = real ? 0.f : -__builtin_inff();
      weights[q] = real ? (a.weights ? a.weights[q] : 1) : 0;
    }
  }

  int64_t vectors;
  Scratch<float> low, high, scales, padding;
  Scratch<int32_t> weights;
  bool everything;
};

// What one worker found so far, a lane for each query.
struct Tally {
  explicit Tally(int64_t lanes)
      : above(lanes),
        reached(lanes),
        lowest(lanes),
        highest(lanes),
        sum(lanes),
        count_above(lanes),
        count_reached(lanes) {
    for (int64_t q = 0; q < lanes; ++q) {
      above[q] = reached[q] = 0;
      count_above[q] = count_reached[q] = 0;
      lowest[q] = __builtin_inff();
      highest[q] = -__builtin_inff();
    }
  }
  // 32-bit lanes would overflow after 2^31 rows of one worker.
  void flush(int64_t lanes) {
    for (int64_t q = 0; q < lanes; ++q) {
      count_above[q] += above[q];
      count_reached[q] += reached[q];
      above[q] = reached[q] = 0;
    }
  }
  Scratch<int32_t> above, reached;
  Scratch<float> lowest, highest, sum;
  Scratch<int64_t> count_above, count_reached;
};

// The workers' tallies one after another: what they hold does not depend on their order.
class Tallies {
 public:
  Tallies(int64_t workers, int64_t lanes) : all_(workers), made_(0) {
    for (; made_ < workers; ++made_) new (&all_[made_]) Tally(lanes);
  }
  ~Tallies() {
    while (made_ > 0) all_[--made_].~Tally();
  }
  Tally& operator[](int64_t worker) { return all_[worker]; }

 private:
  Scratch<Tally> all_;
  int64_t made_;
};

// Rows of one block that are in cache.
struct Block {
  int64_t first, rows;
  int32_t votes[kBlock];
  float best[kBlock];
};

static inline void list(const Scan& a, bool everything, int64_t query, int64_t row, float score) {
  const int64_t place = everything ? row : __atomic_fetch_add(&a.listed[query], int64_t(1), __ATOMIC_RELAXED);
  if (place >= a.capacity) return;
  a.listed_scores[query * a.capacity + place] = score;
  a.listed_rows[query * a.capacity + place] = row;
}

static inline void broken(const Scan& a, int64_t row) {
  int64_t seen = __atomic_load_n(a.first_broken, __ATOMIC_RELAXED);
  while (row < seen &&
         !__atomic_compare_exchange_n(a.first_broken, &seen, row, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

// Part of the rows ahead of a block comes into cache while the block is at work: as many rows as a tile has.
static inline void prefetch_rows(const char* block, int64_t row_bytes, int64_t stride_bytes, int64_t first,
                                 int64_t count) {
  for (int64_t ahead = first; ahead < (first + kTileRows < count ? first + kTileRows : count); ++ahead) {
    const char* line = block + ahead * stride_bytes;
    for (int64_t byte = 0; byte < row_bytes; byte += 64) __builtin_prefetch(line + byte);
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL
