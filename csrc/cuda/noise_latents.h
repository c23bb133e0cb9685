// Flow-matching interpolation: the work of one thread, V adjacent elements of one sample.
#pragma once

#include "motive/noise_latents.h"
#include "packed.h"

namespace motive::cuda::noise {

constexpr int kThreads = 256;

static inline bool is_vectorised(const NoiseLatents& a) {
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  const int64_t v = 16 / size_of(a.dtype);
  return a.size % v == 0 && a.noise_stride % v == 0 && aligned(a.noisy) && aligned(a.target) && aligned(a.latents) &&
         aligned(a.noise);
}

// Threads of a sample.
static inline int64_t groups_of(const NoiseLatents& a) {
  return is_vectorised(a) ? a.size / (16 / size_of(a.dtype)) : a.size;
}

template <class T, int V>
MOTIVE_HOST_DEVICE static inline void mix(const NoiseLatents& a, int64_t groups, int64_t index) {
  const int64_t sample = index / groups, element = (index - sample * groups) * V;
  const Packed<T, V> z = load_once<T, V>(static_cast<const T*>(a.latents) + sample * a.size + element);
  const Packed<T, V> eps = load_once<T, V>(static_cast<const T*>(a.noise) + sample * a.noise_stride + element);
  const float sigma = a.sigma[sample], rest = 1.0f - sigma;
  float noisy[V], target[V];
#pragma unroll
  for (int j = 0; j < V; ++j) {
    const float latent = element_of(z, j), draw = element_of(eps, j);
    noisy[j] = plain_sum(plain_product(rest, latent), plain_product(sigma, draw));
    target[j] = draw - latent;
  }
  store_rounded<T, V>(static_cast<T*>(a.noisy) + sample * a.size + element, noisy);
  store_rounded<T, V>(static_cast<T*>(a.target) + sample * a.size + element, target);
}

}  // namespace motive::cuda::noise
