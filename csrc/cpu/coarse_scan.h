// A scan of int8 vectors at twice the speed where few scores are near a bound: queries cut to int8 settle most rows.
//
// A query of 16-bit integers Q is D * c + e with small integers c and a rest e. For a row r of int8
//   |dot(r, Q) - D * dot(r, c)| <= |r| |e|   (Cauchy and Schwarz),
// so a score whose coarse value is further than that from both bounds lies where the coarse value lies. The others, a
// few in a thousand for the best rows of a store, are computed from Q as everywhere. What is found is therefore the
// same to the bit as without c.
//
// dot(r, c) is a sum of products of an unsigned byte, r + 128, and a signed one, of which vpmaddubsw adds pairs in 16
// bits. They are added up modulo 2^16 for kSteps words of four bytes, and then in 32 bits. c is so small that the true
// sum of r * c over such a run fits 16 bits, which makes the sum modulo 2^16 right: 127 |c|_1 < 2^15, and 128 times the
// sum of c is taken off by starting from it.
#pragma once

#include <cfloat>

#include "scan_state.h"

namespace motive::cpu::MOTIVE_LEVEL {

constexpr int64_t kNearLimit[2] = {2, 5};  // of 5 scores, 2: if more are near a bound, exact products are faster

#if defined(__AVX512BW__) || defined(__AVX2__)

// Whether a scan asks for nothing that takes every score exactly, and most scores are likely to be far from a bound.
static inline bool coarse_may_pay(const Scan& a) {
  // VNNI makes exact products at the same speed. Votes have too many scores near their bounds.
  if (a.votes || a.lowest || a.best || has_vnni()) return false;
  for (int64_t q = 0; q < a.count; ++q) {
    if (!(a.low[q] > -__builtin_inff())) return false;
  }
  return true;
}

constexpr int64_t kSteps = 12;       // words of a run: fewer need more additions, more leave less room for c
constexpr double kRunLimit = 255.;   // |c|_1 over a run of one 16-bit lane: 128 * 255 < 2^15
constexpr double kPairLimit = 128.;  // |c|_1 over the two products that vpmaddubsw adds: 255 * 128 < 2^15
constexpr double kByteLimit = 127.;
constexpr float kSmall = 1e-30f;  // factors and scores within these limits are rounded as floats are, or are so small
constexpr float kLarge = 1e30f;   // beside what is allowed for rounding that they do not matter; none overflows

// sum + r[2i] c[2i] + r[2i + 1] c[2i + 1] modulo 2^16, r unsigned.
MOTIVE_INLINE VectorInt add_bytes(VectorInt sum, VectorBits r, VectorBits c) {
#if defined(__AVX512BW__)
  return (VectorInt)_mm512_add_epi16((__m512i)sum, _mm512_maddubs_epi16((__m512i)r, (__m512i)c));
#else
  return (VectorInt)_mm256_add_epi16((__m256i)sum, _mm256_maddubs_epi16((__m256i)r, (__m256i)c));
#endif
}

MOTIVE_INLINE VectorInt ones16() { return (VectorInt)broadcast_bits(0x00010001u); }

// r[2i]^2 + r[2i + 1]^2 for int8, at most a 127th less where there is -128.
MOTIVE_INLINE VectorInt square_bytes(VectorBits r) {
#if defined(__AVX512BW__)
  const __m512i size = _mm512_abs_epi8((__m512i)r);
  return (VectorInt)_mm512_maddubs_epi16(size, _mm512_min_epu8(size, _mm512_set1_epi8(127)));
#else
  const __m256i size = _mm256_abs_epi8((__m256i)r);
  return (VectorInt)_mm256_maddubs_epi16(size, _mm256_min_epu8(size, _mm256_set1_epi8(127)));
#endif
}

// kLanes / 2 words of int8 as 16-bit integers.
MOTIVE_INLINE VectorInt widen_bytes(const int8_t* from) {
#if defined(__AVX512BW__)
  return (VectorInt)_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)from));
#else
  return (VectorInt)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)from));
#endif
}

// Sum of the lanes modulo 2^32.
MOTIVE_INLINE int32_t sum_lanes(VectorInt value) {
#if defined(__AVX512BW__)
  return _mm512_reduce_add_epi32((__m512i)value);
#else
  const __m256i all = (__m256i)value;
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
#endif
}

