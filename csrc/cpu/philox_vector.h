// Philox4x32-10 on one counter per lane, and what its words are turned into: normal numbers.
#pragma once

#include "simd.h"

namespace motive::cpu::MOTIVE_LEVEL {

// The two halves of the 64-bit product of each lane with a constant.
MOTIVE_INLINE void multiply_wide(VectorBits a, uint32_t factor, VectorBits& high, VectorBits& low) {
#if defined(__AVX512F__)
  const __m512i m = _mm512_set1_epi64(factor), even = _mm512_mul_epu32((__m512i)a, m);
  const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)a, 32), m);
  high = (VectorBits)_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
  low = (VectorBits)_mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
#elif defined(__AVX2__)
  const __m256i m = _mm256_set1_epi64x(factor), even = _mm256_mul_epu32((__m256i)a, m);
  const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64((__m256i)a, 32), m);
  high = (VectorBits)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
  low = (VectorBits)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
#elif defined(__SSE2__)
  const __m128i m = _mm_set1_epi64x(factor), even = _mm_mul_epu32((__m128i)a, m);
  const __m128i odd = _mm_mul_epu32(_mm_srli_epi64((__m128i)a, 32), m),
                upper = _mm_set1_epi64x(int64_t(0xffffffffu) << 32);
  high = (VectorBits)_mm_or_si128(_mm_srli_epi64(even, 32), _mm_and_si128(odd, upper));
  low = (VectorBits)_mm_or_si128(_mm_andnot_si128(upper, even), _mm_slli_epi64(odd, 32));
#else
  for (int lane = 0; lane < kLanes; ++lane) {
    const uint64_t product = uint64_t(a[lane]) * factor;
    high[lane] = uint32_t(product >> 32);
    low[lane] = uint32_t(product);
  }
#endif
}

// The keys of the ten rounds, in every lane.
struct PhiloxKeys {
  VectorBits key0[10], key1[10];

  PhiloxKeys(uint32_t first, uint32_t second) {
    for (int round = 0; round < 10; ++round, first += 0x9e3779b9u, second += 0xbb67ae85u) {
      key0[round] = broadcast_bits(first);
      key1[round] = broadcast_bits(second);
    }
  }
};

// x: the counters on entry, the random words on return.
MOTIVE_INLINE void philox(VectorBits (&x)[4], const PhiloxKeys& keys) {
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    VectorBits high0, low0, high1, low1;
    multiply_wide(x[0], 0xd2511f53u, high0, low0);
    multiply_wide(x[2], 0xcd9e8d57u, high1, low1);
    x[0] = high1 ^ x[1] ^ keys.key0[round];
    x[1] = low1;
    x[2] = high0 ^ x[3] ^ keys.key1[round];
    x[3] = low0;
  }
}

// 0, 1, 2, ... : the number of each lane.
MOTIVE_INLINE VectorBits lane_numbers() {
  VectorBits lanes{};
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = uint32_t(lane);
  return lanes;
}

MOTIVE_INLINE Vector choose(VectorBits mask, Vector yes, Vector no) {
  return from_bits((mask & bits_of(yes)) | (~mask & bits_of(no)));
}

// -2 ln((a + 1/2) / 2^32) without cancellation: near 1 the logarithm comes from the complement of a, and every
// mantissa m in [1/2, 1) from w = 1 - m by ln(1 - w) = -2 artanh(w / (2 - w)).
MOTIVE_INLINE Vector minus_two_log(VectorBits a) {
  const VectorBits near_one = (VectorBits)((VectorInt)a < 0);
  const VectorBits small = a ^ near_one;  // the complement where a >= 2^31
  const Vector value = __builtin_convertvector((VectorInt)small, Vector) + 0.5f;
  const VectorBits bits = bits_of(value);
  const Vector exponent = __builtin_convertvector((VectorInt)(bits >> 23), Vector) - 126.f;
  const Vector mantissa = from_bits((bits & 0x007fffffu) | 0x3f000000u);
  const Vector w = choose(near_one, value * 0x1p-32f, 1.f - mantissa);
  const Vector s = w / (2.f - w), q = s * s;
  Vector series = q * 0.134257495f + 0.141183093f;
  series = series * q + 0.200037807f;
  series = series * q + 0.333333194f;
  const Vector artanh = s + s * q * series;
  const Vector powers = from_bits(~near_one & bits_of((32.f - exponent) * 1.3862943611198906f));
  return powers + 4.f * artanh;
}

