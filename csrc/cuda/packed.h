// Loads of several adjacent elements at once, and the layout of the gather buffer in shared memory.
//
// The headers of this folder hold what the threads of a block do between two barriers, as functions of the thread's
// number; the kernels (.cu) call them with __syncthreads() in between. Where the device has its own instruction
// there is a form for the host beside it: csrc/cuda_on_cpu runs all of it on the CPU.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "motive/config.h"
#include "motive/dtype.h"

namespace motive::cuda {

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Elements of one 16-byte load.
template <class T>
constexpr int kVector = 16 / int(sizeof(T));

// V adjacent elements as the words they lie in: one 16-byte load, or a single element in the low bits.
template <class T, int V>
struct Packed {
  static_assert(V == 1 || V == kVector<T>, "single elements or 16 bytes");
  uint32_t words[V == 1 ? 1 : 4];
};

// On the host, which would not mind: a 16-byte access of the device must be aligned.
template <int V>
static inline void require_alignment(const void* address) {
  if (V > 1 && reinterpret_cast<uintptr_t>(address) % 16 != 0) __builtin_trap();
}

// A load of data that is used once: it does not displace tables from the first-level cache.
template <class T, int V>
MOTIVE_HOST_DEVICE static inline Packed<T, V> load_once(const T* address) {
  Packed<T, V> packed{};
#if defined(__CUDA_ARCH__)
  if constexpr (V > 1) {
    uint32_t* const w = packed.words;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3])
        : "l"(address));
  } else if constexpr (sizeof(T) == 4) {
    packed.words[0] = __ldg(reinterpret_cast<const unsigned int*>(address));
  } else {
    packed.words[0] = __ldg(reinterpret_cast<const unsigned short*>(address));
  }
#else
  require_alignment<V>(address);
  memcpy(packed.words, address, sizeof(T) * V);
#endif
  return packed;
}

// A read through the first-level cache, for tables that many threads and steps share.
MOTIVE_HOST_DEVICE static inline int32_t load_table(const int32_t* address) {
#if defined(__CUDA_ARCH__)
  return __ldg(address);
#else
  return *address;
#endif
}

// The element in the low (high == 0) or high half of a word; a float is the whole word.
template <class T>
MOTIVE_HOST_DEVICE static inline float element(uint32_t word, int high) {
  if constexpr (sizeof(T) == 4) {
    return float_from_bits(word);
  } else if constexpr (std::is_same<T, bfloat16>::value) {
    return float_from_bits(high ? word & 0xffff0000u : word << 16);
  } else {
    const uint16_t bits = uint16_t(high ? word >> 16 : word & 0xffffu);
#if defined(__CUDA_ARCH__)
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(bits));
    return result;
#else
    return to_float(float16{bits});
#endif
  }
}

// Element j of several.
template <class T, int V>
MOTIVE_HOST_DEVICE static inline float element_of(const Packed<T, V>& packed, int j) {
  return sizeof(T) == 4 ? element<T>(packed.words[j], 0) : element<T>(packed.words[j / 2], j & 1);
}

// The nearest T to a float, ties to even, as the bits in the low end of a word. NaN stays NaN.
template <class T>
MOTIVE_HOST_DEVICE static inline uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if constexpr (sizeof(T) == 4) {
    return bits;
  } else if constexpr (std::is_same<T, bfloat16>::value) {
#if defined(__CUDA_ARCH__)
    uint16_t rounded;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded) : "f"(value));
    return rounded;
#else
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
#endif
  } else {
#if defined(__CUDA_ARCH__)
    uint16_t half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
    return half;
#else
    const uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0x7fffu;
    if (magnitude >= 0x477ff000u) return sign | 0x7c00u;  // rounds to 2^16 or more
    if (magnitude < 0x38800000u) {                        // below 2^-14: a multiple of 2^-24
      const float scaled = float_from_bits(magnitude) * 16777216.0f;
      const uint32_t whole = uint32_t(scaled);
      const float rest = scaled - float(whole);
      return sign | (whole + (rest > 0.5f || (rest == 0.5f && (whole & 1u))));
    }
    const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return sign | ((rounded - (112u << 23)) >> 13);
#endif
  }
}

// Rounds and stores V elements, 16 bytes at once or a single one.
template <class T, int V>
MOTIVE_HOST_DEVICE static inline void store_rounded(T* address, const float (&values)[V]) {
  static_assert(V == 1 || V == kVector<T>, "single elements or 16 bytes");
  if constexpr (V == 1) {
    const uint32_t bits = bits_of<T>(values[0]);
#if defined(__CUDA_ARCH__)
    if constexpr (sizeof(T) == 4) {  // a memcpy would store bytes
      *reinterpret_cast<uint32_t*>(address) = bits;
    } else {
      *reinterpret_cast<uint16_t*>(address) = uint16_t(bits);
    }
#else
    memcpy(address, &bits, sizeof(T));
#endif
  } else {
    uint32_t words[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      words[j] = sizeof(T) == 4 ? bits_of<T>(values[j * V / 4])
                                : bits_of<T>(values[j * V / 4]) | (bits_of<T>(values[j * V / 4 + V / 8]) << 16);
    }
#if defined(__CUDA_ARCH__)
    // As C++ this becomes four stores of 4 bytes.
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(address), "r"(words[0]), "r"(words[1]), "r"(words[2]),
                 "r"(words[3])
                 : "memory");
#else
    require_alignment<V>(address);
    memcpy(address, words, sizeof words);
#endif
  }
}

// Arithmetic that is never contracted to a fused multiply-add, where equal inputs must give equal results.
MOTIVE_HOST_DEVICE static inline float plain_product(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

MOTIVE_HOST_DEVICE static inline float plain_sum(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}

// Where column c of a chunk lies in the gather buffer: neighbouring threads, each writing its own run of 4 or 8
// adjacent columns one at a time, then meet different banks. A permutation inside each aligned group of 32 columns.
MOTIVE_HOST_DEVICE static inline int slot_of(int column) { return column ^ ((column >> 3) & 31); }

// Slots for a chunk of this many columns.
MOTIVE_HOST_DEVICE static inline int slots_for(int columns) { return (columns + 31) / 32 * 32; }

// An entry of a gather table (motive/tables.h) as a position in the gather buffer: 2 * slot + (1 if negative).
MOTIVE_HOST_DEVICE static inline int slot_entry(int32_t entry, int first_column, int zero_slot) {
  return entry < 0 ? 2 * zero_slot : 2 * slot_of((entry >> 1) - first_column) + (entry & 1);
}

MOTIVE_HOST_DEVICE static inline float sign_of(int entry) { return entry & 1 ? -1.0f : 1.0f; }

MOTIVE_HOST_DEVICE static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

}  // namespace motive::cuda
