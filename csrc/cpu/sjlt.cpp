#include "motive/sjlt.h"

#include "column_parts.h"
#include "level.h"
#include "philox_vector.h"
#include "scratch.h"

namespace motive::cpu::MOTIVE_LEVEL {
namespace {

constexpr int64_t kGrain = 4096;       // columns worth a part of their own
constexpr int64_t kChunkWords = 2048;  // random words made at a time, about
constexpr int64_t kMostSums = 1 << 15;

// Where the nonzeros of a chunk of columns go: [column][nonzero].
struct Places {
  uint32_t* offset;  // bucket * kLanes
  uint32_t* flip;    // bit 31 set where the sign is -1
};

// count columns from `first`, a multiple of 4.
void make_places(const SparseTransform& a, const PhiloxKeys& keys, int64_t first, int64_t count, const Places& to) {
  const int64_t words = count * a.nonzeros, block = first * a.nonzeros / 4;
  for (int64_t t = 0; t < words; t += 4 * kLanes) {
    counted_blocks(keys, uint64_t(block + t / 4), 0, to.offset + t);
  }
  for (int64_t t = 0, c = 0; t < words; ++t, c = c + 1 < a.nonzeros ? c + 1 : 0) {
    const uint32_t word = to.offset[t];
    const int64_t low = c * a.dim / a.nonzeros, high = (c + 1) * a.dim / a.nonzeros;
    to.flip[t] = ~word << 31;
    to.offset[t] = uint32_t((low + int64_t((uint64_t(word >> 1) * uint64_t(high - low)) >> 31)) * kLanes);
  }
}

// sums[bucket][lane] += sign * x[lane] for the kLanes columns of a transposed block.
MOTIVE_INLINE void scatter(const Vector (&block)[kLanes], int64_t columns, int64_t nonzeros, const Places& places,
                           int64_t at, float* sums) {
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t c = 0; c < nonzeros; ++c, ++at) {
      float* to = sums + places.offset[at];
      store(to, load(to) + flip_sign(block[j], broadcast_bits(places.flip[at])));
    }
  }
}

// totals[s * dim + bucket] += the transform of columns first .. last - 1.
template <class T>
void add_sparse(const SparseTransform& a, const T* grad, int64_t samples, int64_t first, int64_t last, float* totals) {
  const int64_t groups = ceil_div(samples, kLanes), wanted = kChunkWords / a.nonzeros / kLanes * kLanes;
  const int64_t chunk = wanted > kLanes ? wanted : kLanes, size = a.dim * kLanes;
  Scratch<float> sums(groups * size);
  Scratch<uint32_t> offset(chunk * a.nonzeros + 4 * kLanes), flip(chunk * a.nonzeros);
  const Places places{offset.get(), flip.get()};
  const PhiloxKeys keys(a.key0, a.key1);
  memset(sums.get(), 0, size_t(groups * size) * sizeof(float));
  for (int64_t column = first; column < last; column += chunk) {
    const int64_t count = least(last - column, chunk);
    make_places(a, keys, column, count, places);
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t s = group * kLanes, present = least(samples - s, kLanes);
      for (int64_t j = 0; j < count; j += kLanes) {
        Vector block[kLanes];
        load_transposed(grad + s * a.sample_stride + column + j, a.sample_stride, present, count - j, block);
        scatter(block, least(count - j, kLanes), a.nonzeros, places, j * a.nonzeros, sums.get() + group * size);
      }
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
