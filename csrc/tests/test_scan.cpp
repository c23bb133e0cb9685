// Bytes of vectors and the scan of a store against their definitions, in buffers of exactly the size that they may use.
#include <algorithm>
#include <cstring>
#include <limits>

#include "check.h"
#include "motive/dtype.h"
#include "motive/quantize_rows.h"
#include "motive/scan.h"

namespace motive::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Bytes {
  std::vector<int8_t> values;
  std::vector<float> scales;
  int64_t first_broken = -1;
};

Bytes quantize(const std::vector<float>& z, int64_t rows, int64_t dim, int64_t stride, bool unit, int threads) {
  Bytes got{std::vector<int8_t>(size_t(rows * dim)), std::vector<float>(size_t(rows))};
  cpu::quantize_rows({got.values.data(), got.scales.data(), z.data(), DType::float32, rows, dim, stride, unit,
                      &got.first_broken, threads});
  return got;
}

void quantized(const std::string& level) {
  for (const int64_t dim : {1, 7, 16, 33, 512}) {
    const std::string what = "quantize_rows " + std::to_string(dim) + " " + level;
    const int64_t rows = 600, stride = dim + 3;  // more than one task
    std::vector<float> z = numbers(rows * stride - 3, 1);
    for (int64_t j = 0; j < dim; ++j) z[size_t(5 * stride + j)] = 0.f;
    for (const bool unit : {false, true}) {
      const Bytes got = quantize(z, rows, dim, stride, unit, 3), alone = quantize(z, rows, dim, stride, unit, 1);
      check(got.values == alone.values && got.scales == alone.scales, what + ": one thread and three differ");
      check_equal(got.first_broken, rows, what + " first broken row");
      for (int64_t n = 0; n < rows; ++n) {
        double largest = 0., squares = 0.;
        for (int64_t j = 0; j < dim; ++j) largest = std::max(largest, std::fabs(double(z[size_t(n * stride + j)])));
        const double factor = largest > 0. ? 127. / largest : 0.;
        for (int64_t j = 0; j < dim; ++j) {
          const double value = std::rint(z[size_t(n * stride + j)] * factor);
          if (got.values[size_t(n * dim + j)] != value) check(false, what + ": a value is wrong");
          squares += value * value;
        }
        const double scale = squares == 0. ? 0. : unit ? 1. / std::sqrt(squares) : largest / 127.;
        check_equal(got.scales[size_t(n)], float(scale), what + " scale");
      }
    }
    z[size_t(400 * stride)] = std::numeric_limits<float>::quiet_NaN();
    z[size_t(300 * stride + dim - 1)] = -kInfinity;
    check_equal(quantize(z, rows, dim, stride, true, 3).first_broken, int64_t(300), what + " first broken row");
  }
}

// A store in its own type, what its elements mean, and queries that go with it.
struct Data {
  StoreType dtype;
  std::vector<float> store, queries;
  std::vector<int8_t> bytes;
  std::vector<uint16_t> halves;
  std::vector<int16_t> integers;

  Data(StoreType type, int64_t rows, int64_t dim, int64_t count)
      : dtype(type), store(numbers(rows * dim, 1)), queries(numbers(count * dim, 2)) {
    for (float& value : store) {
      if (type == StoreType::int8) bytes.push_back(int8_t(std::lrint(254.f * value)));
      if (type == StoreType::float16) halves.push_back(uint16_t(0x3c00 + (int(64.f * value) & 0x83ff)));
      if (type == StoreType::int8) value = bytes.back();
      if (type == StoreType::float16) value = to_float(float16{halves.back()});
    }
    if (type != StoreType::int8) return;
    for (float& value : queries) {
      integers.push_back(int16_t(std::lrint(2000.f * value)));
      value = integers.back();
    }
  }
  const void* rows() const {
    if (dtype == StoreType::int8) return bytes.data();
    return dtype == StoreType::float16 ? static_cast<const void*>(halves.data()) : store.data();
  }
  const void* wanted() const {
    return dtype == StoreType::int8 ? static_cast<const void*>(integers.data()) : queries.data();
  }
};

// Everything that a scan writes.
struct Found {
  Found(int64_t rows, int64_t count, int64_t room)
      : votes(size_t(rows)),
        best(size_t(rows)),
        above(size_t(count)),
        reached(above),
        listed(above),
        lowest(size_t(count)),
        highest(lowest),
        total(size_t(count)),
        capacity(room),
        scores(size_t(count * room)),
        places(size_t(count * room)) {}

