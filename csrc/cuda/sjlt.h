// Sparse Johnson-Lindenstrauss transform: a warp adds its items, 32 at a time, to its own sums. Items of one bucket
// take turns, in the order of their lanes, so there are no atomics and the order is fixed.
#pragma once

#include "motive/philox.h"
#include "motive/sjlt.h"
#include "packed.h"

namespace motive::cuda::sparse {

constexpr int kStep = 128;  // items of a warp's step: 32 Philox blocks of four words
constexpr int64_t kFewestItems = 4096, kMostUnits = 4096;
constexpr int64_t kSharedFloats = 12288;  // sums of a block's warps in shared memory

// An item t = column * nonzeros + c.
struct Item {
  int64_t column;
  int64_t bucket;
  bool negative;
};

MOTIVE_HOST_DEVICE static inline Item item_of(const SparseTransform& a, int64_t t, uint32_t word) {
  Item item;
  item.negative = (word & 1u) == 0;
  if (a.nonzeros == 1) {  // without the divisions
    item.column = t;
    item.bucket = (int64_t(word >> 1) * a.dim) >> 31;
    return item;
  }
  item.column = t / a.nonzeros;
  const int64_t c = t - item.column * a.nonzeros;
  const int64_t low = c * a.dim / a.nonzeros, width = (c + 1) * a.dim / a.nonzeros - low;
  item.bucket = low + ((int64_t(word >> 1) * width) >> 31);
  return item;
}

MOTIVE_HOST_DEVICE static inline PhiloxBlock words_of(const SparseTransform& a, int64_t block) {
  return philox_at({{a.key0, a.key1}}, uint64_t(block), 0, 0);
}

// A sample's value with the item's sign.
template <class T>
MOTIVE_HOST_DEVICE static inline float value_of(const SparseTransform& a, int64_t sample, const Item& item) {
  const T* const address = static_cast<const T*>(a.grad) + sample * a.sample_stride + item.column;
  const float value = element<T>(load_once<T, 1>(address).words[0], 0);
  return item.negative ? -value : value;
}

// How the items are cut: units of one warp each, `warps` to a block; without room in shared memory, one warp that adds
// to the block's partial vector in place.
struct Cut {
  int64_t items, unit_items, blocks;
  int32_t warps, in_place;
};

static inline Cut cut_of(const SparseTransform& a) {
  Cut cut;
  cut.items = a.columns * a.nonzeros;
  const int64_t even = ceil_div(ceil_div(cut.items, kMostUnits), kStep) * kStep;
  cut.unit_items = even > kFewestItems ? even : kFewestItems;
  cut.warps = 8;
  while (cut.warps > 1 && cut.warps * a.dim > kSharedFloats) cut.warps /= 2;
  cut.in_place = cut.warps * a.dim > kSharedFloats;
  cut.blocks = ceil_div(ceil_div(cut.items, cut.unit_items), cut.warps);
  return cut;
}

}  // namespace motive::cuda::sparse
