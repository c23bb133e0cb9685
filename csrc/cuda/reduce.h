// Sums of many partial vectors in a fixed order: groups of 32, then groups of those, until one group is left.
#pragma once

#include "packed.h"

namespace motive::cuda {

constexpr int64_t kGroup = 32;

// Floats of working memory for the sums of groups of [samples, count, width] partial vectors.
static inline int64_t reduction_floats(int64_t samples, int64_t count, int64_t width) {
  int64_t floats = 0;
  while (count > kGroup) {
    count = ceil_div(count, kGroup);
    floats += samples * count * width;
  }
  return floats;
}

// Sum over one group: entries first .. last - 1 of a column of [count, width].
MOTIVE_HOST_DEVICE static inline float group_sum(const float* column, int64_t width, int64_t first, int64_t last) {
  float sum = 0.0f;
#pragma unroll 8
  for (int64_t j = first; j < last; ++j) sum += column[j * width];
  return sum;
}

// Thread `index` of samples * groups * width: one column of one group's sum.
MOTIVE_HOST_DEVICE static inline void sum_group(const float* partials, float* sums, int64_t count, int64_t width,
                                                int64_t index) {
  const int64_t groups = (count + kGroup - 1) / kGroup;
  const int64_t column = index % width, group = index / width % groups, sample = index / width / groups;
  const float* from = partials + sample * count * width + column;
  sums[index] = group_sum(from, width, group * kGroup, smaller((group + 1) * kGroup, count));
}

// Thread `index` of samples * width: z += the sum over at most one group.
MOTIVE_HOST_DEVICE static inline void add_group(const float* partials, float* z, int64_t count, int64_t width,
                                                int64_t index) {
  const int64_t column = index % width, sample = index / width;
  z[index] += group_sum(partials + sample * count * width + column, width, 0, count);
}

}  // namespace motive::cuda