// The queries cut to int8. Those of whole vectors lie in lanes, as [words][vectors of the tile][kLanes] words; the few
// at the end, where most lanes would idle, with their own words side by side.
struct Coarse {
  Coarse(const Scan& a, int64_t vectors)
      : words(ceil_div(ceil_div(a.dim, 4), kLanes) * kLanes),
        runs(ceil_div(words, kSteps)),
        tail(a.count % kLanes && a.count % kLanes <= kLanes / 2 ? a.count % kLanes : 0),
        full(tail ? vectors - 1 : vectors),
        bytes(vectors * kLanes * words),
        starts(vectors * kLanes * runs + tail * kLanes * runs),
        units(vectors * kLanes),
        errors(vectors * kLanes),
        memory(kBlock * (words + 2 * vectors)),
        usual(true),
        smallest(__builtin_inff()),
        largest(0.f) {
    memset(bytes.get(), 0, size_t(vectors * kLanes * words) * sizeof(uint32_t));
    memset(starts.get(), 0, size_t((vectors + tail) * kLanes * runs) * sizeof(uint32_t));
    Scratch<int8_t> cut(4 * words);
    Scratch<int32_t> sums(2 * kLanes * runs);
    for (int64_t q = 0; q < vectors * kLanes; ++q) units[q] = errors[q] = 0.f;
    for (int64_t q = 0; q < a.count; ++q) put(a, q, cut.get(), sums.get());
  }

  // Where the words of a tile of full vectors, and of a query of the tail, start.
  const uint32_t* tile(int64_t vector) const { return bytes.get() + vector * kLanes * words; }
  const uint32_t* tile_starts(int64_t vector) const { return starts.get() + vector * kLanes * runs; }
  const uint32_t* alone(int64_t j) const { return bytes.get() + (full * kLanes + j) * words; }
  const uint32_t* alone_starts(int64_t j) const { return starts.get() + (full + j) * kLanes * runs; }

  int64_t words, runs, tail, full;
  Scratch<uint32_t> bytes, starts;
  Scratch<float> units, errors;  // of a score: value of one unit of dot(r, c), and bound of what is missed, for |r| = 1
  int64_t memory;                // words of a worker
  bool usual;                    // no query is so large or small that its scores have to be exact
  float smallest, largest;       // sizes of the scores of a row of norm 1, on their way as well

 private:
  // The run that a word belongs to: words of a query in lanes follow each other, those of one alone lie side by side.
  int64_t run_of(int64_t word, bool in_tail) const {
    return in_tail ? word / kLanes / kSteps * kLanes + word % kLanes : word / kSteps;
  }

  // Whether c, the query in units of `unit`, keeps every limit.
  bool fits(const Scan& a, const int16_t* query, double unit, bool in_tail, int8_t* cut, int32_t* sums) const {
    memset(cut, 0, size_t(4 * words));
    memset(sums, 0, size_t(2 * kLanes * runs) * sizeof(int32_t));
    for (int64_t j = 0; j < a.dim; ++j) {
      const double value = __builtin_rint(query[j] / unit);
      if (__builtin_fabs(value) > kByteLimit) return false;
      cut[j] = int8_t(value);
      int32_t& sum = sums[2 * run_of(j / 4, in_tail) + j / 2 % 2];
      sum += cut[j] < 0 ? -cut[j] : cut[j];
      if (sum > kRunLimit || (j % 2 && __builtin_abs(cut[j]) + __builtin_abs(cut[j - 1]) > kPairLimit)) return false;
    }
    return true;
  }

