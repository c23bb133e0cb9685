// Writing vectors as 16-bit numbers, and the vector at the end of a row that is not full. simd.h has the full loads.
#pragma once

#include "motive/dtype.h"
#include "simd.h"

namespace motive::cpu::MOTIVE_LEVEL {

// The value with its top half rounded to nearest even, and anything in the other half.
MOTIVE_INLINE VectorBits rounded_to_bfloat16(Vector value) {
  const VectorBits bits = bits_of(value), is_nan = (VectorBits)(value != value);
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) | is_nan;
}

// Sixteen-bit patterns of the values, rounded to nearest even, one in each lane, whose high half is zero.
MOTIVE_INLINE VectorBits narrow(Vector value, bfloat16) { return rounded_to_bfloat16(value) >> 16; }

MOTIVE_INLINE VectorBits narrow(Vector value, float16) {
  const VectorBits sign = bits_of(value) & 0x80000000u;
  const VectorBits size = bits_of(value) ^ sign;
  const VectorBits is_nan = (VectorBits)((VectorInt)size > 0x7f800000);
  const VectorBits is_large = (VectorBits)((VectorInt)size >= ((127 + 16) << 23));
  const VectorBits is_small = (VectorBits)((VectorInt)size < ((127 - 14) << 23));
  const VectorBits special = 0x7c00u | (is_nan & 0x0200u);
  // Adding 0.5 leaves a subnormal's bits, rounded by the processor, at the bottom of the fraction.
  const VectorBits subnormal = bits_of(from_bits(size) + broadcast(0.5f)) - 0x3f000000u;
  const VectorBits normal = (size - (112u << 23) + 0xfffu + ((size >> 13) & 1u)) >> 13;
  const VectorBits finite = (is_small & subnormal) | (~is_small & normal);
  return (sign >> 16) | (is_large & special) | (~is_large & finite);
}

// The low half of each lane.
MOTIVE_INLINE VectorHalfBits low_halves(VectorBits bits) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  const __m256i packed = _mm256_packus_epi32((__m256i)bits, (__m256i)bits);  // the high halves are zero
  return (VectorHalfBits)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
#else
  return __builtin_convertvector(bits, VectorHalfBits);
#endif
}

MOTIVE_INLINE void store(bfloat16* to, Vector value) {
  const VectorHalfBits half = low_halves(narrow(value, bfloat16{}));
  memcpy(to, &half, sizeof half);
}

MOTIVE_INLINE void store(float16* to, Vector value) {
#if defined(__AVX512F__)
  const __m256i half = _mm512_cvtps_ph((__m512)value, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__F16C__)
  const __m128i half = _mm256_cvtps_ph((__m256)value, _MM_FROUND_TO_NEAREST_INT);
#else
  const VectorHalfBits half = low_halves(narrow(value, float16{}));
#endif
  memcpy(to, &half, sizeof half);
}

// 2 kLanes elements that lie together. Those of 16 bits that are halves of floats come as the even and the odd ones,
// each by one instruction; the others as the first and the last.
struct Twice {
  Vector a, b;
};

template <class T>
MOTIVE_INLINE Twice load_twice(const T* from) {
  return {load(from), load(from + kLanes)};
}
MOTIVE_INLINE Twice load_twice(const bfloat16* from) {
  const VectorBits both = load_bits(from);
  return {from_bits(both << 16), from_bits(both & 0xffff0000u)};
}

// Floats in the order of load_twice(const T*).
template <class T>
MOTIVE_INLINE Twice load_twice_like(const float* from, const T*) {
  return load_twice(from);
}
MOTIVE_INLINE Twice load_twice_like(const float* from, const bfloat16*) {
  const Vector a = load(from), b = load(from + kLanes);
  return {in_order(every_other<0>(a, b)), in_order(every_other<1>(a, b))};
}

template <class T>
MOTIVE_INLINE void store_twice(T* to, const Twice& value) {
  store(to, value.a);
  store(to + kLanes, value.b);
}
MOTIVE_INLINE void store_twice(bfloat16* to, const Twice& value) {
  const VectorBits both = (rounded_to_bfloat16(value.a) >> 16) | (rounded_to_bfloat16(value.b) & 0xffff0000u);
  memcpy(to, &both, sizeof both);
}

// The first count elements, count < kLanes, with zeros behind them.
template <class T>
static inline Vector load_some(const T* from, int64_t count) {
  T padded[kLanes] = {};
  memcpy(padded, from, size_t(count) * sizeof(T));
  return load(padded);
}

template <class T>
static inline void store_some(T* to, Vector value, int64_t count) {
  T padded[kLanes];
  store(padded, value);
  memcpy(to, padded, size_t(count) * sizeof(T));
}

}  // namespace motive::cpu::MOTIVE_LEVEL
