// Gather tables (motive/tables.h) in the forms that CPU kernels use, with every entry checked before it is an address.
#pragma once

#include <cstdint>

#include "common/bad_table.h"
#include "simd.h"

namespace motive::cpu::MOTIVE_LEVEL {

static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Throws std::invalid_argument unless every entry of run `run` is an index of that run or, in a short last run, empty.
static inline void check_run(const char* where, const char* name, const int32_t* entries, int64_t run, int64_t length,
                             int64_t dim) {
  const uint32_t low = uint32_t(2 * run * dim), count = uint32_t(2 * least(dim, length - run * dim));
  const bool may_lack = (run + 1) * dim > length;
  uint32_t bad = 0;
  for (int64_t b = 0; b < dim; ++b) {
    const uint32_t entry = uint32_t(entries[b]);
    bad |= uint32_t(entry - low >= count) & ~uint32_t(may_lack & (entry == 0xffffffffu));
  }
  for (int64_t b = 0; bad && b < dim; ++b) {
    if (uint32_t(entries[b]) - low >= count && !(may_lack && entries[b] == -1)) bad_table(where, name, entries[b]);
  }
}

// The table seen from its indices: bucket and sign mask (bit 31) of first .. first + count - 1, both padded with zeros
// to a multiple of kLanes. `first` is a multiple of dim and so is first + count, unless it is the axis's end.
// Throws std::invalid_argument unless every index has exactly one entry.
static inline void unpack_axis(const char* where, const char* name, const int32_t* table, int64_t length, int64_t dim,
                               int64_t first, int64_t count, int32_t* bucket, uint32_t* sign) {
  const int64_t padded = ceil_div(count, kLanes) * kLanes;
  for (int64_t j = 0; j < padded; ++j) bucket[j] = j < count ? -1 : 0;
  for (int64_t run = first / dim; run * dim < first + count; ++run) {
    check_run(where, name, table + run * dim, run, length, dim);
    for (int64_t b = 0; b < dim; ++b) {
      const int32_t entry = table[run * dim + b];
      if (entry >= 0) bucket[(entry >> 1) - first] = int32_t(b << 1) | (entry & 1);
    }
  }
  int32_t missing = 0;
  for (int64_t j = 0; j < padded; ++j) {
    missing |= bucket[j];
    sign[j] = uint32_t(bucket[j]) << 31;
    bucket[j] >>= 1;
  }
  if (missing < 0) bad_table(where, name, -1);
}

}  // namespace motive::cpu::MOTIVE_LEVEL
