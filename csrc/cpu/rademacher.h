// Sums of +-1 times columns, by the method of Four Russians: a table of all signed sums of a few columns of a group of
// samples, which every row of the matrix then reads with its own bits. One table read replaces 5 to 7 multiply-adds.
#pragma once

#include <cstdint>

#include "column_parts.h"
#include "motive/dense_projection.h"
#include "philox_vector.h"

namespace motive::cpu::MOTIVE_LEVEL {

constexpr int64_t kSignRows = 512;     // rows of a pass: their sums stay in the first-level cache
constexpr int64_t kSignColumns = 256;  // columns of a chunk, a multiple of 128
constexpr int kWordColumns = 32;

// A word of 32 columns is cut into groups with a table each.
constexpr int kGroups = 5;
constexpr int kGroupBits[kGroups] = {7, 7, 6, 6, 6};
constexpr int kGroupStart[kGroups] = {0, 128, 256, 320, 384};
constexpr int kTableEntries = 448;

// sums[m] = sum over j of x[j] * (+1 if bit j of m is set, else -1).
template <int bits>
MOTIVE_INLINE void signed_sums(const float* x, Vector* sums) {
  sums[0] = Vector{};
#pragma GCC unroll 4
  for (int j = 0; j < bits; ++j) {
    const Vector value = load(x + j * kLanes);
#pragma GCC unroll 8
    for (int m = 0; m < 1 << j; ++m) {
      sums[m + (1 << j)] = sums[m] + value;
      sums[m] -= value;
    }
  }
}

template <int bits>
MOTIVE_INLINE void fill_table(const float* x, float* table) {
  constexpr int low_bits = 3, high_bits = bits - 3;
  Vector low[1 << low_bits], high[1 << high_bits];
  signed_sums<low_bits>(x, low);
  signed_sums<high_bits>(x + low_bits * kLanes, high);
  for (int h = 0; h < 1 << high_bits; ++h) {
#pragma GCC unroll 8
    for (int l = 0; l < 1 << low_bits; ++l) store(table + ((h << low_bits) + l) * kLanes, high[h] + low[l]);
  }
}

// The five tables of 32 columns of one group of samples, x [32][kLanes].
static inline void fill_tables(const float* x, float* tables) {
  fill_table<7>(x, tables);
  fill_table<7>(x + 7 * kLanes, tables + 128 * kLanes);
  fill_table<6>(x + 14 * kLanes, tables + 256 * kLanes);
  fill_table<6>(x + 20 * kLanes, tables + 320 * kLanes);
  fill_table<6>(x + 26 * kLanes, tables + 384 * kLanes);
}

// The bits of one word column of a block of rows, as byte offsets into the tables: groups 0 and 1, 2 and 3, 4.
struct Offsets {
  uint32_t word[3][kSignRows];
};

MOTIVE_INLINE VectorBits offset_of(VectorBits words, int group, int shift) {
  constexpr uint32_t entry_bytes = 4 * kLanes;
  const uint32_t mask = (1u << kGroupBits[group]) - 1;
  return ((words >> shift) & mask) * entry_bytes + uint32_t(kGroupStart[group]) * entry_bytes;
}

MOTIVE_INLINE void store_offsets(VectorBits words, int64_t row, Offsets& to) {
  const VectorBits pair01 = offset_of(words, 0, 0) | (offset_of(words, 1, 7) << 16);
  const VectorBits pair23 = offset_of(words, 2, 14) | (offset_of(words, 3, 20) << 16);
  store((float*)(to.word[0] + row), from_bits(pair01));
  store((float*)(to.word[1] + row), from_bits(pair23));
  store((float*)(to.word[2] + row), from_bits(offset_of(words, 4, 26)));
}

// The offsets of rows first_row .. and the 128 columns of Philox block `block`, in four word columns.
static inline void make_offsets(const DenseProjection& a, int64_t first_row, int64_t rows, int64_t block, Offsets* to) {
  const PhiloxKeys keys(a.key0, a.key1);
  for (int64_t row = 0; row < rows; row += kLanes) {
    VectorBits x[4] = {broadcast_bits(uint32_t(block)), lane_numbers() + uint32_t(first_row + row),
                       broadcast_bits(a.role), VectorBits{}};
    philox(x, keys);
    for (int word = 0; word < 4; ++word) store_offsets(x[word], row, to[word]);
  }
}

MOTIVE_INLINE Vector entry(const float* tables, uint32_t offset) {
  return load(reinterpret_cast<const float*>(reinterpret_cast<const char*>(tables) + offset));
}

// sums[row] += the five table entries that the row's bits choose. A separate function, which keeps its registers few.
__attribute__((noinline)) static void add_entries(const float* __restrict tables, const Offsets* __restrict offsets,
                                                  int64_t rows, float* __restrict sums) {
  const float* const end = sums + rows * kLanes;
  const uint32_t* from = offsets->word[0];
  for (; sums != end; sums += kLanes, ++from) {
    const uint32_t pair01 = from[0], pair23 = from[kSignRows], last = from[2 * kSignRows];
    const Vector first = entry(tables, pair01 & 0xffffu) + entry(tables, pair01 >> 16);
    const Vector second = entry(tables, pair23 & 0xffffu) + entry(tables, pair23 >> 16);
    store(sums, load(sums) + (first + (second + entry(tables, last))));
  }
}

// totals[s * rows + row] += sum over columns first .. last - 1, for rows first_row .. of at most kSignRows.
template <class T>
static void add_rademacher(const DenseProjection& a, const T* grad, int64_t samples, int64_t first_row, int64_t rows,
                           int64_t first, int64_t last, float* totals) {
  const int64_t groups = ceil_div(samples, kLanes), padded_rows = ceil_div(rows, kLanes) * kLanes;
  Scratch<float> sums(groups * padded_rows * kLanes), x(kSignColumns * kLanes), tables(kTableEntries * kLanes);
  Scratch<Offsets> offsets(kSignColumns / kWordColumns);
  memset(sums.get(), 0, size_t(groups * padded_rows * kLanes) * sizeof(float));
  for (int64_t column = first; column < last; column += kSignColumns) {
    const int64_t count = least(last - column, kSignColumns), words = ceil_div(count, kWordColumns);
    for (int64_t word = 0; word < words; word += 4) {
      make_offsets(a, first_row, padded_rows, (column + word * kWordColumns) / 128, offsets.get() + word);
    }
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t s = group * kLanes, present = least(samples - s, kLanes);
      for (int64_t j = 0; j < words * kWordColumns; j += kLanes) {
        Vector block[kLanes];
        load_transposed(grad + s * a.sample_stride + column + j, a.sample_stride, present, count - j, block);
        for (int m = 0; m < kLanes; ++m) store(x.get() + (j + m) * kLanes, block[m]);
      }
      for (int64_t word = 0; word < words; ++word) {
        fill_tables(x.get() + word * kWordColumns * kLanes, tables.get());
        add_entries(tables.get(), offsets.get() + word, padded_rows, sums.get() + group * padded_rows * kLanes);
      }
    }
  }
  for (int64_t s = 0; s < samples; ++s) {
    const float* from = sums.get() + s / kLanes * padded_rows * kLanes + s % kLanes;
    for (int64_t row = 0; row < rows; ++row) totals[s * rows + row] += from[row * kLanes];
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL
