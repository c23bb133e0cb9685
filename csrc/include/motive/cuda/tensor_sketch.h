// CUDA launcher of the materialized route of the balanced tensor sketch, for one tensor or a whole model's list of
// them.
//
// Nothing here needs the CUDA toolkit to include. Launchers run on the current device and the given stream, do not
// synchronise, and can be captured in a CUDA graph. They throw std::invalid_argument for arguments that do not fit and
// std::runtime_error where a launch fails.
#pragma once

#include <cstdint>

#include "motive/check.h"
#include "motive/dtype.h"

namespace motive::cuda {

// One gradient [samples, rows, columns] with its tables.
struct SketchTensor {
  const void* grad;  // the columns of a row are adjacent
  int64_t rows, columns;
  int64_t sample_stride, row_stride;  // in elements; any value, also 0
  const int32_t* row_table;           // [ceil(rows / dim), dim] and
  const int32_t* column_table;        // [ceil(columns / dim), dim]: gather tables (motive/tables.h)
  float scale;
};

// z[s] += sum over the tensors of scale * sketch(grad[s]).
struct TensorSketch {
  float* z;  // [samples, dim], contiguous, added to
  DType dtype;
  int64_t samples, dim;
  const SketchTensor* tensors;  // in host memory; empty ones count as zero
  int64_t count;
};

// Floats of working memory that tensor_sketch_into needs; their contents do not matter.
int64_t tensor_sketch_workspace(const TensorSketch& args);

void tensor_sketch_into(const TensorSketch& args, float* workspace, void* stream);

}  // namespace motive::cuda
