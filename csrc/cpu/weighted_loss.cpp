// Motion-weighted loss and gradient: one task a block of cells of one sample, in all channels. Squared errors are added
// cell by cell over the channels, then over the block in a fixed tree, then over the blocks in order, so the result is
// a function of the shape and the data alone.
#include "motive/weighted_loss.h"

#include "common/parallel.h"
#include "elements.h"
#include "scratch.h"

namespace motive::cpu::MOTIVE_LEVEL {
namespace {

constexpr int64_t kBlock = 2048;           // cells of a task; a power of two, and a multiple of every kLanes
constexpr int64_t kThreadBytes = 1 << 20;  // bytes that take about as long as starting a thread

// Adds W r^2 of some cells to sums and returns their gradient; without weights, W = 1.
MOTIVE_INLINE Vector one_vector(Vector prediction, Vector target, Vector weight, Vector factor, float* sums) {
  const Vector residual = prediction - target, weighted = weight * residual;
  store(sums, load(sums) + weighted * residual);
  return weighted * factor;
}

template <class T>
void one_channel(const T* prediction, const T* target, const float* weights, float gradient_factor, int64_t count,
                 T* gradient, float* sums) {
  const Vector factor = broadcast(gradient_factor), one = broadcast(1.f);
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    const Vector weight = weights != nullptr ? load(weights + j) : one;
    store(gradient + j, one_vector(load(prediction + j), load(target + j), weight, factor, sums + j));
  }
  if (j == count) return;
  const int64_t rest = count - j;
  const Vector weight = weights != nullptr ? load_some(weights + j, rest) : one;
  const Vector last =
      one_vector(load_some(prediction + j, rest), load_some(target + j, rest), weight, factor, sums + j);
  store_some(gradient + j, last, rest);
}

// Sum of kBlock floats by halving; destroys them.
float sum_block(float* sums) {
  for (int64_t half = kBlock / 2; half >= 1; half /= 2) {
    for (int64_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0];
}

// The block's gradient; returns its sum of weighted squared errors.
template <class T>
float one_block(const WeightedLoss& a, int64_t sample, int64_t first) {
  const int64_t count = a.cells - first < kBlock ? a.cells - first : kBlock;
  const float* weights = a.weights == nullptr ? nullptr : a.weights + sample * a.cells + first;
  const Scratch<float> sums(kBlock);
  for (int64_t j = 0; j < kBlock; ++j) sums[j] = 0.f;
  for (int64_t channel = 0; channel < a.channels; ++channel) {
    const int64_t at = (sample * a.channels + channel) * a.cells + first;
    one_channel(static_cast<const T*>(a.prediction) + at, static_cast<const T*>(a.target) + at, weights,
                a.gradient_factor, count, static_cast<T*>(a.gradient) + at, sums.get());
  }
  return sum_block(sums.get());
}

template <class T>
void run(const WeightedLoss& a) {
  const int64_t blocks = (a.cells + kBlock - 1) / kBlock;
  const Scratch<float> partials(a.samples * blocks);
  const int64_t bytes = 3 * a.samples * a.channels * a.cells * int64_t(sizeof(T));
  parallel_for(a.samples * blocks, useful_threads(a.threads, bytes, kThreadBytes),
               [&](int64_t task) { partials[task] = one_block<T>(a, task / blocks, task % blocks * kBlock); });
  for (int64_t sample = 0; sample < a.samples; ++sample) {
    double total = 0;
    for (int64_t block = 0; block < blocks; ++block) total += partials[sample * blocks + block];
    a.loss[sample] = float(total * a.loss_factor);
  }
}

}  // namespace

void weighted_loss(const WeightedLoss& a) {
  switch (a.dtype) {
    case DType::float32: return run<float>(a);
    case DType::bfloat16: return run<bfloat16>(a);
    case DType::float16: return run<float16>(a);
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL

MOTIVE_DISPATCH(weighted_loss, WeightedLoss)
