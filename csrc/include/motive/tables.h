// Balanced hash tables: which bucket, and with which sign, each index of one axis goes to. motive_kernels/rng/tables.py
// builds the same tables.
//
// Inside every run of `dim` consecutive indices the buckets are a random permutation of 0 .. dim - 1 (its beginning for
// a shorter last run): a bucket receives at most one index of a run, so applying a table is a gather with signs.
#pragma once

#include <cstdint>
#include <vector>

#include "motive/config.h"
#include "motive/philox.h"

namespace motive {

// Third counter word. Rows and columns never share a stream: else a matrix and its transpose would look alike.
enum class Role : uint32_t { rows = 0, columns = 1, vector = 2 };

constexpr int32_t kEmpty = -1;

struct SortKeyAndSign {
  uint64_t sort_key;
  bool negative;
};

// The random numbers of one index: its rank within its run is the bucket.
MOTIVE_HOST_DEVICE static inline SortKeyAndSign table_entry(PhiloxKey key, Role role, uint64_t index, uint32_t term) {
  const PhiloxBlock block = philox_at(key, index, uint32_t(role), term);
  return {block.words[0] | (uint64_t(block.words[1]) << 32), (block.words[2] & 1u) == 0};
}

// One axis: bucket and sign (+1, -1) of each index.
struct AxisTable {
  std::vector<int32_t> bucket;
  std::vector<int8_t> sign;
};

// Throws std::invalid_argument for a length below 0 or a dim below 1.
AxisTable balanced_buckets(PhiloxKey key, Role role, int64_t length, int64_t dim, uint32_t term = 0);

// The same map seen from the buckets, the form that kernels read: [ceil(length / dim), dim] entries, entry [r, b] is
// 2 * index + (1 if its sign is negative) for the index of run r that goes to bucket b, or kEmpty.
// Throws std::invalid_argument where an index does not fit: length above 2^30.
std::vector<int32_t> gather_table(const AxisTable& table, int64_t dim);

// The table of the single row that a one-dimensional parameter is seen as: bucket 0, sign +1.
std::vector<int32_t> unit_gather_table(int64_t dim);

}  // namespace motive
