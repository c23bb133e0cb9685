// Scores of every row of a store for every query, in one pass that keeps no score but those between two bounds.
#pragma once

#include <cstdint>

#include "motive/check.h"

namespace motive {

enum class StoreType : int { float32 = 0, float16 = 1, int8 = 2 };

// score(q, n) = (dot(queries[q], store[n]) * row_scales[n]) * query_scales[q], in float, where the product with an int8
// store is an exact 32-bit integer and that with a float store a float sum over k in order (in runs of 128).
//
// The caller makes sure that integer products fit: max |query| * 128 * dim < 2^31.
struct Scan {
  const void* queries;        // [count, dim] contiguous: int16 for an int8 store, else float
  const float* query_scales;  // [count]
  int64_t count, dim;
  const void* store;  // [rows, dim], dim adjacent elements every row_stride
  StoreType dtype;
  int64_t rows, row_stride;
  const float* row_scales;  // [rows]; null for 1
  const uint8_t* keep;      // [rows]; rows with 0 take no part; null keeps all
  const float* low;         // [count]
  const float* high;        // [count]
  const int32_t* weights;   // [count]; null for 1
  int threads;              // at most; the result does not depend on it

  int32_t* votes;         // [rows] sum of the weights of the queries with score >= high; may be null
  float* best;            // [rows] largest score over the queries; may be null
  int64_t* above;         // [count] rows with score > high
  int64_t* reached;       // [count] rows with score >= high
  float* lowest;          // [count] smallest score; infinity if no row takes part; may be null with the next two;
                          // a scan of int8 vectors that asks for lists alone may then be faster
  float* highest;         // [count] largest score
  double* total;          // [count] sum of the scores; its last bits depend on the SIMD level, not on threads
  int64_t* listed;        // [count] rows with low < score < high
  int64_t capacity;       // how many of them are kept for each query
  float* listed_scores;   // [count, capacity] in any order
  int64_t* listed_rows;   // [count, capacity]
  int64_t* first_broken;  // the first row with a score that is not finite, or `rows`
};

inline void check(const Scan& a) {
  const char* where = "scan";
  check_size(where, "count", a.count, 1);
  check_size(where, "dim", a.dim, 1);
  check_size(where, "rows", a.rows, 0);
  check_size(where, "capacity", a.capacity, 0);
  check_pointer(where, "first_broken", a.first_broken);
  check_pointer(where, "queries", a.queries);
  check_pointer(where, "query_scales", a.query_scales);
  check_pointer(where, "low", a.low);
  check_pointer(where, "high", a.high);
  for (const void* result :
       {static_cast<const void*>(a.above), static_cast<const void*>(a.reached), static_cast<const void*>(a.listed)}) {
    check_pointer(where, "result", result);
  }
  if (a.lowest) {
    check_pointer(where, "highest", a.highest);
    check_pointer(where, "total", a.total);
  }
  if (a.rows) check_pointer(where, "store", a.store);
  if (a.capacity) {
    check_pointer(where, "listed_scores", a.listed_scores);
    check_pointer(where, "listed_rows", a.listed_rows);
  }
}

namespace cpu {
void scan(const Scan& args);  // throws std::invalid_argument
}

}  // namespace motive
