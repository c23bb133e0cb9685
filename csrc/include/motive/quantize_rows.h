// Vectors as bytes with one factor each.
#pragma once

#include <cstdint>

#include "motive/check.h"
#include "motive/dtype.h"

namespace motive {

// values[n] = z[n] * 127 / max |z[n]|, rounded to nearest, ties to even. scales[n] makes scales[n] * values[n] a vector
// of norm 1 (unit) or of the size of z[n]. A zero row stays zero with a scale of 0. All of it in double, and the only
// sum is one of integers, so that every implementation gives the same bits.
struct QuantizeRows {
  int8_t* values;  // [rows, dim] contiguous
  float* scales;   // [rows]
  const void* z;   // [rows, dim], dim adjacent elements every row_stride
  DType dtype;
  int64_t rows, dim, row_stride;
  bool unit;
  int64_t* first_broken;  // the first row with an element that is not finite, or `rows`
  int threads;            // at most; the result does not depend on it
};

inline void check(const QuantizeRows& a) {
  const char* where = "quantize_rows";
  check_size(where, "rows", a.rows, 0);
  check_size(where, "dim", a.dim, 1);
  check_pointer(where, "first_broken", a.first_broken);
  if (a.rows == 0) return;
  check_pointer(where, "values", a.values);
  check_pointer(where, "scales", a.scales);
  check_pointer(where, "z", a.z);
}

namespace cpu {
void quantize_rows(const QuantizeRows& args);  // throws std::invalid_argument
}

}  // namespace motive
