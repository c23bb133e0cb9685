// Tiled Fastfood transform of flattened gradients; signs and Gaussian factors are generated where they are used.
#pragma once

#include <cstdint>

#include "motive/check.h"
#include "motive/dtype.h"

namespace motive {

// z[s] += scale * H_dim f, f[labels[j]] = sum over tiles of factor(tile, j) * (H_tile (sign(tile, .) * grad[s,
// tile]))[j], where H is the +-1 Hadamard matrix, sign is the Rademacher entry of role 0 and factor the Gaussian entry
// of role 1 at (row tile, column j), as in dense_projection.h.
struct Fastfood {
  float* z;                             // [samples, dim], contiguous, added to
  const void* grad;                     // [samples, columns]; the columns of a sample are adjacent
  DType dtype;                          // of grad
  int64_t samples, columns, dim, tile;  // dim and tile are powers of two, dim <= tile
  int64_t sample_stride;                // of grad, in elements; any value, also 0
  const int32_t* labels;                // [tile], 0 .. dim - 1
  uint32_t key0, key1;
  float scale;
  int threads;  // at most; the result does not depend on it
};

inline void check(const Fastfood& a) {
  const char* where = "fastfood_into";
  check_size(where, "samples", a.samples, 0);
  check_size(where, "columns", a.columns, 0);
  check_size(where, "dim", a.dim, 1);
  check_size(where, "tile", a.tile, a.dim);
  if ((a.dim & (a.dim - 1)) != 0 || (a.tile & (a.tile - 1)) != 0 || a.tile > int64_t(1) << 30) {
    fail(where, "dim and tile", "powers of two of at most 2^30",
         std::to_string(a.dim) + " and " + std::to_string(a.tile), "choose others");
  }
  if (a.samples == 0 || a.columns == 0) return;
  check_pointer(where, "z", a.z);
  check_pointer(where, "grad", a.grad);
  check_pointer(where, "labels", a.labels);
  for (int64_t j = 0; j < a.tile; ++j) {
    if (a.labels[j] < 0 || a.labels[j] >= a.dim) {
      fail(where, "labels", "in 0 .. dim - 1", std::to_string(a.labels[j]), "make them from a permutation");
    }
  }
}

namespace cpu {
void fastfood_into(const Fastfood& args);  // throws std::invalid_argument
}

}  // namespace motive
