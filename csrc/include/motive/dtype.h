// Element types of the tensors that kernels read. Accumulation and results are always float.
#pragma once

#include <cstdint>
#include <cstring>

#include "motive/config.h"

namespace motive {

enum class DType : int { float32 = 0, bfloat16 = 1, float16 = 2 };

static inline int64_t size_of(DType dtype) { return dtype == DType::float32 ? 4 : 2; }

// The bits of a 16-bit number in memory.
struct bfloat16 {
  uint16_t bits;
};
struct float16 {
  uint16_t bits;
};

MOTIVE_HOST_DEVICE static inline float float_from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// Exact: every 16-bit value is a float. NaN stays NaN and inf stays inf.
MOTIVE_HOST_DEVICE static inline float to_float(float value) { return value; }

MOTIVE_HOST_DEVICE static inline float to_float(bfloat16 value) { return float_from_bits(uint32_t(value.bits) << 16); }

MOTIVE_HOST_DEVICE static inline float to_float(float16 value) {
  const uint32_t sign = uint32_t(value.bits & 0x8000u) << 16;
  const uint32_t exponent = value.bits & 0x7c00u;
  const uint32_t fraction = value.bits & 0x03ffu;
  if (exponent == 0) {
    const float magnitude = float(fraction) * 5.9604644775390625e-08f;  // 2^-24
    return sign ? -magnitude : magnitude;
  }
  const uint32_t rebias = exponent == 0x7c00u ? 0x7f800000u : (exponent << 13) + (112u << 23);
  return float_from_bits(sign | rebias | (fraction << 13));
}

}  // namespace motive
