// One pass over a store: a block of rows is widened once and meets every query while it is in cache.
#include "motive/scan.h"

#include <cfloat>

#include "common/parallel.h"
#include "dot_tile.h"
#include "elements.h"
#include "scratch.h"

namespace motive::cpu::MOTIVE_LEVEL {
namespace {

constexpr int64_t kBlock = 8 * kTileRows;        // rows that are widened at a time
constexpr int64_t kChunk = 40 * kBlock;          // rows of a task
constexpr int64_t kThreadProducts = 10'000'000;  // multiplications that take about as long as starting a thread

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

MOTIVE_INLINE Vector pick(VectorInt mask, Vector yes, Vector no) {
  return from_bits(((VectorBits)mask & bits_of(yes)) | (~(VectorBits)mask & bits_of(no)));
}

MOTIVE_INLINE Vector absolute(Vector value) { return from_bits(bits_of(value) & 0x7fffffffu); }

// How a store's elements become the words of dot_tile.h.
struct Int8 {
  using Element = int8_t;
  using Query = int16_t;
  using Arithmetic = Pairs;
  static int64_t words(int64_t dim) { return ceil_div(dim, 2); }
  static void widen(const int8_t* from, int64_t dim, uint32_t* to) {
    int16_t* pairs = reinterpret_cast<int16_t*>(to);
    for (int64_t j = 0; j < dim; ++j) pairs[j] = from[j];
    if (dim % 2) pairs[dim] = 0;
  }
  static uint32_t word(const int16_t* query, int64_t dim, int64_t w) {
    const uint16_t low = uint16_t(query[2 * w]), high = 2 * w + 1 < dim ? uint16_t(query[2 * w + 1]) : uint16_t(0);
    return low | (uint32_t(high) << 16);
  }
  static MOTIVE_INLINE Vector value(VectorBits sum) { return __builtin_convertvector((VectorInt)sum, Vector); }
};

template <class T>
struct Real {
  using Element = T;
  using Query = float;
  using Arithmetic = Floats;
  static int64_t words(int64_t dim) { return dim; }
  static void widen(const T* from, int64_t dim, uint32_t* to) {
    int64_t j = 0;
    for (; j + kLanes <= dim; j += kLanes) {
      const Vector some = load(from + j);
      memcpy(to + j, &some, sizeof some);
    }
    for (; j < dim; ++j) {
      const float one = to_float(from[j]);
      memcpy(to + j, &one, sizeof one);
    }
  }
  static uint32_t word(const float* query, int64_t, int64_t w) {
    uint32_t bits;
    memcpy(&bits, query + w, sizeof bits);
    return bits;
  }
  static MOTIVE_INLINE Vector value(VectorBits sum) { return from_bits(sum); }
};

// The queries of a scan as vectors, padded to whole ones with queries that no score reaches.
struct Panel {
  explicit Panel(const Scan& a, int64_t words)
      : vectors(ceil_div(a.count, kLanes)),
        words(words),
        columns(vectors * kLanes * words),
        low(vectors * kLanes),
        high(vectors * kLanes),
        scales(vectors * kLanes),
        padding(vectors * kLanes),
        weights(vectors * kLanes) {
    for (int64_t q = 0; q < vectors * kLanes; ++q) {
      const bool real = q < a.count;
      low[q] = real ? a.low[q] : __builtin_inff();
      high[q] = real ? a.high[q] : __builtin_inff();
      scales[q] = real ? a.query_scales[q] : 0.f;
      padding[q] = real ? 0.f : -__builtin_inff();
      weights[q] = real ? (a.weights ? a.weights[q] : 1) : 0;
    }
  }

  // First word of the tile that starts at a vector; tiles are kTileVectors wide but for the last.
  int64_t at(int64_t vector) const { return vector * kLanes * words; }

