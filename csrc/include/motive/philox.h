// Philox4x32-10 (Salmon et al. 2011), the generator behind every random bit: a pure function of a key and a counter.
// motive_kernels/rng/philox.py is the same function in Python; Random123's known answers test both.
#pragma once

#include <cstdint>

#include "motive/config.h"

namespace motive {

// Version of everything derived from a key. It is part of each key, so a change of any table bumps it.
constexpr int kFormatVersion = 1;

struct PhiloxKey {
  uint32_t words[2];
};

struct PhiloxBlock {
  uint32_t words[4];
};

MOTIVE_HOST_DEVICE static inline PhiloxBlock philox4x32(PhiloxBlock counter, PhiloxKey key) {
  uint32_t x0 = counter.words[0], x1 = counter.words[1], x2 = counter.words[2], x3 = counter.words[3];
  uint32_t k0 = key.words[0], k1 = key.words[1];
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(0xD2511F53u) * x0;
    const uint64_t p1 = uint64_t(0xCD9E8D57u) * x2;
    x0 = uint32_t(p1 >> 32) ^ x1 ^ k0;
    x1 = uint32_t(p1);
    x2 = uint32_t(p0 >> 32) ^ x3 ^ k1;
    x3 = uint32_t(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{x0, x1, x2, x3}};
}

// The block of an index: counter (index low, index high, word2, word3).
MOTIVE_HOST_DEVICE static inline PhiloxBlock philox_at(PhiloxKey key, uint64_t index, uint32_t word2, uint32_t word3) {
  return philox4x32({{uint32_t(index), uint32_t(index >> 32), word2, word3}}, key);
}

// The key of one parameter's tables: first 8 bytes of MD5("motive/<format>/<kind>/<seed>/<name>"), as two little-endian
// words. Host only.
PhiloxKey parameter_key(const char* kind, uint64_t seed, const char* name);

}  // namespace motive
