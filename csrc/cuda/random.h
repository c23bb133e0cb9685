// Entries of the random matrices of motive/dense_projection.h on the device.
#pragma once

#include "motive/philox.h"
#include "packed.h"

#if !defined(__CUDA_ARCH__)
#include <cmath>
#endif

namespace motive::cuda {

// The block of random words that holds the entry of (row, column), `per_block` columns to a block.
MOTIVE_HOST_DEVICE static inline PhiloxBlock matrix_words(PhiloxKey key, int64_t row, int64_t block, uint32_t role) {
  return philox4x32({{uint32_t(block), uint32_t(row), role, 0u}}, key);
}

// +x for a set bit, -x for a clear one.
MOTIVE_HOST_DEVICE static inline float with_sign(float x, uint32_t word, int bit) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return float_from_bits(bits ^ ((~(word >> bit) & 1u) << 31));
}

// Two normal numbers from the words a and b: sqrt(-2 ln u) times cos and sin of 2 pi b / 2^32, u = (a + 1/2) / 2^32.
// Near u = 1 the logarithm comes from the complement of a, which keeps its digits.
MOTIVE_HOST_DEVICE static inline void box_muller(uint32_t a, uint32_t b, float& first, float& second) {
  constexpr float kUnit = 2.3283064365386963e-10f;  // 2^-32
#if defined(__CUDA_ARCH__)
  const float log = a < 0x80000000u ? logf((float(a) + 0.5f) * kUnit) : log1pf(-(float(~a) + 0.5f) * kUnit);
  const float radius = sqrtf(-2.0f * log);
  sincospif(float(int32_t(b)) * (2.0f * kUnit), &second, &first);
#else
  const float log = a < 0x80000000u ? std::log((float(a) + 0.5f) * kUnit) : std::log1p(-(float(~a) + 0.5f) * kUnit);
  const float radius = std::sqrt(-2.0f * log);
  const double angle = double(int32_t(b)) * (2.0 * 2.3283064365386963e-10 * 3.14159265358979323846);
  first = float(std::cos(angle));
  second = float(std::sin(angle));
#endif
  first *= radius;
  second *= radius;
}

// The four normal numbers of a block.
MOTIVE_HOST_DEVICE static inline void normals(const PhiloxBlock& words, float (&out)[4]) {
  box_muller(words.words[0], words.words[1], out[0], out[1]);
  box_muller(words.words[2], words.words[3], out[2], out[3]);
}

}  // namespace motive::cuda
