// Motion-weighted loss: the work of one thread. A block takes 256 groups of V cells, in all channels.
#pragma once

#include "block_sum.h"
#include "motive/weighted_loss.h"
#include "packed.h"

namespace motive::cuda::weighted {

static inline bool is_vectorised(const WeightedLoss& a) {
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  return a.cells % (16 / size_of(a.dtype)) == 0 && aligned(a.prediction) && aligned(a.target) && aligned(a.gradient);
}

static inline int64_t cells_of_block(const WeightedLoss& a) {
  return kSumThreads * (is_vectorised(a) ? 16 / size_of(a.dtype) : 1);
}

static inline int64_t blocks_of_sample(const WeightedLoss& a) { return ceil_div(a.cells, cells_of_block(a)); }

constexpr int kChannelsAtOnce = 4;

// Gradient of a thread's cells; returns the sum of their weighted squared errors.
template <class T, int V>
MOTIVE_HOST_DEVICE static inline float residual(const WeightedLoss& a, int64_t sample, int64_t block, int thread) {
  const int64_t cell = (block * kSumThreads + thread) * V;
  if (cell >= a.cells) return 0.0f;
  float weight[V];
#pragma unroll
  for (int j = 0; j < V; ++j) weight[j] = a.weights == nullptr ? 1.0f : a.weights[sample * a.cells + cell + j];
  float sum = 0.0f;
  for (int64_t first = 0; first < a.channels; first += kChannelsAtOnce) {
    const int64_t at = (sample * a.channels + first) * a.cells + cell;
    Packed<T, V> prediction[kChannelsAtOnce], target[kChannelsAtOnce];
#pragma unroll
    for (int c = 0; c < kChannelsAtOnce; ++c) {  // all loads are under way before the first store needs its registers
      if (first + c >= a.channels) break;
      prediction[c] = load_once<T, V>(static_cast<const T*>(a.prediction) + at + c * a.cells);
      target[c] = load_once<T, V>(static_cast<const T*>(a.target) + at + c * a.cells);
    }
#pragma unroll
    for (int c = 0; c < kChannelsAtOnce; ++c) {
      if (first + c >= a.channels) break;
      float gradient[V];
#pragma unroll
      for (int j = 0; j < V; ++j) {
        const float difference = element_of(prediction[c], j) - element_of(target[c], j);
        const float weighted = weight[j] * difference;
        sum += weighted * difference;
        gradient[j] = a.gradient_factor * weighted;
      }
      store_rounded<T, V>(static_cast<T*>(a.gradient) + at + c * a.cells, gradient);
    }
  }
  return sum;
}

// One thread's share of a sample's partial sums.
MOTIVE_HOST_DEVICE static inline float share(const float* partials, int64_t blocks, int thread) {
  float sum = 0.0f;
  for (int64_t j = thread; j < blocks; j += kSumThreads) sum += partials[j];
  return sum;
}

}  // namespace motive::cuda::weighted
