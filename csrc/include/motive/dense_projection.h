// Dense random projection of flattened gradients; the matrix is generated where it is used.
#pragma once

#include <cstdint>

#include "motive/check.h"
#include "motive/dtype.h"

namespace motive {

enum class Distribution : int { rademacher = 0, gaussian = 1 };

// z[s, row] += scale * sum over columns of entry(row, column) * grad[s, column].
// rademacher: bit column % 128 of Philox(counter = (column / 128, row, role, 0)), set = +1, clear = -1.
// gaussian: number column % 4 of the same with column / 4, words (0, 1) and (2, 3) by Box-Muller.
struct DenseProjection {
  float* z;          // [samples, dim], contiguous, added to
  const void* grad;  // [samples, columns]; the columns of a sample are adjacent
  DType dtype;       // of grad
  Distribution distribution;
  int64_t samples, columns, dim;
  int64_t sample_stride;  // of grad, in elements; any value, also 0
  uint32_t key0, key1, role;
  float scale;
  int threads;  // at most; the result does not depend on it
};

inline void check(const DenseProjection& a) {
  const char* where = "dense_projection_into";
  check_size(where, "samples", a.samples, 0);
  check_size(where, "columns", a.columns, 0);
  check_size(where, "dim", a.dim, 1);
  if (a.dim > (int64_t(1) << 32)) {
    fail(where, "dim", "at most 2^32", std::to_string(a.dim), "project to fewer dimensions");
  }
  const int64_t limit = (a.distribution == Distribution::rademacher ? int64_t(128) : int64_t(4)) << 32;
  if (a.columns > limit) {
    fail(where, "columns", "at most " + std::to_string(limit), std::to_string(a.columns), "split the parameter");
  }
  if (a.samples == 0 || a.columns == 0) return;
  check_pointer(where, "z", a.z);
  check_pointer(where, "grad", a.grad);
}

namespace cpu {
void dense_projection_into(const DenseProjection& args);  // throws std::invalid_argument
}

}  // namespace motive
