// Factorized route of the balanced tensor sketch: the sketch of each sample's sum_t dy_t x_t^T, which is never formed.
#pragma once

#include <cstdint>

#include "motive/check.h"
#include "motive/dtype.h"

namespace motive {

// z[s, (h_o[a] + h_i[b]) mod k] += scale * s_o[a] * s_i[b] * sum over t < lengths[s] of dy[s, t, a] * x[s, t, b].
struct OuterSketch {
  float* z;        // [samples, dim], contiguous, added to
  const void* x;   // [samples, tokens, columns]; the elements of a token are adjacent
  const void* dy;  // [samples, tokens, rows]; the same
  DType dtype;     // of x and dy
  int64_t samples, tokens, rows, columns, dim;
  int64_t x_sample_stride, x_token_stride;    // in elements; any value, also 0
  int64_t dy_sample_stride, dy_token_stride;  // likewise
  const int32_t* row_table;                   // [ceil(rows / dim), dim] and
  const int32_t* column_table;                // [ceil(columns / dim), dim]: gather tables (motive/tables.h)
  const int64_t*
      lengths;  // [samples], clamped to 0 .. tokens, or null for `tokens` everywhere; later tokens are not read
  float scale;
  int threads;  // at most; the result does not depend on it
};

inline void check(const OuterSketch& a) {
  const char* where = "outer_sketch_into";
  check_size(where, "samples", a.samples, 0);
  check_size(where, "tokens", a.tokens, 0);
  check_axis(where, "rows", a.rows, 0);
  check_axis(where, "columns", a.columns, 0);
  check_axis(where, "dim", a.dim, 1);
  if (a.samples == 0 || a.tokens == 0 || a.rows == 0 || a.columns == 0) return;
  check_pointer(where, "z", a.z);
  check_pointer(where, "x", a.x);
  check_pointer(where, "dy", a.dy);
  check_pointer(where, "row_table", a.row_table);
  check_pointer(where, "column_table", a.column_table);
}

namespace cpu {
void outer_sketch_into(const OuterSketch& args);  // throws std::invalid_argument
}

}  // namespace motive
