// Launchers of reduce.h.
#pragma once

#include "launch.cuh"
#include "reduce.h"

namespace motive::cuda {

constexpr int kReduceThreads = 256;

static __global__ void sum_groups_kernel(const float* partials, float* sums, int64_t count, int64_t width,
                                         int64_t total) {
  const int64_t index = int64_t(blockIdx.x) * kReduceThreads + threadIdx.x;
  if (index < total) sum_group(partials, sums, count, width, index);
}

static __global__ void add_group_kernel(const float* partials, float* z, int64_t count, int64_t width, int64_t total) {
  const int64_t index = int64_t(blockIdx.x) * kReduceThreads + threadIdx.x;
  if (index < total) add_group(partials, z, count, width, index);
}

// Reduces [samples, count, width] to at most one group of partial vectors; `scratch` has reduction_floats floats.
// Returns where they are and sets count to their number.
inline const float* sum_groups(const char* where, const float* partials, int64_t samples, int64_t& count, int64_t width,
                               float* scratch, cudaStream_t stream) {
  while (count > kGroup) {
    const int64_t groups = ceil_div(count, kGroup), total = samples * groups * width;
    launch(where, sum_groups_kernel, ceil_div(total, kReduceThreads), kReduceThreads, 0, stream, partials, scratch,
           count, width, total);
    partials = scratch;
    scratch += total;
    count = groups;
  }
  return partials;
}

// z [samples, width] += the sum of the partial vectors.
inline void add_partials(const char* where, const float* partials, float* z, int64_t samples, int64_t count,
                         int64_t width, float* scratch, cudaStream_t stream) {
  partials = sum_groups(where, partials, samples, count, width, scratch, stream);
  const int64_t total = samples * width;
  launch(where, add_group_kernel, ceil_div(total, kReduceThreads), kReduceThreads, 0, stream, partials, z, count, width,
         total);
}

}  // namespace motive::cuda