  // The listed rows of a query in rising order.
  std::vector<int64_t> rows_of(int64_t query) const {
    const auto first = places.begin() + std::ptrdiff_t(query * capacity);
    std::vector<int64_t> found(first, first + std::ptrdiff_t(std::min(listed[size_t(query)], capacity)));
    std::sort(found.begin(), found.end());
    return found;
  }

  std::vector<int32_t> votes;
  std::vector<float> best;
  std::vector<int64_t> above, reached, listed;
  std::vector<float> lowest, highest;
  std::vector<double> total;
  int64_t capacity;
  std::vector<float> scores;
  std::vector<int64_t> places;
  int64_t first_broken = -1;
};

struct Request {
  std::vector<float> query_scales, row_scales, low, high;
  std::vector<uint8_t> keep;
  std::vector<int32_t> weights;
};

Found scan(const Data& data, const Request& request, int64_t rows, int64_t dim, int64_t capacity, int threads) {
  const int64_t count = int64_t(request.low.size());
  Found found(rows, count, capacity);
  Scan a{};
  a.queries = data.wanted(), a.query_scales = request.query_scales.data();
  a.count = count, a.dim = dim;
  a.store = data.rows(), a.dtype = data.dtype, a.rows = rows, a.row_stride = dim;
  a.row_scales = request.row_scales.data(), a.keep = request.keep.data();
  a.low = request.low.data(), a.high = request.high.data(), a.weights = request.weights.data();
  a.threads = threads;
  a.votes = found.votes.data(), a.best = found.best.data();
  a.above = found.above.data(), a.reached = found.reached.data(), a.listed = found.listed.data();
  a.lowest = found.lowest.data(), a.highest = found.highest.data(), a.total = found.total.data();
  a.capacity = capacity, a.listed_scores = found.scores.data(), a.listed_rows = found.places.data();
  a.first_broken = &found.first_broken;
  cpu::scan(a);
  return found;
}

// Counts, extremes and lists follow from the listed scores of a scan with room for every row, which are compared with
// their definition first.
void scores(const std::string& level, StoreType dtype, int64_t rows, int64_t dim, int64_t count) {
  const std::string what =
      "scan " + std::to_string(rows) + " x " + std::to_string(dim) + " by " + std::to_string(count) + " " + level;
  const Data data(dtype, rows, dim, count);
  Request request;
  request.query_scales.assign(size_t(count), 0.5f);
  request.row_scales = numbers(rows, 3);
  request.low.assign(size_t(count), -kInfinity);
  request.high.assign(size_t(count), kInfinity);
  for (int64_t n = 0; n < rows; ++n) request.keep.push_back(n % 5 != 2);
  for (int64_t q = 0; q < count; ++q) request.weights.push_back(int32_t(q % 3));
  const Found all = scan(data, request, rows, dim, rows, 3);
  check_equal(all.first_broken, rows, what + " first broken row");

  const int64_t kept = std::count(request.keep.begin(), request.keep.end(), 1);
  std::vector<float> score(size_t(rows * count), -kInfinity);
  for (int64_t q = 0; q < count; ++q) {
    check_equal(all.listed[size_t(q)], kept, what + " listed rows");
    for (int64_t j = 0; j < kept; ++j) {
      score[size_t(all.places[size_t(q * rows + j)] * count + q)] = all.scores[size_t(q * rows + j)];
    }
    for (int64_t n = 0; n < rows; ++n) {
      if (!request.keep[size_t(n)]) continue;
      double dot = 0., size = 0.;
      for (int64_t j = 0; j < dim; ++j) {
        const double product = double(data.queries[size_t(q * dim + j)]) * data.store[size_t(n * dim + j)];
        dot += product;
        size += std::fabs(product);
      }
      const double factor = 0.5 * request.row_scales[size_t(n)];
      const double error = std::fabs(score[size_t(n * count + q)] - dot * factor);
      if (error > 1e-6 * size * std::fabs(factor)) check(false, what + ": a score is wrong");
    }
    request.low[size_t(q)] = -0.1f * float(q % 4);
    request.high[size_t(q)] = 0.2f * float(q % 3);
  }

  const Found found = scan(data, request, rows, dim, 7, 3), alone = scan(data, request, rows, dim, 7, 1);
  check(found.votes == alone.votes && found.best == alone.best && found.above == alone.above &&
            found.total == alone.total && found.listed == alone.listed,
        what + ": one thread and three differ");
  std::vector<int32_t> votes(size_t(rows), 0);
  std::vector<float> best(size_t(rows), -kInfinity);
  for (int64_t q = 0; q < count; ++q) {
    const float low = request.low[size_t(q)], high = request.high[size_t(q)];
    int64_t above = 0, reached = 0;
    float lowest = kInfinity, highest = -kInfinity;
    double total = 0., size = 0.;
    std::vector<int64_t> listed;
    for (int64_t n = 0; n < rows; ++n) {
      if (!request.keep[size_t(n)]) continue;
      const float own = score[size_t(n * count + q)];
      above += own > high;
      reached += own >= high;
      votes[size_t(n)] += own >= high ? request.weights[size_t(q)] : 0;
      best[size_t(n)] = std::max(best[size_t(n)], own);
      lowest = std::min(lowest, own);
      highest = std::max(highest, own);
      total += own;
      size += std::fabs(own);
      if (own > low && own < high) listed.push_back(n);
    }
    check_equal(found.above[size_t(q)], above, what + " above");
    check_equal(found.reached[size_t(q)], reached, what + " reached");
    check_equal(found.lowest[size_t(q)], lowest, what + " lowest");
    check_equal(found.highest[size_t(q)], highest, what + " highest");
    check(std::fabs(found.total[size_t(q)] - total) <= 1e-6 * size, what + " total");
    check_equal(found.listed[size_t(q)], int64_t(listed.size()), what + " listed");
    const std::vector<int64_t> written = found.rows_of(q);
    check(std::includes(listed.begin(), listed.end(), written.begin(), written.end()), what + " rows of a full list");
  }
  check(found.votes == votes, what + " votes");
  check(found.best == best, what + " best");
}

