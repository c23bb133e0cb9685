// The Hadamard transform v <- H v in place, H[p, q] = (-1)^(number of bits set in both p and q), not normalised.
#pragma once

#include <cstdint>
#include <utility>

#include "simd.h"

namespace motive::cpu::MOTIVE_LEVEL {

constexpr int64_t kTail = 32;           // elements whose transform runs in registers
constexpr int64_t kHotElements = 2048;  // transformed as a whole before the next ones are touched

// x[j], x[j ^ 1] within a register of two, and so on: the levels between `count` registers.
template <int count>
MOTIVE_INLINE void butterflies(Vector* x) {
#pragma GCC unroll 4
  for (int half = 1; half < count; half *= 2) {
#pragma GCC unroll 8
    for (int j = 0; j < count; ++j) {
      if (j & half) continue;
      const Vector low = x[j], high = x[j + half];
      x[j] = low + high;
      x[j + half] = low - high;
    }
  }
}

#if defined(__clang__)
template <int half, int... lane>
MOTIVE_INLINE Vector partners(Vector x, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(x, x, (lane ^ half)...);
}
#endif

// The level that pairs lanes l and l ^ half: partner + x in the lower lanes, partner - x in the upper ones.
template <int half>
MOTIVE_INLINE Vector lane_level(Vector x) {
  [[maybe_unused]] VectorInt order{};
  VectorBits upper{};
  for (int lane = 0; lane < kLanes; ++lane) {
    order[lane] = lane ^ half;
    upper[lane] = lane & half ? 0x80000000u : 0u;
  }
#if defined(__clang__)
  const Vector partner = partners<half>(x, std::make_integer_sequence<int, kLanes>());
#else
  const Vector partner = __builtin_shuffle(x, order);
#endif
  return partner + flip_sign(x, upper);
}

MOTIVE_INLINE Vector lane_levels(Vector x) {
  x = lane_level<1>(x);
  x = lane_level<2>(x);
  if constexpr (kLanes > 4) x = lane_level<4>(x);
  if constexpr (kLanes > 8) x = lane_level<8>(x);
  return x;
}

// The levels with strides `stride`, 2 stride, ..: `count` of vectors apart by `stride` elements.
template <int count>
MOTIVE_INLINE void strided_levels(float* v, int64_t length, int64_t stride) {
  for (int64_t base = 0; base < length; base += count * stride) {
    for (int64_t j = base; j < base + stride; j += kLanes) {
      Vector x[count];
#pragma GCC unroll 8
      for (int m = 0; m < count; ++m) x[m] = load(v + j + m * stride);
      butterflies<count>(x);
#pragma GCC unroll 8
      for (int m = 0; m < count; ++m) store(v + j + m * stride, x[m]);
    }
  }
}

static inline void small_hadamard(float* v, int64_t length) {
  for (int64_t half = 1; half < length; half *= 2) {
    for (int64_t j = 0; j < length; ++j) {
      if (j & half) continue;
      const float low = v[j], high = v[j + half];
      v[j] = low + high;
      v[j + half] = low - high;
    }
  }
}

// length is a power of two.
static void hadamard(float* v, int64_t length) {
  if (length < kTail) return small_hadamard(v, length);
  if (length > kHotElements) {
    const int64_t parts = length >= 8 * kHotElements ? 8 : length / kHotElements, part = length / parts;
    if (parts == 8) strided_levels<8>(v, length, part);
    if (parts == 4) strided_levels<4>(v, length, part);
    if (parts == 2) strided_levels<2>(v, length, part);
    for (int64_t j = 0; j < parts; ++j) hadamard(v + j * part, part);
    return;
  }
  int64_t stride = length;
  for (; stride >= 8 * kTail; stride /= 8) strided_levels<8>(v, length, stride / 8);
  if (stride == 4 * kTail) strided_levels<4>(v, length, kTail);
  if (stride == 2 * kTail) strided_levels<2>(v, length, kTail);
  for (int64_t base = 0; base < length; base += kTail) {
    constexpr int count = int(kTail / kLanes);
    Vector x[count];
#pragma GCC unroll 8
    for (int m = 0; m < count; ++m) x[m] = lane_levels(load(v + base + m * kLanes));
    butterflies<count>(x);
#pragma GCC unroll 8
    for (int m = 0; m < count; ++m) store(v + base + m * kLanes, x[m]);
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL
