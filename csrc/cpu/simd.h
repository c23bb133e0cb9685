// Vectors of the level's width, in the compiler's own vector types: one source for SSE2, AVX2, AVX-512 and NEON.
#pragma once

#include <cstdint>
#include <cstring>

#include "level.h"
#include "motive/dtype.h"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own _mm512_undefined_ps()
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define MOTIVE_INLINE inline __attribute__((always_inline))

namespace motive::cpu::MOTIVE_LEVEL {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef int32_t VectorInt __attribute__((vector_size(4 * kLanes)));
typedef uint32_t VectorBits __attribute__((vector_size(4 * kLanes)));
typedef uint16_t VectorHalfBits __attribute__((vector_size(2 * kLanes)));

MOTIVE_INLINE Vector broadcast(float value) { return value - Vector{}; }
MOTIVE_INLINE VectorBits broadcast_bits(uint32_t value) { return value - VectorBits{}; }

MOTIVE_INLINE Vector load(const float* from) {
  Vector value;
  memcpy(&value, from, sizeof value);
  return value;
}

MOTIVE_INLINE void store(float* to, Vector value) { memcpy(to, &value, sizeof value); }

MOTIVE_INLINE VectorBits load_bits(const void* from) {
  VectorBits value;
  memcpy(&value, from, sizeof value);
  return value;
}

MOTIVE_INLINE VectorBits bits_of(Vector value) { return (VectorBits)value; }
MOTIVE_INLINE Vector from_bits(VectorBits bits) { return (Vector)bits; }

// value with its sign flipped where the mask has bit 31 set and nothing else.
MOTIVE_INLINE Vector flip_sign(Vector value, VectorBits mask) { return from_bits(bits_of(value) ^ mask); }

MOTIVE_INLINE VectorBits widen(const uint16_t* from) {
  VectorHalfBits half;
  memcpy(&half, from, sizeof half);
#if defined(__AVX2__) && !defined(__AVX512F__)
  return (VectorBits)_mm256_cvtepu16_epi32((__m128i)half);  // one instruction, where the compiler takes four
#else
  return __builtin_convertvector(half, VectorBits);
#endif
}

MOTIVE_INLINE Vector load(const bfloat16* from) { return from_bits(widen(&from->bits) << 16); }

MOTIVE_INLINE Vector load(const float16* from) {
#if defined(__AVX512F__)
  __m256i half;
  memcpy(&half, from, sizeof half);
  return (Vector)_mm512_cvtph_ps(half);
#elif defined(__F16C__)
  __m128i half;
  memcpy(&half, from, sizeof half);
  return (Vector)_mm256_cvtph_ps(half);
#elif defined(__aarch64__)
  return (Vector)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(&from->bits)));
#else
  const VectorBits all = widen(&from->bits);
  const VectorBits exponent = all & 0x7c00u, fraction = all & 0x03ffu;
  const Vector small = __builtin_convertvector((VectorInt)fraction, Vector) * 5.9604644775390625e-08f;
  const VectorBits top = (VectorBits)(exponent == 0x7c00u);
  const VectorBits rebias = (top & 0x7f800000u) | (~top & ((exponent << 13) + (112u << 23)));
  const VectorBits zero = (VectorBits)(exponent == 0u);
  const VectorBits magnitude = (zero & bits_of(small)) | (~zero & (rebias | (fraction << 13)));
  return from_bits(magnitude | ((all & 0x8000u) << 16));
#endif
}

// The even or the odd ones of 2 kLanes elements, in an order that in_order() turns into that of memory.
template <int odd>
MOTIVE_INLINE Vector every_other(Vector a, Vector b) {
#if defined(__AVX512F__)
  return (Vector)_mm512_shuffle_ps((__m512)a, (__m512)b, odd ? 0xdd : 0x88);
#elif defined(__AVX2__)
  return (Vector)_mm256_shuffle_ps((__m256)a, (__m256)b, odd ? 0xdd : 0x88);
#elif defined(__SSE__)
  return (Vector)_mm_shuffle_ps((__m128)a, (__m128)b, odd ? 0xdd : 0x88);
#else
  Vector chosen;
  for (int lane = 0; lane < kLanes / 2; ++lane) {
    chosen[lane] = a[2 * lane + odd];
    chosen[lane + kLanes / 2] = b[2 * lane + odd];
  }
  return chosen;
#endif
}

