// Materialized route of the balanced tensor sketch: how tensors are cut into the work of blocks, on the host.
// tensor_sketch.h says what a block does with it.
#pragma once

#include <string>

#include "motive/cuda/tensor_sketch.h"
#include "packed.h"

namespace motive::cuda::tensor_sketch {

constexpr int kThreads = 256;
constexpr int kLanes = 4;
constexpr int kMaxTensors = 256;
constexpr int64_t kMaxItems = 32;
constexpr int64_t kMaxTableDim = 4096;  // widest sketch whose column table is kept in registers

// One tensor as the kernel sees it.
struct Tensor {
  const void* grad;
  const int32_t* row_table;
  const int32_t* column_table;
  int64_t sample_stride, row_stride;
  int32_t rows, columns;
  int32_t first_unit;  // blocks of the tensors before it
  int32_t items;       // of one block
  float scale;
  int32_t vectorised;  // rows and chunks begin at multiples of 16 bytes
};

// What a kernel gets, by value.
struct Batch {
  Tensor tensors[kMaxTensors];
  float* partials;  // [samples, stride, dim]
  int64_t stride;   // partial vectors of a sample, over all launches
  int32_t count, units, dim;
};

// Bucket positions q = thread + j * kThreads that a thread looks after, and the column runs of a chunk, for a dim.
static inline int positions_for(int64_t dim) {
  int positions = 1;
  while (positions * kThreads < dim) positions *= 2;
  return positions;
}
MOTIVE_HOST_DEVICE constexpr int runs_for(int positions) { return positions < 8 ? 8 / positions : 1; }

// Gradient elements of one block, about: more where a whole model comes at once, so that partial vectors stay a small
// part of the traffic.
static inline int64_t unit_elements(const TensorSketch& args) {
  int64_t elements = 0;
  for (int64_t j = 0; j < args.count; ++j) elements += args.tensors[j].rows * args.tensors[j].columns;
  return elements < int64_t(1) << 28 ? 65536 : 131072;
}

// How a tensor is cut.
struct Cut {
  int64_t chunks, steps, items, units;
};

static inline Cut cut_of(int64_t rows, int64_t columns, int64_t dim, int64_t unit_elements) {
  Cut cut;
  const int64_t width = dim > kMaxTableDim ? columns : runs_for(positions_for(dim)) * dim;
  cut.chunks = ceil_div(columns, width);
  cut.steps = ceil_div(dim > kMaxTableDim ? dim : smaller(rows, dim), kLanes);
  const int64_t elements = kLanes * ceil_div(rows, dim) * smaller(columns, width);
  const int64_t wanted = ceil_div(unit_elements, elements);
  cut.items = smaller(wanted < kMaxItems ? wanted : kMaxItems, cut.chunks * cut.steps);
  cut.units = ceil_div(cut.chunks * cut.steps, cut.items);
  return cut;
}

// Rows and chunks that begin at multiples of 16 bytes and hold whole vectors.
static inline bool is_vectorised(const SketchTensor& t, DType dtype, int64_t samples, int64_t dim) {
  const int64_t v = 16 / size_of(dtype);
  const int64_t width = dim > kMaxTableDim ? 1 : runs_for(positions_for(dim)) * dim;
  return reinterpret_cast<uintptr_t>(t.grad) % 16 == 0 && t.columns % v == 0 && width % v == 0 &&
         (t.rows == 1 || t.row_stride % v == 0) && (samples == 1 || t.sample_stride % v == 0);
}

static inline bool is_empty(const SketchTensor& t) { return t.rows == 0 || t.columns == 0; }

// Throws std::invalid_argument for arguments that do not fit.
static inline void check(const TensorSketch& args) {
  const char* where = "tensor_sketch_into";
  constexpr int64_t limit = int64_t(1) << 30;  // a table entry is 2 * index + 1
  check_size(where, "samples", args.samples, 0);
  check_size(where, "dim", args.dim, 1);
  check_size(where, "count", args.count, 0);
  if (args.dim > limit) fail(where, "dim", "at most 2^30", std::to_string(args.dim), "use a smaller sketch");
  if (args.samples == 0 || args.count == 0) return;
  check_pointer(where, "z", args.z);
  check_pointer(where, "tensors", args.tensors);
  for (int64_t j = 0; j < args.count; ++j) {
    const SketchTensor& t = args.tensors[j];
    check_size(where, "rows", t.rows, 0);
    check_size(where, "columns", t.columns, 0);
    if (t.rows > limit || t.columns > limit) {
      fail(where, "grad", "at most 2^30 rows and columns", std::to_string(t.rows) + " x " + std::to_string(t.columns),
           "split it");
    }
    if (is_empty(t)) continue;
    check_pointer(where, "grad", t.grad);
    check_pointer(where, "row_table", t.row_table);
    check_pointer(where, "column_table", t.column_table);
  }
}

static inline int64_t total_units(const TensorSketch& args) {
  const int64_t elements = unit_elements(args);
  int64_t units = 0;
  for (int64_t j = 0; j < args.count; ++j) {
    const SketchTensor& t = args.tensors[j];
    if (!is_empty(t)) units += cut_of(t.rows, t.columns, args.dim, elements).units;
  }
  return units;
}

// The next tensors, from number `next` on, as one launch. Returns the number after the last one taken.
static inline int64_t fill_batch(const TensorSketch& args, int64_t next, float* partials, int64_t stride,
                                 Batch& batch) {
  batch.partials = partials;
  batch.stride = stride;
  batch.dim = int32_t(args.dim);
  batch.count = 0;
  batch.units = 0;
  const int64_t elements = unit_elements(args);
  for (; next < args.count && batch.count < kMaxTensors; ++next) {
    const SketchTensor& t = args.tensors[next];
    if (is_empty(t)) continue;
    const Cut cut = cut_of(t.rows, t.columns, args.dim, elements);
    Tensor& tensor = batch.tensors[batch.count++];
    tensor.grad = t.grad;
    tensor.row_table = t.row_table;
    tensor.column_table = t.column_table;
    tensor.sample_stride = t.sample_stride;
    tensor.row_stride = t.row_stride;
    tensor.rows = int32_t(t.rows);
    tensor.columns = int32_t(t.columns);
    tensor.first_unit = batch.units;
    tensor.items = int32_t(cut.items);
    tensor.scale = t.scale;
    tensor.vectorised = is_vectorised(t, args.dtype, args.samples, args.dim);
    batch.units += int32_t(cut.units);
  }
  return next;
}

}  // namespace motive::cuda::tensor_sketch
