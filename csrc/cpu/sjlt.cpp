#include "motive/sjlt.h"

#include "column_parts.h"
#include "level.h"
#include "philox_vector.h"
#include "scratch.h"

namespace motive::cpu::MOTIVE_LEVEL {
namespace {

constexpr int64_t kGrain = 16384;      // columns worth a separate part
constexpr int64_t kChunkWords = 2048;  // random words made at a time, about
constexpr int64_t kMostSums = 1 << 15;

// Where the nonzeros of a chunk of columns go, [column][nonzero], and the ranges of buckets that they choose from.
struct Places {
  uint32_t* offset;  // bucket * kLanes
  uint32_t* flip;    // bit 31 set where the sign is -1
  uint32_t* low;     // [nonzeros + 1]: the first bucket of each nonzero's range
};

// count columns from `first`, a multiple of 4.
void make_places(const SparseTransform& a, const PhiloxKeys& keys, int64_t first, int64_t count, const Places& to) {
  const int64_t words = count * a.nonzeros, block = first * a.nonzeros / 4;
  for (int64_t t = 0; t < words; t += 4 * kLanes) {
    counted_blocks(keys, uint64_t(block + t / 4), 0, to.offset + t);
  }
  for (int64_t t = 0, c = 0; t < words; ++t, c = c + 1 < a.nonzeros ? c + 1 : 0) {
    const uint32_t word = to.offset[t], low = to.low[c], width = to.low[c + 1] - low;
    to.flip[t] = ~word << 31;
    to.offset[t] = (low + uint32_t((uint64_t(word >> 1) * width) >> 31)) * kLanes;
  }
}

// sums[bucket][lane] += sign * x[lane] for the columns of a transposed block.
MOTIVE_INLINE void scatter(const Vector (&block)[kLanes], int64_t columns, int64_t nonzeros, const uint32_t* offset,
                           const uint32_t* flip, float* sums) {
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t c = 0; c < nonzeros; ++c) {
      float* to = sums + *offset++;
      store(to, load(to) + flip_sign(block[j], broadcast_bits(*flip++)));
    }
  }
}

// The same for kLanes columns of one nonzero, with the signs already applied.
MOTIVE_INLINE void scatter_signed(const Vector (&block)[kLanes], const uint32_t* offset, float* sums) {
#pragma GCC unroll 16
  for (int j = 0; j < kLanes; ++j) store(sums + offset[j], load(sums + offset[j]) + block[j]);
}

// sums [dim][kLanes] += the transform of `count` columns of up to kLanes samples. What is needed after them, at
// `ahead`, is fetched meanwhile.
template <class T>
void add_columns(const SparseTransform& a, const Places& places, const T* grad, const T* ahead, int64_t samples,
                 int64_t count, float* sums) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t j = 0; j < count; j += kLanes) {
    if (j % kLine == 0) {
      for (int64_t s = 0; s < samples; ++s) __builtin_prefetch(ahead + s * a.sample_stride + j);
    }
    Vector block[kLanes];
    if (a.nonzeros == 1 && count - j >= kLanes && samples == kLanes) {
      const VectorBits flip = load_bits(places.flip + j);
#pragma GCC unroll 16
      for (int s = 0; s < kLanes; ++s) block[s] = flip_sign(load(grad + s * a.sample_stride + j), flip);
      transpose(block);
      scatter_signed(block, places.offset + j, sums);
    } else {
      load_transposed(grad + j, a.sample_stride, samples, count - j, block);
      scatter(block, least(count - j, kLanes), a.nonzeros, places.offset + j * a.nonzeros, places.flip + j * a.nonzeros,
              sums);
    }
  }
}

// totals[s * dim + bucket] += the transform of columns first .. last - 1.
template <class T>
void add_sparse(const SparseTransform& a, const T* grad, int64_t samples, int64_t first, int64_t last, float* totals) {
  const int64_t groups = ceil_div(samples, kLanes), wanted = kChunkWords / a.nonzeros / kLanes * kLanes;
  const int64_t chunk = wanted > kLanes ? wanted : kLanes, size = a.dim * kLanes;
  Scratch<float> sums(groups * size);
  Scratch<uint32_t> offset(chunk * a.nonzeros + 4 * kLanes), flip(chunk * a.nonzeros), low(a.nonzeros + 1);
  for (int64_t c = 0; c <= a.nonzeros; ++c) low[c] = uint32_t(c * a.dim / a.nonzeros);
  const Places places{offset.get(), flip.get(), low.get()};
  const PhiloxKeys keys(a.key0, a.key1);
  memset(sums.get(), 0, size_t(groups * size) * sizeof(float));
  for (int64_t column = first; column < last; column += chunk) {
    const int64_t count = least(last - column, chunk);
    make_places(a, keys, column, count, places);
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t s = group * kLanes, present = least(samples - s, kLanes);
      const T* mine = grad + s * a.sample_stride + column;
      const T* ahead = least(samples - s - kLanes, kLanes) == kLanes ? mine + kLanes * a.sample_stride : mine;
      add_columns(a, places, mine, ahead, present, count, sums.get() + group * size);
    }
  }
  for (int64_t s = 0; s < samples; ++s) {
    const float* from = sums.get() + s / kLanes * size + s % kLanes;
    for (int64_t bucket = 0; bucket < a.dim; ++bucket) totals[s * a.dim + bucket] += from[bucket * kLanes];
  }
}

template <class T>
void project(const SparseTransform& a) {
  const int64_t wanted = kMostSums / a.dim / kLanes * kLanes;
  const int64_t batch = wanted > kLanes ? least(wanted, 64) : kLanes;
  for (int64_t s = 0; s < a.samples; s += batch) {
    const int64_t samples = least(a.samples - s, batch);
    const T* grad = static_cast<const T*>(a.grad) + s * a.sample_stride;
    add_column_parts(
        a.z + s * a.dim, a.dim, samples, a.dim, a.columns, kGrain, a.scale, a.threads,
        [&](int64_t first, int64_t last, float* sums) { add_sparse(a, grad, samples, first, last, sums); });
  }
}

}  // namespace

void sjlt_into(const SparseTransform& a) {
  switch (a.dtype) {
    case DType::float32: return project<float>(a);
    case DType::bfloat16: return project<bfloat16>(a);
    case DType::float16: return project<float16>(a);
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL

MOTIVE_DISPATCH(sjlt_into, SparseTransform)
