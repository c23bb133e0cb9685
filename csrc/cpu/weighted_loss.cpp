// Motion-weighted loss and gradient: one task a block of cells of one sample, in all channels. Squared errors are added
// in kSums interleaved sums for each channel of a block, these over the channels, then in a fixed tree, then over the
// blocks in order, so the result is a function of the shape and the data alone.
#include "motive/weighted_loss.h"

#include "common/parallel.h"
#include "elements.h"
#include "scratch.h"

namespace motive::cpu::MOTIVE_LEVEL {
namespace {

constexpr int64_t kBlock = 2048;           // cells of a task; a multiple of kSums
constexpr int64_t kSums = 32;              // a power of two, and a multiple of every 2 kLanes
constexpr int64_t kThreadBytes = 1 << 20;  // bytes that take about as long as starting a thread

// Asks for an address that the processor's own look-ahead does not guess; any address will do.
template <int kWrite>
MOTIVE_INLINE void fetch(const void* from, uintptr_t ahead) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(from) + ahead), kWrite);
}

// One channel of a block. The next one lies a.cells further, so that the processor does not guess it.
template <class T>
struct Channel {
  const T *prediction, *target;
  const float* weights;  // null: ones
  T* gradient;
  uintptr_t next;  // bytes to the next channel

  // Adds W r^2 of 2 kLanes cells to two sums and writes their gradient.
  MOTIVE_INLINE void two_vectors(int64_t j, Vector factor, Vector* sums) const {
    const Twice p = load_twice(prediction + j), t = load_twice(target + j);
    const Twice ones = {broadcast(1.f), broadcast(1.f)};
    const Twice w = weights != nullptr ? load_twice_like(weights + j, prediction) : ones;
    store_twice(gradient + j, {step(p.a, t.a, w.a, factor, sums[0]), step(p.b, t.b, w.b, factor, sums[1])});
  }

  MOTIVE_INLINE void one_vector(int64_t j, Vector factor, Vector& sum) const {
    const Vector weight = weights != nullptr ? load(weights + j) : broadcast(1.f);
    store(gradient + j, step(load(prediction + j), load(target + j), weight, factor, sum));
  }

  void last_vector(int64_t j, int64_t count, Vector factor, Vector& sum) const {
    const Vector weight = weights != nullptr ? load_some(weights + j, count) : broadcast(1.f);
    store_some(gradient + j, step(load_some(prediction + j, count), load_some(target + j, count), weight, factor, sum),
               count);
  }

  MOTIVE_INLINE void fetch_next(int64_t j) const {
    for (int64_t line = 0; line < kSums; line += 64 / int64_t(sizeof(T))) {
      fetch<0>(prediction + j + line, next);
      fetch<0>(target + j + line, next);
      fetch<1>(gradient + j + line, next);
    }
  }

 private:
  static MOTIVE_INLINE Vector step(Vector prediction, Vector target, Vector weight, Vector factor, Vector& sum) {
    const Vector residual = prediction - target, weighted = weight * residual;
    sum += weighted * residual;
    return weighted * factor;
  }
};

// Writes the gradient of a channel of `count` cells and adds its weighted squared errors to sums.
template <class T>
void one_channel(const Channel<T>& channel, float gradient_factor, int64_t count, float* sums) {
  constexpr int kVectors = kSums / kLanes;
  const Vector factor = broadcast(gradient_factor);
  Vector found[kVectors] = {};
  int64_t j = 0;
  for (; j + kSums <= count; j += kSums) {
    channel.fetch_next(j);
    for (int v = 0; v < kVectors; v += 2) channel.two_vectors(j + v * kLanes, factor, found + v);
  }
  for (int v = 0; v < kVectors && j < count; ++v, j += kLanes) {
    if (j + kLanes <= count) {
      channel.one_vector(j, factor, found[v]);
    } else {
      channel.last_vector(j, count - j, factor, found[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) store(sums + v * kLanes, load(sums + v * kLanes) + found[v]);
}

// The block's gradient; returns its sum of weighted squared errors.
template <class T>
float one_block(const WeightedLoss& a, int64_t sample, int64_t first) {
  const int64_t count = a.cells - first < kBlock ? a.cells - first : kBlock;
  const float* weights = a.weights == nullptr ? nullptr : a.weights + sample * a.cells + first;
  float sums[kSums] = {};
  for (int64_t channel = 0; channel < a.channels; ++channel) {
    const int64_t at = (sample * a.channels + channel) * a.cells + first;
    one_channel(Channel<T>{static_cast<const T*>(a.prediction) + at, static_cast<const T*>(a.target) + at, weights,
                           static_cast<T*>(a.gradient) + at, uintptr_t(a.cells) * sizeof(T)},
                a.gradient_factor, count, sums);
  }
  for (int64_t half = kSums / 2; half >= 1; half /= 2) {
    for (int64_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0];
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
