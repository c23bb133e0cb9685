// The random matrices and the Hadamard transform in double, by their definitions (motive/dense_projection.h).
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "motive/philox.h"

namespace motive::driver {

inline double sign_entry(PhiloxKey key, uint32_t row, int64_t column, uint32_t role) {
  const PhiloxBlock block = philox4x32({{uint32_t(column / 128), row, role, 0}}, key);
  return block.words[column % 128 / 32] >> (column % 32) & 1 ? 1. : -1.;
}

inline double normal_entry(PhiloxKey key, uint32_t row, int64_t column, uint32_t role) {
  const PhiloxBlock block = philox4x32({{uint32_t(column / 4), row, role, 0}}, key);
  const uint32_t a = block.words[column % 4 / 2 * 2], b = block.words[column % 4 / 2 * 2 + 1];
  const double radius = std::sqrt(-2. * std::log((a + 0.5) / 4294967296.));
  const double angle = 6.283185307179586 * b / 4294967296.;
  return radius * (column % 2 ? std::sin(angle) : std::cos(angle));
}

inline void hadamard(std::vector<double>& v) {
  for (size_t half = 1; half < v.size(); half *= 2) {
    for (size_t j = 0; j < v.size(); ++j) {
      if (j & half) continue;
      const double low = v[j], high = v[j + half];
      v[j] = low + high;
      v[j + half] = low - high;
    }
  }
}

}  // namespace motive::driver
