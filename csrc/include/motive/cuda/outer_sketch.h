// CUDA launcher of the factorized route of the balanced tensor sketch: per-sample gradient extraction and projection in
// one.
//
// Nothing here needs the CUDA toolkit to include. Launchers run on the current device and the given stream, do not
// synchronise, and can be captured in a CUDA graph. They throw std::invalid_argument for arguments that do not fit and
// std::runtime_error where a launch fails.
#pragma once

#include <cstdint>

#include "motive/check.h"
#include "motive/dtype.h"

namespace motive::cuda {

// Widest sketch of the factorized route: a power of two up to 4096, or any width up to 2048.
bool outer_sketch_takes(int64_t dim);

// One side of the outer products: [samples, tokens, columns]; the columns of a token are adjacent.
struct TokenSide {
  const void* data;
  int64_t columns;
  int64_t sample_stride, token_stride;  // in elements; any value, also 0
  const int32_t* table;                 // [ceil(columns / dim), dim]: gather table (motive/tables.h)
};

// z[s] += scale * sketch(sum over t < lengths[s] of dy[s, t] x[s, t]^T).
struct OuterSketch {
  float* z;  // [samples, dim], contiguous, added to
  DType dtype;
  int64_t samples, tokens, dim;
  TokenSide x, dy;
  const int64_t* lengths;  // [samples] in device memory, clamped to 0 .. tokens, or null for all tokens
  float scale;
};

// Floats of working memory that outer_sketch_into needs; their contents do not matter.
int64_t outer_sketch_workspace(const OuterSketch& args);

void outer_sketch_into(const OuterSketch& args, float* workspace, void* stream);

}  // namespace motive::cuda
