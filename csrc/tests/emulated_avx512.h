// The AVX-512 code on a processor that has AVX2 only: SIMDe gives its intrinsics a meaning in plain C, and the
// compiler's vectors of 64 bytes become two of 32. Included before each source of the level avx512 (csrc/build.py).
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>

#include <cstring>

#define __AVX512F__ 1
#define __AVX512BW__ 1
#define __AVX512DQ__ 1
#define __AVX512VL__ 1
#define MOTIVE_TARGET_VNNI  // instructions that this processor lacks

// The one that SIMDe does not have. Only rounding to nearest is asked for.
static inline __m256i emulated_mm512_cvtps_ph(__m512 value) {
  __m256 halves[2];
  std::memcpy(halves, &value, sizeof value);
  return _mm256_set_m128i(_mm256_cvtps_ph(halves[1], 0), _mm256_cvtps_ph(halves[0], 0));
}
#define _mm512_cvtps_ph(value, rounding) emulated_mm512_cvtps_ph(value)
