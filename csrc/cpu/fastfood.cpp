#include "motive/fastfood.h"

#include "column_parts.h"
#include "hadamard.h"
#include "level.h"
#include "philox_vector.h"
#include "scratch.h"

namespace motive::cpu::MOTIVE_LEVEL {
namespace {

constexpr int64_t kBatch = 64;  // samples that share the signs and factors of a group of tiles
constexpr int64_t kGroup = 8;   // tiles that share one fold into buckets
constexpr int64_t kGrain = 4;   // tiles worth a separate part
constexpr uint32_t kSigns = 0, kFactors = 1;

// The random parts of one tile: a bit for each sign, and the Gaussian factors.
void make_tile(const PhiloxKeys& keys, int64_t tile, int64_t length, uint32_t* bits, float* factors) {
  for (int64_t j = 0; j < length; j += 128 * kLanes) row_blocks(keys, tile, j / 128, kSigns, bits + j / 32);
  for (int64_t j = 0; j < length; j += 4 * kLanes) row_normals(keys, tile, j / 4, kFactors, factors + j);
}

// v = the columns of a tile with their signs, zeros beyond `count`; v is padded to a multiple of kLanes.
template <class T>
void load_signed(const T* grad, int64_t count, int64_t length, const uint32_t* bits, float* v) {
  to_float(grad, count, length, v);
  constexpr int per_word = 32 / kLanes;
  VectorBits lane[per_word];
  for (int m = 0; m < per_word; ++m) lane[m] = broadcast_bits(1u) << (lane_numbers() + uint32_t(m * kLanes));
  for (int64_t j = 0; j < count; j += 32) {
    const VectorBits word = broadcast_bits(bits[j / 32]);
    for (int m = 0; m < per_word && j + m * kLanes < length; ++m) {
      float* at = v + j + m * kLanes;
      const VectorBits clear = (VectorBits)((word & lane[m]) == 0u);
      store(at, flip_sign(load(at), clear & 0x80000000u));
    }
  }
}

// total += factors * v.
void add_product(int64_t length, const float* factors, const float* v, float* total) {
  for (int64_t j = 0; j < length; j += kLanes) store(total + j, load(total + j) + load(factors + j) * load(v + j));
}

// buckets[s * dim + b] += the tiles first .. last - 1 (in columns), before the outer transform.
template <class T>
void add_tiles(const Fastfood& a, const T* grad, int64_t samples, int64_t first, int64_t last, float* buckets) {
  const int64_t padded = ceil_div(a.tile, kLanes) * kLanes;
  const int64_t words = a.tile / 32 + 4 * kLanes, normals = padded + 4 * kLanes;
  Scratch<uint32_t> bits(kGroup * words);
  Scratch<float> factors(kGroup * normals), v(padded), total(padded);
  const PhiloxKeys keys(a.key0, a.key1);
  for (int64_t column = first; column < last; column += kGroup * a.tile) {
    const int64_t tiles = least(ceil_div(last - column, a.tile), kGroup);
    for (int64_t t = 0; t < tiles; ++t) {
      make_tile(keys, column / a.tile + t, a.tile, bits.get() + t * words, factors.get() + t * normals);
    }
    for (int64_t s = 0; s < samples; ++s) {
      memset(total.get(), 0, size_t(padded) * sizeof(float));
      for (int64_t t = 0; t < tiles; ++t) {
        const int64_t start = column + t * a.tile, count = least(last - start, a.tile);
        load_signed(grad + s * a.sample_stride + start, count, padded, bits.get() + t * words, v.get());
        hadamard(v.get(), a.tile);
        add_product(padded, factors.get() + t * normals, v.get(), total.get());
      }
      for (int64_t j = 0; j < a.tile; ++j) buckets[s * a.dim + a.labels[j]] += total[j];
    }
  }
}

template <class T>
void project(const Fastfood& a) {
  for (int64_t s = 0; s < a.samples; s += kBatch) {
    const int64_t samples = least(a.samples - s, kBatch);
    const T* grad = static_cast<const T*>(a.grad) + s * a.sample_stride;
    Scratch<float> buckets(samples * a.dim + kLanes);
    memset(buckets.get(), 0, size_t(samples * a.dim) * sizeof(float));
    add_column_parts(buckets.get(), a.dim, samples, a.dim, a.columns, kGrain * a.tile, 1.f, a.threads,
                     [&](int64_t first, int64_t last, float* sums) { add_tiles(a, grad, samples, first, last, sums); });
    for (int64_t j = 0; j < samples; ++j) {
      float* mine = buckets.get() + j * a.dim;
      hadamard(mine, a.dim);
      for (int64_t b = 0; b < a.dim; ++b) a.z[(s + j) * a.dim + b] += a.scale * mine[b];
    }
  }
}

}  // namespace

void fastfood_into(const Fastfood& a) {
  switch (a.dtype) {
    case DType::float32: return project<float>(a);
    case DType::bfloat16: return project<bfloat16>(a);
    case DType::float16: return project<float16>(a);
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL

MOTIVE_DISPATCH(fastfood_into, Fastfood)
