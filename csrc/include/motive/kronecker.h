// Kronecker projection (A (x) B) of a layer's gradient, from the gradient itself or from the layer's tokens.
#pragma once

#include <cstdint>

#include "motive/check.h"
#include "motive/dtype.h"

namespace motive {

// The two factors: z has left_rows * right_rows elements, row-major.
struct KroneckerFactors {
  const float* left;   // A [left_rows, rows], contiguous
  const float* right;  // B [right_rows, columns], contiguous
  int64_t left_rows, right_rows;
};

// z[s, p, q] += scale * sum over a, b of A[p, a] * B[q, b] * grad[s, a, b].
struct Kronecker {
  float* z;          // [samples, left_rows * right_rows], contiguous, added to
  const void* grad;  // [samples, rows, columns]; the columns of a row are adjacent
  DType dtype;       // of grad
  int64_t samples, rows, columns;
  int64_t sample_stride, row_stride;  // of grad, in elements; any value, also 0
  KroneckerFactors factors;
  float scale;
  int threads;  // at most; the result does not depend on it
};

// z[s, p, q] += scale * sum over t < lengths[s] of (A dy[s, t])[p] * (B x[s, t])[q].
struct KroneckerOuter {
  float* z;        // [samples, left_rows * right_rows], contiguous, added to
  const void* x;   // [samples, tokens, columns]; the elements of a token are adjacent
  const void* dy;  // [samples, tokens, rows]; the same
  DType dtype;     // of x and dy
  int64_t samples, tokens, rows, columns;
  int64_t x_sample_stride, x_token_stride;    // in elements; any value, also 0
  int64_t dy_sample_stride, dy_token_stride;  // likewise
  KroneckerFactors factors;
  const int64_t* lengths;  // [samples], clamped to 0 .. tokens, or null for `tokens`; later tokens are not read
  float scale;
  int threads;  // at most; the result does not depend on it
};

inline void check_factors(const char* where, const KroneckerFactors& factors) {
  check_size(where, "left_rows", factors.left_rows, 1);
  check_size(where, "right_rows", factors.right_rows, 1);
  check_pointer(where, "left", factors.left);
  check_pointer(where, "right", factors.right);
}

inline void check(const Kronecker& a) {
  const char* where = "kronecker_into";
  check_size(where, "samples", a.samples, 0);
  check_size(where, "rows", a.rows, 0);
  check_size(where, "columns", a.columns, 0);
  if (a.samples == 0 || a.rows == 0 || a.columns == 0) return;
  check_factors(where, a.factors);
  check_pointer(where, "z", a.z);
  check_pointer(where, "grad", a.grad);
}

inline void check(const KroneckerOuter& a) {
  const char* where = "kronecker_outer_into";
  check_size(where, "samples", a.samples, 0);
  check_size(where, "tokens", a.tokens, 0);
  check_size(where, "rows", a.rows, 0);
  check_size(where, "columns", a.columns, 0);
  if (a.samples == 0 || a.tokens == 0 || a.rows == 0 || a.columns == 0) return;
  check_factors(where, a.factors);
  check_pointer(where, "z", a.z);
  check_pointer(where, "x", a.x);
  check_pointer(where, "dy", a.dy);
}

namespace cpu {
void kronecker_into(const Kronecker& args);             // throws std::invalid_argument
void kronecker_outer_into(const KroneckerOuter& args);  // throws std::invalid_argument
}  // namespace cpu

}  // namespace motive
