// For rows of flow: pairs apart, square roots, and the smallest and largest of many magnitudes in any order.
#pragma once

#include "motive/dtype.h"
#include "simd.h"

namespace motive::cpu::MOTIVE_LEVEL {

MOTIVE_INLINE Vector square_root(Vector value) {
#if defined(__AVX512F__)
  return (Vector)_mm512_sqrt_ps((__m512)value);
#elif defined(__AVX2__)
  return (Vector)_mm256_sqrt_ps((__m256)value);
#elif defined(__SSE__)
  return (Vector)_mm_sqrt_ps((__m128)value);
#elif defined(__aarch64__)
  return (Vector)vsqrtq_f32((float32x4_t)value);
#else
  for (int lane = 0; lane < kLanes; ++lane) value[lane] = __builtin_sqrtf(value[lane]);
  return value;
#endif
}

// (dx, dy) of kLanes pixels that lie in memory as pairs.
MOTIVE_INLINE void deinterleave(Vector a, Vector b, Vector& dx, Vector& dy) {
#if defined(__AVX512F__)
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  dx = (Vector)_mm512_permutex2var_ps((__m512)a, even, (__m512)b);
  dy = (Vector)_mm512_permutex2var_ps((__m512)a, odd, (__m512)b);
#elif defined(__AVX2__)
  const __m256d low = _mm256_castps_pd(_mm256_shuffle_ps((__m256)a, (__m256)b, 0x88));
  const __m256d high = _mm256_castps_pd(_mm256_shuffle_ps((__m256)a, (__m256)b, 0xdd));
  dx = (Vector)_mm256_permute4x64_pd(low, 0xd8);
  dy = (Vector)_mm256_permute4x64_pd(high, 0xd8);
#elif defined(__SSE__)
  dx = (Vector)_mm_shuffle_ps((__m128)a, (__m128)b, 0x88);
  dy = (Vector)_mm_shuffle_ps((__m128)a, (__m128)b, 0xdd);
#else
  for (int lane = 0; lane < kLanes / 2; ++lane) {
    dx[lane] = a[2 * lane];
    dy[lane] = a[2 * lane + 1];
    dx[lane + kLanes / 2] = b[2 * lane];
    dy[lane + kLanes / 2] = b[2 * lane + 1];
  }
#endif
}

template <class T>
MOTIVE_INLINE void load_pairs(const T* from, Vector& dx, Vector& dy) {
  deinterleave(load(from), load(from + kLanes), dx, dy);
}

// A pair is one 32-bit lane, and each half of it is the top of a float.
MOTIVE_INLINE void load_pairs(const bfloat16* from, Vector& dx, Vector& dy) {
  const VectorBits both = load_bits(from);
  dx = from_bits(both << 16);
  dy = from_bits(both & 0xffff0000u);
}

// Floats are compared as integers in the same order, where NaN lies beyond the infinities: an integer minimum may be
// taken in any order, and one that is not finite cannot get lost.
class Extremes {
 public:
  explicit Extremes(int32_t low = INT32_MAX, int32_t high = INT32_MIN) : low_(low), high_(high) {}

  void include(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    include_key(ordered(int32_t(bits)));
  }

  void include(const Extremes& other) {
    low_ = other.low_ < low_ ? other.low_ : low_;
    high_ = other.high_ > high_ ? other.high_ : high_;
  }

  bool finite() const { return low_ > ordered(int32_t(0xff800000u)) && high_ < 0x7f800000; }
  float low() const { return value(low_); }
  float high() const { return value(high_); }

 private:
  static int32_t ordered(int32_t bits) { return bits ^ ((bits >> 31) & INT32_MAX); }
  static float value(int32_t key) { return float_from_bits(uint32_t(ordered(key))); }
  void include_key(int32_t key) {
    low_ = key < low_ ? key : low_;
    high_ = key > high_ ? key : high_;
  }

  int32_t low_, high_;
};

// The same, a vector at a time.
class ExtremesOfVectors {
 public:
  ExtremesOfVectors() : low_(INT32_MAX - VectorInt{}), high_(INT32_MIN - VectorInt{}) {}

  MOTIVE_INLINE void include(Vector value) {
    const VectorInt bits = (VectorInt)bits_of(value), key = bits ^ ((bits >> 31) & INT32_MAX);
    low_ = key < low_ ? key : low_;
    high_ = key > high_ ? key : high_;
  }

  Extremes all() const {
    Extremes result;
    for (int lane = 0; lane < kLanes; ++lane) result.include(Extremes(low_[lane], high_[lane]));
    return result;
  }

 private:
  VectorInt low_, high_;
};

}  // namespace motive::cpu::MOTIVE_LEVEL
