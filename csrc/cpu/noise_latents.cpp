// Flow-matching interpolation and target: one task a chunk of one sample, the samples of a chunk next to each other so
// that a shared draw of noise is read from memory once.
#include "motive/noise_latents.h"

#include "common/parallel.h"
#include "elements.h"

namespace motive::cpu::MOTIVE_LEVEL {
namespace {

constexpr int64_t kChunk = 1 << 16;        // elements of a task; a multiple of every kLanes
constexpr int64_t kThreadBytes = 1 << 20;  // bytes that take about as long as starting a thread

MOTIVE_INLINE Vector mix(Vector z, Vector eps, Vector keep, Vector sigma) { return keep * z + sigma * eps; }

template <class T>
void one_chunk(const NoiseLatents& a, int64_t sample, int64_t begin, int64_t count) {
  const T* z = static_cast<const T*>(a.latents) + sample * a.size + begin;
  const T* eps = static_cast<const T*>(a.noise) + sample * a.noise_stride + begin;
  T* noisy = static_cast<T*>(a.noisy) + sample * a.size + begin;
  T* target = static_cast<T*>(a.target) + sample * a.size + begin;
  const Vector sigma = broadcast(a.sigma[sample]), keep = 1.f - sigma;
  int64_t j = 0;
  for (; j + 2 * kLanes <= count; j += 2 * kLanes) {
    const Twice from = load_twice(z + j), to = load_twice(eps + j);
    store_twice(noisy + j, {mix(from.a, to.a, keep, sigma), mix(from.b, to.b, keep, sigma)});
    store_twice(target + j, {to.a - from.a, to.b - from.b});
  }
  for (; j + kLanes <= count; j += kLanes) {
    const Vector from = load(z + j), to = load(eps + j);
    store(noisy + j, mix(from, to, keep, sigma));
    store(target + j, to - from);
  }
  if (j == count) return;
  const Vector from = load_some(z + j, count - j), to = load_some(eps + j, count - j);
  store_some(noisy + j, mix(from, to, keep, sigma), count - j);
  store_some(target + j, to - from, count - j);
}

template <class T>
void run(const NoiseLatents& a) {
  const int64_t chunks = (a.size + kChunk - 1) / kChunk;
  const int threads = useful_threads(a.threads, 4 * a.samples * a.size * int64_t(sizeof(T)), kThreadBytes);
  parallel_for(chunks * a.samples, threads, [&](int64_t task) {
    const int64_t begin = task / a.samples * kChunk, left = a.size - begin;
    one_chunk<T>(a, task % a.samples, begin, left < kChunk ? left : kChunk);
  });
}

}  // namespace

void noise_latents(const NoiseLatents& a) {
  if (a.samples == 0 || a.size == 0) return;
  switch (a.dtype) {
    case DType::float32: return run<float>(a);
    case DType::bfloat16: return run<bfloat16>(a);
    case DType::float16: return run<float16>(a);
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL

MOTIVE_DISPATCH(noise_latents, NoiseLatents)
