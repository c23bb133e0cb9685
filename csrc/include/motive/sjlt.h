// Sparse Johnson-Lindenstrauss transform of flattened gradients; buckets and signs are generated where they are used.
#pragma once

#include <cstdint>

#include "motive/check.h"
#include "motive/dtype.h"

namespace motive {

// For every column j and c = 0 .. nonzeros - 1, with t = j * nonzeros + c and word t % 4 of Philox(counter = (t / 4, 0,
// 0)): z[s, bucket] += scale * (bit 0 set ? 1 : -1) * grad[s, j], bucket = low_c + ((word >> 1) * (low_{c+1} - low_c)
// >> 31), low_c = c * dim / nonzeros, rounded down.
struct SparseTransform {
  float* z;          // [samples, dim], contiguous, added to
  const void* grad;  // [samples, columns]; the columns of a sample are adjacent
  DType dtype;       // of grad
  int64_t samples, columns, dim, nonzeros;
  int64_t sample_stride;  // of grad, in elements; any value, also 0
  uint32_t key0, key1;
  float scale;
  int threads;  // at most; the result does not depend on it
};

inline void check(const SparseTransform& a) {
  const char* where = "sjlt_into";
  check_size(where, "samples", a.samples, 0);
  check_size(where, "columns", a.columns, 0);
  check_size(where, "dim", a.dim, 1);
  check_size(where, "nonzeros", a.nonzeros, 1);
  if (a.dim > int64_t(1) << 26) {
    fail(where, "dim", "at most 2^26", std::to_string(a.dim), "project to fewer dimensions");
  }
  if (a.nonzeros > a.dim) {
    fail(where, "nonzeros", "at most dim = " + std::to_string(a.dim), std::to_string(a.nonzeros), "1 is usual");
  }
  if (a.samples == 0 || a.columns == 0) return;
  check_pointer(where, "z", a.z);
  check_pointer(where, "grad", a.grad);
}

namespace cpu {
void sjlt_into(const SparseTransform& args);  // throws std::invalid_argument
}

}  // namespace motive