  void put(const Scan& a, int64_t q, int8_t* cut, int32_t* sums) {
    const int16_t* query = static_cast<const int16_t*>(a.queries) + q * a.dim;
    const bool in_tail = q >= full * kLanes;
    double squares = 0., unit = 1.;
    memset(sums, 0, size_t(2 * kLanes * runs) * sizeof(int32_t));
    for (int64_t j = 0; j < a.dim; ++j) {
      squares += double(query[j]) * query[j];
      const int32_t size = __builtin_abs(int32_t(query[j]));
      int32_t& sum = sums[2 * run_of(j / 4, in_tail) + j / 2 % 2];
      sum += size;
      unit = size / kByteLimit > unit ? size / kByteLimit : unit;
      unit = sum / kRunLimit > unit ? sum / kRunLimit : unit;
    }
    while (!fits(a, query, unit, in_tail, cut, sums)) unit *= 1.02;  // rounding up may break a limit that is so near
    double missed = 0.;
    for (int64_t j = 0; j < a.dim; ++j) {
      const double rest = query[j] - unit * cut[j];
      missed += rest * rest;
    }
    const double scale = double(a.query_scales[q]), size = __builtin_sqrt(squares), error = __builtin_sqrt(missed);
    units[q] = float(unit * scale);
    // Scores, exact and coarse, are rounded a few times each, and none is larger than |r| (size + error) scale. |r| may
    // be taken for half of a 127th less. No error is 0, so that an infinite |r| makes it infinite.
    errors[q] = float((error + 2e-6 * (size + error)) * (1. + 5e-3) * scale) + FLT_MIN;
    if (squares > 0.) {
      const float own = float((size + error) * scale), most_of = float(scale < 1. ? size + error : own);
      usual = usual && scale >= kSmall && own <= kLarge;
      smallest = own < smallest ? own : smallest;
      largest = most_of > largest ? most_of : largest;
    }
    const int64_t vector = q / kLanes, first = vector - vector % kTileVectors;
    const int64_t width = in_tail ? 1 : (full - first < kTileVectors ? full - first : kTileVectors) * kLanes;
    uint32_t* to = bytes.get() + (in_tail ? q * words : first * kLanes * words + (q - first * kLanes));
    memset(sums, 0, size_t(2 * kLanes * runs) * sizeof(int32_t));
    for (int64_t w = 0; w < words; ++w) {
      memcpy(to + w * width, cut + 4 * w, 4);
      for (int64_t j = 4 * w; j < 4 * w + 4; ++j) sums[2 * run_of(w, in_tail) + j / 2 % 2] -= 128 * cut[j];
    }
    const int64_t own_runs = in_tail ? runs * kLanes : runs, step = in_tail ? 1 : width;
    uint32_t* start = starts.get() + (in_tail ? (full + q - full * kLanes) * kLanes * runs
                                              : first * kLanes * runs + (q - first * kLanes));
    for (int64_t run = 0; run < own_runs; ++run) {
      start[run * step] = uint16_t(sums[2 * run]) | (uint32_t(uint16_t(sums[2 * run + 1])) << 16);
    }
  }
};

// out[kTileRows][V] = dot(r, c) of kTileRows rows, r + 128 `stride` words apart, with V vectors of queries.
template <int V>
__attribute__((noinline)) static void coarse_tile(int64_t words, const uint32_t* rows, int64_t stride,
                                                  const uint32_t* queries, const uint32_t* starts, VectorBits* out) {
  for (int64_t first = 0; first < words; starts += V * kLanes) {
    const int64_t last = words - first > kSteps ? first + kSteps : words;
    VectorInt sum[kTileRows][V];
#pragma GCC unroll 14
    for (int m = 0; m < kTileRows; ++m) {
      for (int v = 0; v < V; ++v) sum[m][v] = (VectorInt)load_bits(starts + v * kLanes);
    }
    for (int64_t t = first; t < last; ++t, queries += V * kLanes) {
      VectorBits column[V];
      for (int v = 0; v < V; ++v) column[v] = load_bits(queries + v * kLanes);
#pragma GCC unroll 14
      for (int m = 0; m < kTileRows; ++m) {
        const VectorBits row = broadcast_bits(rows[m * stride + t]);
        for (int v = 0; v < V; ++v) sum[m][v] = add_bytes(sum[m][v], row, column[v]);
      }
    }
#pragma GCC unroll 14
    for (int m = 0; m < kTileRows; ++m) {
      for (int v = 0; v < V; ++v) {
        const VectorInt before = first ? (VectorInt)out[m * V + v] : VectorInt{};
        out[m * V + v] = (VectorBits)add_pairs(before, sum[m][v], ones16());
      }
    }
    first = last;
  }
}

using CoarseTile = void (*)(int64_t words, const uint32_t* rows, int64_t stride, const uint32_t* queries,
                            const uint32_t* starts, VectorBits* out);

// dot(r, c) of one row with one query whose words lie side by side.
MOTIVE_INLINE int32_t coarse_alone(int64_t words, const uint32_t* row, const uint32_t* query, const uint32_t* starts) {
  VectorInt total{};
  for (int64_t first = 0; first < words; starts += kLanes) {
    const int64_t last = words - first > kSteps * kLanes ? first + kSteps * kLanes : words;
    VectorInt sum = (VectorInt)load_bits(starts);
    for (int64_t t = first; t < last; t += kLanes) sum = add_bytes(sum, load_bits(row + t), load_bits(query + t));
    total = add_pairs(total, sum, ones16());
    first = last;
  }
  return sum_lanes(total);
}