  int64_t vectors, words;
  Scratch<uint32_t> columns;
  Scratch<float> low, high, scales, padding;
  Scratch<int32_t> weights;
};

template <class Store>
void pack(const Scan& a, Panel& panel) {
  const auto* queries = static_cast<const typename Store::Query*>(a.queries);
  for (int64_t first = 0; first < panel.vectors; first += kTileVectors) {
    const int64_t width = least(panel.vectors - first, kTileVectors) * kLanes;
    uint32_t* to = panel.columns.get() + panel.at(first);
    for (int64_t w = 0; w < panel.words; ++w) {
      for (int64_t j = 0; j < width; ++j) {
        const int64_t q = first * kLanes + j;
        to[w * width + j] = q < a.count ? Store::word(queries + q * a.dim, a.dim, w) : 0u;
      }
    }
  }
}

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

// Rows of one block that are in cache.
struct Block {
  int64_t first, rows;
  int32_t votes[kBlock];
  float best[kBlock];
};

void list(const Scan& a, int64_t query, int64_t row, float score) {
  const int64_t place = __atomic_fetch_add(&a.listed[query], int64_t(1), __ATOMIC_RELAXED);
  if (place >= a.capacity) return;
  a.listed_scores[query * a.capacity + place] = score;
  a.listed_rows[query * a.capacity + place] = row;
}

void broken(const Scan& a, int64_t row) {
  int64_t seen = __atomic_load_n(a.first_broken, __ATOMIC_RELAXED);
  while (row < seen &&
         !__atomic_compare_exchange_n(a.first_broken, &seen, row, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
}

MOTIVE_INLINE VectorInt load_ints(const int32_t* from) { return (VectorInt)load_bits(from); }

// Takes the scores of up to kTileRows rows for one vector of queries; sums[m * step] are their dot products.
template <class Store>
MOTIVE_INLINE void take(const Scan& a, const Panel& panel, Tally& tally, Block& block, int64_t first_row, int64_t rows,
                        int64_t vector, const VectorBits* sums, int step) {
  const int64_t q = vector * kLanes;
  const Vector low = load(panel.low.get() + q), high = load(panel.high.get() + q);
  const Vector scale = load(panel.scales.get() + q), padding = load(panel.padding.get() + q);
  const VectorInt weight = load_ints(panel.weights.get() + q);
  VectorInt above = load_ints(tally.above.get() + q), reached = load_ints(tally.reached.get() + q);
  Vector lowest = load(tally.lowest.get() + q), highest = load(tally.highest.get() + q);
  Vector total = load(tally.sum.get() + q);
  for (int64_t m = 0; m < rows; ++m) {
    const int64_t inside = first_row + m, row = block.first + inside;
    if (a.keep && !a.keep[row]) continue;
    const float factor = a.row_scales ? a.row_scales[row] : 1.f;
    const Vector score = (Store::value(sums[m * step]) * factor) * scale;
    const VectorInt is_above = score > high, has_reached = score >= high;
    above -= is_above;
    reached -= has_reached;
    lowest = pick(score < lowest, score, lowest);
    highest = pick(score > highest, score, highest);
    total += score;
    if (a.votes) {
      if (a.weights) {
        const VectorInt voted = has_reached & weight;
        for (int lane = 0; lane < kLanes; ++lane) block.votes[inside] += voted[lane];
      } else {
        block.votes[inside] += __builtin_popcount(unsigned(any_lane(has_reached)));
      }
    }
    if (a.best) {
      const Vector own = score + padding;
      float best = block.best[inside];
      for (int lane = 0; lane < kLanes; ++lane) best = own[lane] > best ? own[lane] : best;
      block.best[inside] = best;
    }
    if (any_lane(~(absolute(score) <= broadcast(FLT_MAX)))) broken(a, row);
    int some = any_lane((score > low) & ~has_reached);
    while (some) {
      const int lane = __builtin_ctz(unsigned(some));
      some &= some - 1;
      list(a, q + lane, row, score[lane]);
    }
  }
  store((float*)(tally.above.get() + q), (Vector)above);
  store((float*)(tally.reached.get() + q), (Vector)reached);
  store(tally.lowest.get() + q, lowest);
  store(tally.highest.get() + q, highest);
  store(tally.sum.get() + q, total);
}

// Integer sums of a few queries whose elements lie side by side, for the end of the queries where most lanes would
// idle.
void dot_few(const Scan& a, int64_t first_query, int64_t queries, const uint32_t* rows, int64_t words,
             VectorBits* sums) {
  const auto* all = static_cast<const int16_t*>(a.queries);
  for (int64_t m = 0; m < kTileRows; ++m) {
    for (int64_t j = 0; j < queries; ++j) {
      const int16_t* query = all + (first_query + j) * a.dim;
      VectorInt some[2] = {};
      int64_t t = 0;
      for (; t + 2 * kLanes <= words && 2 * (t + 2 * kLanes) <= a.dim; t += 2 * kLanes) {
        for (int v = 0; v < 2; ++v) {
          some[v] = add_pairs(some[v], (VectorInt)load_bits(rows + m * words + t + v * kLanes),
                              (VectorInt)load_bits(query + 2 * (t + v * kLanes)));
        }
      }
      some[0] += some[1];
      int32_t sum = 0;
      for (int lane = 0; lane < kLanes; ++lane) sum += some[0][lane];
      const int16_t* row = reinterpret_cast<const int16_t*>(rows + m * words);
      for (int64_t d = 2 * t; d < a.dim; ++d) sum += int32_t(row[d]) * query[d];
      sums[m][j] = uint32_t(sum);
    }
  }
}

template <class Store>
void scan_block(const Scan& a, const Panel& panel, const DotTile* tiles, uint32_t* rows, Tally& tally, Block& block) {
  const auto* store = static_cast<const typename Store::Element*>(a.store) + block.first * a.row_stride;
  for (int64_t m = 0; m < block.rows; ++m) Store::widen(store + m * a.row_stride, a.dim, rows + m * panel.words);
  const int64_t row_bytes = a.dim * int64_t(sizeof(typename Store::Element));
  const int64_t next = least(a.rows - block.first - block.rows, block.rows);
  VectorBits sums[kTileRows * kTileVectors] = {};
  for (int64_t vector = 0; vector < panel.vectors; vector += kTileVectors) {
    const int width = int(least(panel.vectors - vector, kTileVectors));
    for (int64_t m = 0; m < block.rows; m += kTileRows) {
      if (vector == 0) {  // the next block comes into cache while this one is at work
        for (int64_t ahead = m; ahead < least(m + kTileRows, next); ++ahead) {
          const char* line = reinterpret_cast<const char*>(store + (block.rows + ahead) * a.row_stride);
          for (int64_t byte = 0; byte < row_bytes; byte += 64) __builtin_prefetch(line + byte);
        }
      }
      const int64_t left = a.count - vector * kLanes;
      if (std::is_same<Store, Int8>::value && width == 1 && left <= kLanes / 2) {
        dot_few(a, vector * kLanes, left, rows + m * panel.words, panel.words, sums);
        take<Store>(a, panel, tally, block, m, least(block.rows - m, kTileRows), vector, sums, 1);
        continue;
      }
      tiles[width - 1](panel.words, rows + m * panel.words, panel.words, panel.columns.get() + panel.at(vector), sums);
      for (int v = 0; v < width; ++v) {
        take<Store>(a, panel, tally, block, m, least(block.rows - m, kTileRows), vector + v, sums + v, width);
      }
    }
  }
}

template <class Store>
void scan_chunk(const Scan& a, const Panel& panel, const DotTile* tiles, uint32_t* rows, Tally& tally, int64_t chunk,
                double* totals) {
  const int64_t lanes = panel.vectors * kLanes, end = least((chunk + 1) * kChunk, a.rows);
  for (int64_t q = 0; q < lanes; ++q) totals[q] = 0.;
  for (int64_t first = chunk * kChunk; first < end; first += kBlock) {
    Block block{first, least(end - first, kBlock), {}, {}};
    for (int64_t m = 0; m < block.rows; ++m) block.best[m] = -__builtin_inff();
    for (int64_t q = 0; q < lanes; ++q) tally.sum[q] = 0.f;
    scan_block<Store>(a, panel, tiles, rows, tally, block);
    for (int64_t q = 0; q < lanes; ++q) totals[q] += double(tally.sum[q]);
    for (int64_t m = 0; m < block.rows; ++m) {
      if (a.votes) a.votes[first + m] = block.votes[m];
      if (a.best) a.best[first + m] = block.best[m];
    }
  }
  tally.flush(lanes);
}

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

template <class Store>
void run(const Scan& a) {
  Panel panel(a, Store::words(a.dim));
  pack<Store>(a, panel);
  const DotTile tiles[kTileVectors] = {dot_tile_of<typename Store::Arithmetic, 1>(),
                                       dot_tile_of<typename Store::Arithmetic, 2>()};
  const int64_t lanes = panel.vectors * kLanes, chunks = ceil_div(a.rows, kChunk), buffer = kBlock * panel.words;
  const double products = double(a.rows) * double(lanes) * double(a.dim);
  const int threads = useful_threads(a.threads, int64_t(products < 1e18 ? products : 1e18), kThreadProducts);
  Scratch<uint32_t> rows(threads * buffer);
  memset(rows.get(), 0, size_t(threads * buffer) * sizeof(uint32_t));  // tiles read rows beyond the last
  Scratch<double> totals(chunks * lanes);
  Tallies tallies(threads, lanes);
  parallel_for(chunks, threads, [&](int64_t chunk, int worker) {
    scan_chunk<Store>(a, panel, tiles, rows.get() + worker * buffer, tallies[worker], chunk,
                      totals.get() + chunk * lanes);
  });
  for (int64_t q = 0; q < a.count; ++q) {
    a.above[q] = a.reached[q] = 0;
    a.lowest[q] = __builtin_inff();
    a.highest[q] = -__builtin_inff();
    a.total[q] = 0.;
    for (int worker = 0; worker < threads; ++worker) {
      const Tally& tally = tallies[worker];
      a.above[q] += tally.count_above[q];
      a.reached[q] += tally.count_reached[q];
      a.lowest[q] = tally.lowest[q] < a.lowest[q] ? tally.lowest[q] : a.lowest[q];
      a.highest[q] = tally.highest[q] > a.highest[q] ? tally.highest[q] : a.highest[q];
    }
    for (int64_t chunk = 0; chunk < chunks; ++chunk) a.total[q] += totals[chunk * lanes + q];
  }
}

}  // namespace

void scan(const Scan& a) {
  *a.first_broken = a.rows;
  for (int64_t q = 0; q < a.count; ++q) a.listed[q] = 0;
  switch (a.dtype) {
    case StoreType::float32: return run<Real<float>>(a);
    case StoreType::float16: return run<Real<float16>>(a);
    case StoreType::int8: return run<Int8>(a);
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL

MOTIVE_DISPATCH(scan, Scan)
