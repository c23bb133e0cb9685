// Flow-matching interpolation and target in one pass.
#pragma once

#include <cstdint>

#include "motive/check.h"
#include "motive/dtype.h"

namespace motive {

// noisy = (1 - sigma) latents + sigma noise, target = noise - latents; float arithmetic, rounded once.
struct NoiseLatents {
  void* noisy;          // [samples, size], contiguous
  void* target;         // [samples, size], contiguous
  const void* latents;  // [samples, size], contiguous
  const void* noise;    // size adjacent elements every noise_stride
  const float* sigma;   // [samples]
  DType dtype;          // of all but sigma
  int64_t samples, size;
  int64_t noise_stride;  // in elements; 0 for one draw that all samples share
  int threads;           // at most; the result does not depend on it
};

inline void check(const NoiseLatents& a) {
  const char* where = "noise_latents";
  check_size(where, "samples", a.samples, 0);
  check_size(where, "size", a.size, 0);
  if (a.samples == 0 || a.size == 0) return;
  check_pointer(where, "noisy", a.noisy);
  check_pointer(where, "target", a.target);
  check_pointer(where, "latents", a.latents);
  check_pointer(where, "noise", a.noise);
  check_pointer(where, "sigma", a.sigma);
}

namespace cpu {
void noise_latents(const NoiseLatents& args);  // throws std::invalid_argument
}

}  // namespace motive
