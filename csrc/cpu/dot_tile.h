// Dot products of a few rows with a few vectors of queries, the queries in lanes.
//
// Rows and queries are 32-bit words: one float, or a pair of 16-bit integers. Rows lie one after another; the queries
// of a tile are packed as [words][vectors][kLanes].
#pragma once

#include <type_traits>

#include "common/features.h"
#include "gemm.h"

namespace motive::cpu::MOTIVE_LEVEL {

// Two products of 16-bit integers a lane, added to a 32-bit sum.
MOTIVE_INLINE VectorInt add_pairs(VectorInt sum, VectorInt a, VectorInt b) {
#if defined(__AVX512BW__)
  return sum + (VectorInt)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return sum + (VectorInt)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#elif defined(__SSE2__)
  return sum + (VectorInt)_mm_madd_epi16((__m128i)a, (__m128i)b);
#else
  return sum + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}

struct Pairs {
  using Sum = VectorInt;
  static constexpr int64_t kRun = INT64_MAX;  // integer sums need no breaks
  static MOTIVE_INLINE Sum add(Sum sum, VectorBits row, VectorBits queries) {
    return add_pairs(sum, (VectorInt)row, (VectorInt)queries);
  }
};

struct Floats {
  using Sum = Vector;
  static constexpr int64_t kRun = 128;  // sums of short runs lose less to rounding
  static MOTIVE_INLINE Sum add(Sum sum, VectorBits row, VectorBits queries) {
    return sum + from_bits(row) * from_bits(queries);
  }
};

// out[kTileRows][V] = the dot products of kTileRows rows, `stride` words apart, with V vectors of queries.
template <class Arithmetic, int V>
__attribute__((noinline)) static void dot_tile(int64_t words, const uint32_t* rows, int64_t stride,
                                               const uint32_t* queries, VectorBits* out) {
  typename Arithmetic::Sum total[kTileRows][V] = {};
  for (int64_t first = 0; first < words;) {
    const int64_t last = words - first > Arithmetic::kRun ? first + Arithmetic::kRun : words;
    typename Arithmetic::Sum sum[kTileRows][V] = {};
    for (int64_t t = first; t < last; ++t, queries += V * kLanes) {
      VectorBits column[V];
      for (int v = 0; v < V; ++v) column[v] = load_bits(queries + v * kLanes);
#pragma GCC unroll 14
      for (int m = 0; m < kTileRows; ++m) {
        const VectorBits row = broadcast_bits(rows[m * stride + t]);
        for (int v = 0; v < V; ++v) sum[m][v] = Arithmetic::add(sum[m][v], row, column[v]);
      }
    }
#pragma GCC unroll 14
    for (int m = 0; m < kTileRows; ++m) {
      for (int v = 0; v < V; ++v) total[m][v] += sum[m][v];
    }
    first = last;
  }
  for (int m = 0; m < kTileRows; ++m) {
    for (int v = 0; v < V; ++v) out[m * V + v] = (VectorBits)total[m][v];
  }
}

#if !defined(MOTIVE_TARGET_VNNI)
#define MOTIVE_TARGET_VNNI __attribute__((target("avx512vnni")))
#endif

#if defined(__AVX512BW__)
// The same as dot_tile<Pairs, V>, multiplying and adding in one instruction.
template <int V>
MOTIVE_TARGET_VNNI __attribute__((noinline)) static void dot_tile_vnni(int64_t words, const uint32_t* rows,
                                                                       int64_t stride, const uint32_t* queries,
                                                                       VectorBits* out) {
  __m512i sum[kTileRows][V];
#pragma GCC unroll 14
  for (int m = 0; m < kTileRows; ++m) {
    for (int v = 0; v < V; ++v) sum[m][v] = _mm512_setzero_si512();
  }
  for (int64_t t = 0; t < words; ++t, queries += V * kLanes) {
    __m512i column[V];
    for (int v = 0; v < V; ++v) column[v] = _mm512_loadu_si512(queries + v * kLanes);
#pragma GCC unroll 14
    for (int m = 0; m < kTileRows; ++m) {
      const __m512i row = _mm512_set1_epi32(int32_t(rows[m * stride + t]));
      for (int v = 0; v < V; ++v) sum[m][v] = _mm512_dpwssd_epi32(sum[m][v], row, column[v]);
    }
  }
#pragma GCC unroll 14
  for (int m = 0; m < kTileRows; ++m) {
    for (int v = 0; v < V; ++v) out[m * V + v] = (VectorBits)sum[m][v];
  }
}
#endif

using DotTile = void (*)(int64_t words, const uint32_t* rows, int64_t stride, const uint32_t* queries, VectorBits* out);

// The tile function for V vectors of queries.
template <class Arithmetic, int V>
static inline DotTile dot_tile_of() {
#if defined(__AVX512BW__)
  if (std::is_same<Arithmetic, Pairs>::value && has_vnni()) return dot_tile_vnni<V>;
#endif
  return dot_tile<Arithmetic, V>;
}

}  // namespace motive::cpu::MOTIVE_LEVEL
