// The sum of one number a thread over a block of 256 threads, as a tree in shared memory: the same order every time.
#pragma once

#include "motive/config.h"

namespace motive::cuda {

constexpr int kSumThreads = 256;

// One level of the tree, with a barrier before it: halves 128, 64, ... 1. values[0] is the sum in the end.
MOTIVE_HOST_DEVICE static inline void add_half(float* values, int half, int thread) {
  if (thread < half) values[thread] += values[thread + half];
}

}  // namespace motive::cuda
