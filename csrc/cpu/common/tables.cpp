#include "motive/tables.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "md5.h"
#include "motive/check.h"

namespace motive {

PhiloxKey parameter_key(const char* kind, uint64_t seed, const char* name) {
  const std::string identifier =
      "motive/" + std::to_string(kFormatVersion) + "/" + kind + "/" + std::to_string(seed) + "/" + name;
  const std::array<uint8_t, 16> digest = md5(identifier);
  PhiloxKey key{};
  for (size_t j = 0; j < 8; ++j) key.words[j / 4] |= uint32_t(digest[j]) << (8 * (j % 4));
  return key;
}

AxisTable balanced_buckets(PhiloxKey key, Role role, int64_t length, int64_t dim, uint32_t term) {
  check_axis("balanced_buckets", "length", length, 0);
  check_axis("balanced_buckets", "dim", dim, 1);
  AxisTable table{std::vector<int32_t>(size_t(length)), std::vector<int8_t>(size_t(length))};
  std::vector<uint64_t> sort_key(static_cast<size_t>(dim));
  std::vector<int32_t> order(static_cast<size_t>(dim));
  for (int64_t first = 0; first < length; first += dim) {
    for (int64_t j = 0; j < dim; ++j) {
      const SortKeyAndSign entry = table_entry(key, role, uint64_t(first + j), term);
      sort_key[size_t(j)] = entry.sort_key;
      if (first + j < length) table.sign[size_t(first + j)] = entry.negative ? -1 : 1;
    }
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return sort_key[size_t(a)] < sort_key[size_t(b)]; });
    for (int64_t rank = 0; rank < dim; ++rank) {
      const int64_t index = first + order[size_t(rank)];
      if (index < length) table.bucket[size_t(index)] = int32_t(rank);
    }
  }
  return table;
}

std::vector<int32_t> gather_table(const AxisTable& table, int64_t dim) {
  const int64_t length = int64_t(table.bucket.size());
  check_axis("gather_table", "length", length, 0);
  check_axis("gather_table", "dim", dim, 1);
  std::vector<int32_t> entries(size_t((length + dim - 1) / dim * dim), kEmpty);
  for (int64_t j = 0; j < length; ++j) {
    const int32_t bucket = table.bucket[size_t(j)];
    if (bucket < 0 || bucket >= dim) {
      fail("gather_table", "bucket", "in 0 .. dim - 1", std::to_string(bucket), "build it with balanced_buckets");
    }
    entries[size_t(j / dim * dim + bucket)] = int32_t(2 * j + (table.sign[size_t(j)] < 0 ? 1 : 0));
  }
  return entries;
}

std::vector<int32_t> unit_gather_table(int64_t dim) { return gather_table({{0}, {1}}, dim); }

}  // namespace motive
