// One pass over a store: a block of rows is widened once and meets every query while it is in cache.
#include "motive/scan.h"

#include <cfloat>

#include "coarse_scan.h"
#include "common/parallel.h"
#include "elements.h"
#include "scan_state.h"

namespace motive::cpu::MOTIVE_LEVEL {
namespace {

constexpr int64_t kThreadProducts = 10'000'000;  // multiplications that take about as long as starting a thread

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

// The queries of a scan as words, packed for tiles of kTileVectors but for the last.
struct Panel {
  Panel(const Lanes& lanes, int64_t words)
      : vectors(lanes.vectors), words(words), columns(lanes.vectors * kLanes * words) {}

  // First word of the tile that starts at a vector.
  int64_t at(int64_t vector) const { return vector * kLanes * words; }

  int64_t vectors, words;
  Scratch<uint32_t> columns;
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

// Takes the scores of up to kTileRows rows for one vector of queries; sums[m * step] are their dot products.
template <class Store>
MOTIVE_INLINE void take(const Scan& a, const Lanes& lanes, Tally& tally, Block& block, int64_t first_row, int64_t rows,
                        int64_t vector, const VectorBits* sums, int step) {
  const int64_t q = vector * kLanes;
  const Vector low = load(lanes.low.get() + q), high = load(lanes.high.get() + q);
  const Vector scale = load(lanes.scales.get() + q), padding = load(lanes.padding.get() + q);
  const VectorInt weight = load_ints(lanes.weights.get() + q);
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
      list(a, lanes.everything, q + lane, row, score[lane]);
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

// How one call scans its rows; coarse is null where every product is made exactly.
template <class Store>
struct Method {
  const Scan& a;
  const Lanes& lanes;
  const Panel& panel;
  const Coarse* coarse;
  DotTile tiles[kTileVectors];
};

template <class Store>
void scan_block(const Method<Store>& by, uint32_t* rows, Tally& tally, Block& block) {
  const Scan& a = by.a;
  const int64_t words = by.panel.words;
  const auto* store = static_cast<const typename Store::Element*>(a.store) + block.first * a.row_stride;
  for (int64_t m = 0; m < block.rows; ++m) Store::widen(store + m * a.row_stride, a.dim, rows + m * words);
  const int64_t size = int64_t(sizeof(typename Store::Element));
  const int64_t next = least(a.rows - block.first - block.rows, block.rows);
  VectorBits sums[kTileRows * kTileVectors] = {};
  for (int64_t vector = 0; vector < by.lanes.vectors; vector += kTileVectors) {
    const int width = int(least(by.lanes.vectors - vector, kTileVectors));
    for (int64_t m = 0; m < block.rows; m += kTileRows) {
      if (vector == 0) {
        prefetch_rows(reinterpret_cast<const char*>(store + block.rows * a.row_stride), a.dim * size,
                      a.row_stride * size, m, next);
      }
      const int64_t left = a.count - vector * kLanes, count = least(block.rows - m, kTileRows);
      if (std::is_same<Store, Int8>::value && width == 1 && left <= kLanes / 2) {
        dot_few(a, vector * kLanes, left, rows + m * words, words, sums);
        take<Store>(a, by.lanes, tally, block, m, count, vector, sums, 1);
        continue;
      }
      by.tiles[width - 1](words, rows + m * words, words, by.panel.columns.get() + by.panel.at(vector), sums);
      for (int v = 0; v < width; ++v) {
        take<Store>(a, by.lanes, tally, block, m, count, vector + v, sums + v, width);
      }
    }
  }
}

template <class Store>
void scan_chunk(const Method<Store>& by, uint32_t* rows, Tally& tally, int64_t chunk, double* totals) {
  const Scan& a = by.a;
  const int64_t lanes = by.lanes.vectors * kLanes, end = least((chunk + 1) * kChunk, a.rows);
  bool coarsely = by.coarse != nullptr;
  int64_t near = 0;
  for (int64_t q = 0; totals && q < lanes; ++q) totals[q] = 0.;
  for (int64_t first = chunk * kChunk; first < end; first += kBlock) {
    Block block{first, least(end - first, kBlock), {}, {}};
    if (coarsely) {
      near += coarse_block(a, by.lanes, *by.coarse, rows, tally, block);
      coarsely = near * kNearLimit[1] <= (first + block.rows - chunk * kChunk) * a.count * kNearLimit[0];
    } else {
      for (int64_t m = 0; m < block.rows; ++m) block.best[m] = -__builtin_inff();
      for (int64_t q = 0; q < lanes; ++q) tally.sum[q] = 0.f;
      scan_block<Store>(by, rows, tally, block);
      for (int64_t q = 0; totals && q < lanes; ++q) totals[q] += double(tally.sum[q]);
    }
    for (int64_t m = 0; m < block.rows; ++m) {
      if (a.votes) a.votes[first + m] = block.votes[m];
      if (a.best) a.best[first + m] = block.best[m];
    }
  }
  tally.flush(lanes);
}

template <class Store>
void run(const Scan& a, const Lanes& lanes, const Coarse* coarse) {
  Panel panel(lanes, Store::words(a.dim));
  pack<Store>(a, panel);
  const Method<Store> by{a,
                         lanes,
                         panel,
                         coarse,
                         {dot_tile_of<typename Store::Arithmetic, 1>(), dot_tile_of<typename Store::Arithmetic, 2>()}};
  const int64_t width = lanes.vectors * kLanes, chunks = ceil_div(a.rows, kChunk);
  const int64_t exactly = kBlock * panel.words, buffer = coarse && coarse->memory > exactly ? coarse->memory : exactly;
  const double products = double(a.rows) * double(width) * double(a.dim);
  const int threads = useful_threads(a.threads, int64_t(products < 1e18 ? products : 1e18), kThreadProducts);
  Scratch<uint32_t> rows(threads * buffer);
  memset(rows.get(), 0, size_t(threads * buffer) * sizeof(uint32_t));  // tiles read rows beyond the last
  Scratch<double> totals(a.total ? chunks * width : 0);
  Tallies tallies(threads, width);
  parallel_for(chunks, threads, [&](int64_t chunk, int worker) {
    scan_chunk<Store>(by, rows.get() + worker * buffer, tallies[worker], chunk,
                      a.total ? totals.get() + chunk * width : nullptr);
  });
  for (int64_t q = 0; q < a.count; ++q) {
    a.above[q] = a.reached[q] = 0;
    for (int worker = 0; worker < threads; ++worker) {
      a.above[q] += tallies[worker].count_above[q];
      a.reached[q] += tallies[worker].count_reached[q];
    }
    if (lanes.everything) a.listed[q] = a.rows;
    if (!a.lowest) continue;
    a.lowest[q] = __builtin_inff();
    a.highest[q] = -__builtin_inff();
    a.total[q] = 0.;
    for (int worker = 0; worker < threads; ++worker) {
      const Tally& tally = tallies[worker];
      a.lowest[q] = tally.lowest[q] < a.lowest[q] ? tally.lowest[q] : a.lowest[q];
      a.highest[q] = tally.highest[q] > a.highest[q] ? tally.highest[q] : a.highest[q];
    }
    for (int64_t chunk = 0; chunk < chunks; ++chunk) a.total[q] += totals[chunk * width + q];
  }
}

void run_bytes(const Scan& a, const Lanes& lanes) {
  if (coarse_may_pay(a)) {
    const Coarse coarse(a, lanes.vectors);
    if (coarse.usual) return run<Int8>(a, lanes, &coarse);
  }
  run<Int8>(a, lanes, nullptr);
}

}  // namespace

void scan(const Scan& a) {
  *a.first_broken = a.rows;
  for (int64_t q = 0; q < a.count; ++q) a.listed[q] = 0;
  const Lanes lanes(a);
  switch (a.dtype) {
    case StoreType::float32: return run<Real<float>>(a, lanes, nullptr);
    case StoreType::float16: return run<Real<float16>>(a, lanes, nullptr);
    case StoreType::int8: return run_bytes(a, lanes);
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL

MOTIVE_DISPATCH(scan, Scan)