// cos and sin of 2 pi b / 2^32.
MOTIVE_INLINE void cos_sin(VectorBits b, Vector& cosine, Vector& sine) {
  const VectorBits shifted = b + 0x20000000u, quarter = shifted >> 30;
  const VectorInt rest = (VectorInt)(shifted & 0x3fffffffu) - 0x20000000;
  const Vector v = __builtin_convertvector(rest, Vector) * 1.4629180792671596e-09f, q = v * v;
  Vector s = q * -1.95878907e-04f + 8.33274797e-03f;
  s = s * q - 1.66666642e-01f;
  s = v + v * q * s;
  Vector c = q * 2.45479423e-05f - 1.38883025e-03f;
  c = c * q + 4.16666642e-02f;
  c = 1.f - 0.5f * q + q * q * c;
  const VectorBits swap = (VectorBits)((quarter & 1u) != 0u);
  cosine = flip_sign(choose(swap, s, c), ((quarter + 1u) & 2u) << 30);
  sine = flip_sign(choose(swap, c, s), (quarter & 2u) << 30);
}

// Two normal numbers from the words a and b of each lane.
MOTIVE_INLINE void box_muller(VectorBits a, VectorBits b, Vector& first, Vector& second) {
  const Vector radius = square_root(minus_two_log(a));
  cos_sin(b, first, second);
  first *= radius;
  second *= radius;
}

// to[4 l + w] = x[w][l]: the words of consecutive blocks in their order.
template <class V, class E>
MOTIVE_INLINE void store_interleaved(const V (&x)[4], E* to) {
  E words[4][kLanes];
  for (int w = 0; w < 4; ++w) memcpy(words[w], &x[w], sizeof x[w]);
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int w = 0; w < 4; ++w) to[4 * lane + w] = words[w][lane];
  }
}

// The words of the kLanes blocks with counters (block, block + 1, ..; 64 bits), role, 0.
MOTIVE_INLINE void counted_blocks(const PhiloxKeys& keys, uint64_t block, uint32_t role, uint32_t* words) {
  const VectorBits low = lane_numbers() + uint32_t(block);
  const VectorBits carry = (VectorBits)(low < uint32_t(block)) & 1u;
  VectorBits x[4] = {low, carry + uint32_t(block >> 32), broadcast_bits(role), VectorBits{}};
  philox(x, keys);
  store_interleaved(x, words);
}

// The words of the kLanes blocks from `block` on in a row of a matrix: counters (block, row, role, 0).
MOTIVE_INLINE void row_blocks(const PhiloxKeys& keys, int64_t row, int64_t block, uint32_t role, uint32_t* words) {
  VectorBits x[4] = {lane_numbers() + uint32_t(block), broadcast_bits(uint32_t(row)), broadcast_bits(role),
                     VectorBits{}};
  philox(x, keys);
  store_interleaved(x, words);
}

// Their 4 kLanes normal numbers.
MOTIVE_INLINE void row_normals(const PhiloxKeys& keys, int64_t row, int64_t block, uint32_t role, float* normals) {
  VectorBits x[4] = {lane_numbers() + uint32_t(block), broadcast_bits(uint32_t(row)), broadcast_bits(role),
                     VectorBits{}};
  philox(x, keys);
  Vector values[4];
  box_muller(x[0], x[1], values[0], values[1]);
  box_muller(x[2], x[3], values[2], values[3]);
  store_interleaved(values, normals);
}

}  // namespace motive::cpu::MOTIVE_LEVEL