MOTIVE_INLINE Vector in_order(Vector chosen) {
#if defined(__AVX512F__)
  return (Vector)_mm512_permutexvar_pd(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), (__m512d)chosen);
#elif defined(__AVX2__)
  return (Vector)_mm256_permute4x64_pd((__m256d)chosen, 0xd8);
#else
  return chosen;
#endif
}

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

MOTIVE_INLINE float sum(Vector value) {
  float total = 0.f;
  for (int lane = 0; lane < kLanes; ++lane) total += value[lane];
  return total;
}

// r[i][j] <- r[j][i].
MOTIVE_INLINE void transpose(Vector (&r)[kLanes]) {
#if defined(__AVX512F__)
  __m512 a[16], b[16];
  for (int j = 0; j < 8; ++j) {
    a[2 * j] = _mm512_unpacklo_ps((__m512)r[2 * j], (__m512)r[2 * j + 1]);
    a[2 * j + 1] = _mm512_unpackhi_ps((__m512)r[2 * j], (__m512)r[2 * j + 1]);
  }
  for (int j = 0; j < 4; ++j) {  // b[4 j + c]: columns c, c + 4, c + 8, c + 12 of rows 4 j .. 4 j + 3
    const __m512d lo0 = _mm512_castps_pd(a[4 * j]), lo1 = _mm512_castps_pd(a[4 * j + 2]);
    const __m512d hi0 = _mm512_castps_pd(a[4 * j + 1]), hi1 = _mm512_castps_pd(a[4 * j + 3]);
    b[4 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(lo0, lo1));
    b[4 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(lo0, lo1));
    b[4 * j + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(hi0, hi1));
    b[4 * j + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(hi0, hi1));
  }
  for (int c = 0; c < 4; ++c) {
    const __m512 low01 = _mm512_shuffle_f32x4(b[c], b[4 + c], 0x88),
                 high01 = _mm512_shuffle_f32x4(b[c], b[4 + c], 0xdd);
    const __m512 low23 = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0x88);
    const __m512 high23 = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0xdd);
    r[c] = (Vector)_mm512_shuffle_f32x4(low01, low23, 0x88);
    r[8 + c] = (Vector)_mm512_shuffle_f32x4(low01, low23, 0xdd);
    r[4 + c] = (Vector)_mm512_shuffle_f32x4(high01, high23, 0x88);
    r[12 + c] = (Vector)_mm512_shuffle_f32x4(high01, high23, 0xdd);
  }
#elif defined(__AVX2__)
  __m256 a[8], b[8];
  for (int j = 0; j < 4; ++j) {
    a[2 * j] = _mm256_unpacklo_ps((__m256)r[2 * j], (__m256)r[2 * j + 1]);
    a[2 * j + 1] = _mm256_unpackhi_ps((__m256)r[2 * j], (__m256)r[2 * j + 1]);
  }
  for (int j = 0; j < 2; ++j) {
    b[4 * j] = _mm256_shuffle_ps(a[4 * j], a[4 * j + 2], 0x44);
    b[4 * j + 1] = _mm256_shuffle_ps(a[4 * j], a[4 * j + 2], 0xee);
    b[4 * j + 2] = _mm256_shuffle_ps(a[4 * j + 1], a[4 * j + 3], 0x44);
    b[4 * j + 3] = _mm256_shuffle_ps(a[4 * j + 1], a[4 * j + 3], 0xee);
  }
  for (int c = 0; c < 4; ++c) {
    r[c] = (Vector)_mm256_permute2f128_ps(b[c], b[4 + c], 0x20);
    r[4 + c] = (Vector)_mm256_permute2f128_ps(b[c], b[4 + c], 0x31);
  }
#elif defined(__SSE__)
  __m128 r0 = (__m128)r[0], r1 = (__m128)r[1], r2 = (__m128)r[2], r3 = (__m128)r[3];
  _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
  r[0] = (Vector)r0;
  r[1] = (Vector)r1;
  r[2] = (Vector)r2;
  r[3] = (Vector)r3;
#else
  Vector t[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 0; j < kLanes; ++j) t[i][j] = r[j][i];
  }
  for (int i = 0; i < kLanes; ++i) r[i] = t[i];
#endif
}

}  // namespace motive::cpu::MOTIVE_LEVEL
