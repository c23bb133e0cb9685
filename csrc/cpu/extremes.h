// For rows of flow: squared lengths, square roots, and the smallest and largest of many magnitudes in any order.
#pragma once

#include "elements.h"
#include "motive/dtype.h"
#include "simd.h"

namespace motive::cpu::MOTIVE_LEVEL {

// dx * dx + dy * dy with one fused rounding wherever it stands: the compiler could fuse either product, here and there
// another.
MOTIVE_INLINE Vector squared_length(Vector dx, Vector dy) {
#if defined(__AVX512F__)
  return (Vector)_mm512_fmadd_ps((__m512)dx, (__m512)dx, (__m512)(dy * dy));
#elif defined(__AVX2__)
  return (Vector)_mm256_fmadd_ps((__m256)dx, (__m256)dx, (__m256)(dy * dy));
#elif defined(__FP_FAST_FMAF)
  Vector sum;
  for (int lane = 0; lane < kLanes; ++lane) sum[lane] = __builtin_fmaf(dx[lane], dx[lane], dy[lane] * dy[lane]);
  return sum;
#else
  return dx * dx + dy * dy;
#endif
}

// Squared lengths of kLanes (dx, dy) that lie in memory as pairs; squares_in_order() puts them into the order of
// memory.
template <class T>
MOTIVE_INLINE Vector squares_of_pairs(const T* from) {
  const Vector a = load(from), b = load(from + kLanes);
  return squared_length(every_other<0>(a, b), every_other<1>(a, b));
}
template <class T>
MOTIVE_INLINE Vector squares_in_order(const T*, Vector squares) {
  return in_order(squares);
}

// A pair is one 32-bit lane, and each half of it is the top of a float.
MOTIVE_INLINE Vector squares_of_pairs(const bfloat16* from) {
  const Twice pairs = load_twice(from);
  return squared_length(pairs.a, pairs.b);
}
MOTIVE_INLINE Vector squares_in_order(const bfloat16*, Vector squares) { return squares; }

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

// The same of numbers of any sign, a vector at a time.
class ExtremesOfVectors {
 public:
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
  VectorInt low_ = INT32_MAX - VectorInt{}, high_ = INT32_MIN - VectorInt{};
};

// The same of square roots, of which only the extreme ones are taken: the root of a larger number is not smaller.
// Squares need no reordering: as integers they are in order as they are, and NaN of either sign lies beyond them.
class ExtremesOfRoots {
 public:
  MOTIVE_INLINE void include(Vector squares) {
    const VectorInt bits = (VectorInt)bits_of(squares);
    low_ = bits < low_ ? bits : low_;
    high_ = bits > high_ ? bits : high_;
  }

  Extremes all() const {
    const Vector low = square_root((Vector)low_), high = square_root((Vector)high_);
    Extremes result;
    for (int lane = 0; lane < kLanes; ++lane) {
      result.include(low[lane]);
      result.include(high[lane]);
    }
    return result;
  }

 private:
  VectorInt low_ = INT32_MAX - VectorInt{}, high_ = VectorInt{};
};

}  // namespace motive::cpu::MOTIVE_LEVEL