// Some lanes of a vector of queries for one row of a block.
struct Near {
  int32_t vector;
  uint16_t row, lanes;
};
static_assert(sizeof(Near) == 2 * sizeof(uint32_t), "CoarseRows lays them out in words");

// A worker's memory for one block.
struct CoarseRows {
  CoarseRows(const Coarse& coarse, uint32_t* memory)
      : lifted(memory), near(reinterpret_cast<Near*>(memory + kBlock * coarse.words)), count(0) {}

  uint32_t* lifted;                     // [kBlock][words] bytes from zero up
  Near* near;                           // what may be above a lower bound
  int64_t count;                        // of them, at most one for each row and vector
  float factor[kBlock], reach[kBlock];  // of a score: the row's factor, and the same times the row's norm
};

// r + 128 for one row; returns |r|^2, at most a 127th less where r holds -128.
MOTIVE_INLINE float lift_row(const int8_t* from, int64_t dim, uint32_t* to) {
  VectorInt squares{};
  int64_t j = 0, total = 0;
  for (; j + 4 * kLanes <= dim; j += 4 * kLanes) {
    const VectorBits bytes = load_bits(from + j), lifted = bytes ^ 0x80808080u;
    memcpy(to + j / 4, &lifted, sizeof lifted);
    squares = add_pairs(squares, square_bytes(bytes), ones16());
  }
  for (; j < dim; ++j) {
    reinterpret_cast<uint8_t*>(to)[j] = uint8_t(from[j]) ^ 0x80u;
    total += int32_t(from[j]) * from[j];
  }
  return float(total + uint32_t(sum_lanes(squares)));
}

// Rows that must be scored exactly are infinitely far from certain, those that take no part infinitely certain.
static inline void lift_rows(const Scan& a, const Coarse& coarse, const Block& block, CoarseRows& rows) {
  const auto* store = static_cast<const int8_t*>(a.store) + block.first * a.row_stride;
  for (int64_t m = 0; m < block.rows; ++m) {
    const float squares = lift_row(store + m * a.row_stride, a.dim, rows.lifted + m * coarse.words);
    const float factor = a.row_scales ? a.row_scales[block.first + m] : 1.f;
    const float reach = factor * __builtin_sqrtf(squares);
    const bool nothing = factor == 0.f || squares == 0.f;
    const bool usual = factor >= kSmall && reach * coarse.smallest >= kSmall && reach * coarse.largest <= kLarge;
    const bool odd = !(factor >= 0.f && factor <= kLarge && (nothing || usual));
    const bool out = a.keep && !a.keep[block.first + m];
    rows.factor[m] = odd || out ? 0.f : factor;
    rows.reach[m] = out ? -__builtin_inff() : odd ? __builtin_inff() : nothing ? 0.f : reach;
  }
}

// Notes which scores of up to kTileRows rows for one vector of queries may be above a lower bound.
MOTIVE_INLINE void note_near(const Lanes& lanes, const Coarse& coarse, CoarseRows& rows, int64_t first, int64_t count,
                             int64_t vector, const VectorBits* sums, int step) {
  const Vector low = load(lanes.low.get() + vector * kLanes);
  const Vector unit = load(coarse.units.get() + vector * kLanes), error = load(coarse.errors.get() + vector * kLanes);
  VectorInt near[kTileRows], any{};
  for (int64_t m = 0; m < count; ++m) {
    const Vector value = __builtin_convertvector((VectorInt)sums[m * step], Vector) * unit;
    near[m] = value * rows.factor[first + m] + error * rows.reach[first + m] >= low;
    any |= near[m];
  }
  if (!any_lane(any)) return;
  for (int64_t m = 0; m < count; ++m) {
    const int some = any_lane(near[m]);
    if (some) rows.near[rows.count++] = Near{int32_t(vector), uint16_t(first + m), uint16_t(some)};
  }
}

// dot(r, Q), exactly.
MOTIVE_INLINE int32_t exact_product(const int8_t* row, const int16_t* query, int64_t dim) {
  VectorInt sum[2] = {};
  int64_t j = 0;
  for (; j + 4 * kLanes <= dim; j += 4 * kLanes) {
    for (int half = 0; half < 2; ++half) {
      const int64_t at = j + 2 * kLanes * half;
      sum[half] = add_pairs(sum[half], widen_bytes(row + at), (VectorInt)load_bits(query + at));
    }
  }
  int32_t total = sum_lanes(sum[0] + sum[1]);
  for (; j < dim; ++j) total += int32_t(row[j]) * query[j];
  return total;
}

// Takes what was noted by its exact scores. Returns how many there are.
static inline int64_t take_exactly(const Scan& a, const Lanes& lanes, const CoarseRows& rows, Tally& tally,
                                   const Block& block) {
  int64_t taken = 0;
  for (const Near* near = rows.near; near < rows.near + rows.count; ++near) {
    const int64_t row = block.first + near->row;
    const auto* bytes = static_cast<const int8_t*>(a.store) + row * a.row_stride;
    const float factor = a.row_scales ? a.row_scales[row] : 1.f;
    for (int some = near->lanes; some; some &= some - 1, ++taken) {
      const int64_t q = near->vector * kLanes + __builtin_ctz(unsigned(some));
      const auto* query = static_cast<const int16_t*>(a.queries) + q * a.dim;
      const float score = (float(exact_product(bytes, query, a.dim)) * factor) * lanes.scales[q];
      if (!(__builtin_fabsf(score) <= FLT_MAX)) broken(a, row);
      if (score >= lanes.high[q]) {
        ++tally.reached[q];
        tally.above[q] += score > lanes.high[q];
      } else if (score > lanes.low[q]) {
        list(a, false, q, row, score);
      }
    }
  }
  return taken;
}

// Coarse scores of one tile of rows for the vectors that start at one, and for the queries at the end.
static inline void coarse_vectors(const Lanes& lanes, const Coarse& coarse, CoarseRows& rows, int64_t m, int64_t count,
                                  int64_t vector) {
  constexpr CoarseTile tiles[kTileVectors] = {coarse_tile<1>, coarse_tile<2>};
  VectorBits sums[kTileRows * kTileVectors];
  const int64_t left = coarse.full - vector;
  const int width = int(left < kTileVectors ? left : kTileVectors);
  const uint32_t* here = rows.lifted + m * coarse.words;
  if (width > 0) {
    tiles[width - 1](coarse.words, here, coarse.words, coarse.tile(vector), coarse.tile_starts(vector), sums);
    for (int v = 0; v < width; ++v) note_near(lanes, coarse, rows, m, count, vector + v, sums + v, width);
  }
  if (left >= kTileVectors || !coarse.tail) return;
  for (int64_t i = 0; i < count; ++i) {
    int32_t own[kLanes] = {};
    for (int64_t j = 0; j < coarse.tail; ++j) {
      own[j] = coarse_alone(coarse.words, here + i * coarse.words, coarse.alone(j), coarse.alone_starts(j));
    }
    sums[i] = load_bits(own);
  }
  note_near(lanes, coarse, rows, m, count, coarse.full, sums, 1);
}

// One block of rows against every query. Returns how many scores had to be made exactly.
static inline int64_t coarse_block(const Scan& a, const Lanes& lanes, const Coarse& coarse, uint32_t* memory,
                                   Tally& tally, const Block& block) {
  CoarseRows rows(coarse, memory);
  lift_rows(a, coarse, block, rows);
  const char* following = static_cast<const char*>(a.store) + (block.first + block.rows) * a.row_stride;
  const int64_t next = a.rows - block.first - block.rows < block.rows ? a.rows - block.first - block.rows : block.rows;
  for (int64_t vector = 0; vector < lanes.vectors; vector += kTileVectors) {
    for (int64_t m = 0; m < block.rows; m += kTileRows) {
      if (vector == 0) prefetch_rows(following, a.dim, a.row_stride, m, next);
      coarse_vectors(lanes, coarse, rows, m, block.rows - m < kTileRows ? block.rows - m : kTileRows, vector);
    }
  }
  return take_exactly(a, lanes, rows, tally, block);
}

#else

static inline bool coarse_may_pay(const Scan&) { return false; }

struct Coarse {
  Coarse(const Scan&, int64_t) {}
  bool usual = false;
  int64_t memory = 0;
};

static inline int64_t coarse_block(const Scan&, const Lanes&, const Coarse&, uint32_t*, Tally&, Block&) { return 0; }

#endif

}  // namespace motive::cpu::MOTIVE_LEVEL