void broken_rows(const std::string& level) {
  const int64_t rows = 5000, dim = 5, count = 2;
  Data data(StoreType::float32, rows, dim, count);
  Request request{{1.f, 1.f}, std::vector<float>(rows, 1.f), {0.f, 0.f},
                  {1.f, 1.f}, std::vector<uint8_t>(rows, 1), {1, 1}};
  data.store[4000 * dim] = std::numeric_limits<float>::quiet_NaN();
  data.store[3000 * dim + 4] = kInfinity;
  check_equal(scan(data, request, rows, dim, 1, 3).first_broken, int64_t(3000), "scan first broken row " + level);
  request.keep[3000] = 0;
  check_equal(scan(data, request, rows, dim, 1, 3).first_broken, int64_t(4000), "scan first broken kept row " + level);
}

void bad_arguments() {
  QuantizeRows quantize{};
  check_rejects([&] { cpu::quantize_rows(quantize); }, "dim must be at least 1", "no elements");
  quantize.rows = quantize.dim = 1;
  check_rejects([&] { cpu::quantize_rows(quantize); }, "first_broken must be a valid address", "no place for a report");
  Scan scan{};
  check_rejects([&] { cpu::scan(scan); }, "count must be at least 1", "no queries");
  scan.count = scan.dim = 1, scan.rows = -1;
  check_rejects([&] { cpu::scan(scan); }, "rows must be at least 0", "a negative count of rows");
  scan.rows = 1;
  check_rejects([&] { cpu::scan(scan); }, "must be a valid address", "no addresses");
}

}  // namespace
}  // namespace motive::test

int main() {
  using motive::StoreType;
  motive::test::at_each_level([](const std::string& level) {
    motive::test::quantized(level);
    for (const StoreType dtype : {StoreType::float32, StoreType::float16, StoreType::int8}) {
      motive::test::scores(level, dtype, 4600, 9, 3);  // more than one task
      motive::test::scores(level, dtype, 131, 67, 20);
      motive::test::scores(level, dtype, 1, 1, 1);
      motive::test::scores(level, dtype, 50, 300, 41);  // more than one run of a float sum
    }
    motive::test::broken_rows(level);
  });
  motive::test::bad_arguments();
  return motive::test::report("test_scan");
}
