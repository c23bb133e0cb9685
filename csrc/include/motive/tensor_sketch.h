// Materialized route of the balanced tensor sketch: per-sample gradients [n, o, i] that exist in memory, in one pass.
#pragma once

#include <cstdint>

#include "motive/check.h"
#include "motive/dtype.h"

namespace motive {

// z[s, (h_o[a] + h_i[b]) mod k] += scale * s_o[a] * s_i[b] * grad[s, a, b].
struct TensorSketch {
  float* z;          // [samples, dim], contiguous, added to
  const void* grad;  // [samples, rows, columns]; the columns of a row are adjacent
  DType dtype;       // of grad
  int64_t samples, rows, columns, dim;
  int64_t sample_stride, row_stride;  // of grad, in elements; any value, also 0
  const int32_t* row_table;           // [ceil(rows / dim), dim] and
  const int32_t* column_table;        // [ceil(columns / dim), dim]: gather tables (motive/tables.h)
  float scale;
  int threads;  // at most; the result does not depend on it
};

inline void check(const TensorSketch& a) {
  const char* where = "tensor_sketch_into";
  check_size(where, "samples", a.samples, 0);
  check_axis(where, "rows", a.rows, 0);
  check_axis(where, "columns", a.columns, 0);
  check_axis(where, "dim", a.dim, 1);
  if (a.samples == 0 || a.rows == 0 || a.columns == 0) return;
  check_pointer(where, "z", a.z);
  check_pointer(where, "grad", a.grad);
  check_pointer(where, "row_table", a.row_table);
  check_pointer(where, "column_table", a.column_table);
}

namespace cpu {
void tensor_sketch_into(const TensorSketch& args);  // throws std::invalid_argument
}

}  // namespace motive
