// Vectors as bytes: two passes over a row while it is in cache.
#include "motive/quantize_rows.h"

#include <cmath>

#include "axis.h"
#include "common/parallel.h"
#include "elements.h"

namespace motive::cpu::MOTIVE_LEVEL {
namespace {

constexpr int64_t kChunk = 256;            // rows of a task
constexpr int64_t kThreadBytes = 1 << 20;  // bytes that take about as long as starting a thread

// The largest magnitude as its bits, which order like the numbers; infinity and NaN come out on top.
template <class T>
uint32_t largest(const T* z, int64_t dim) {
  VectorBits most{};
  int64_t j = 0;
  for (; j + kLanes <= dim; j += kLanes) {
    const VectorBits size = bits_of(load(z + j)) & 0x7fffffffu;
    const VectorBits more = (VectorBits)((VectorInt)size > (VectorInt)most);
    most = (more & size) | (~more & most);
  }
  uint32_t found = 0;
  for (int lane = 0; lane < kLanes; ++lane) found = most[lane] > found ? most[lane] : found;
  for (; j < dim; ++j) {
    uint32_t bits;
    const float value = to_float(z[j]);
    memcpy(&bits, &value, sizeof bits);
    bits &= 0x7fffffffu;
    found = bits > found ? bits : found;
  }
  return found;
}

template <class T>
void one_row(const QuantizeRows& a, int64_t row) {
  const T* z = static_cast<const T*>(a.z) + row * a.row_stride;
  int8_t* values = a.values + row * a.dim;
  const uint32_t bits = largest(z, a.dim);
  if (bits >= 0x7f800000u) {
    int64_t seen = __atomic_load_n(a.first_broken, __ATOMIC_RELAXED);
    while (row < seen &&
           !__atomic_compare_exchange_n(a.first_broken, &seen, row, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return;
  }
  const double most = double(float_from_bits(bits));
  const double factor = most > 0. ? 127. / most : 0.;
  int64_t squares = 0;
  for (int64_t first = 0; first < a.dim; first += 4096) {  // 32-bit sums hold 2^31 / 127^2 squares
    const int64_t last = least(first + 4096, a.dim);
    int32_t some = 0;
    for (int64_t j = first; j < last; ++j) {
      const int32_t value = int32_t(__builtin_rint(double(to_float(z[j])) * factor));
      values[j] = int8_t(value);
      some += value * value;
    }
    squares += some;
  }
  a.scales[row] = squares == 0 ? 0.f : a.unit ? float(1. / std::sqrt(double(squares))) : float(most / 127.);
}

template <class T>
void run(const QuantizeRows& a) {
  const int threads = useful_threads(a.threads, a.rows * a.dim * int64_t(sizeof(T)), kThreadBytes);
  parallel_for(ceil_div(a.rows, kChunk), threads, [&](int64_t chunk) {
    for (int64_t row = chunk * kChunk; row < least((chunk + 1) * kChunk, a.rows); ++row) one_row<T>(a, row);
  });
}

}  // namespace

void quantize_rows(const QuantizeRows& a) {
  *a.first_broken = a.rows;
  switch (a.dtype) {
    case DType::float32: return run<float>(a);
    case DType::bfloat16: return run<bfloat16>(a);
    case DType::float16: return run<float16>(a);
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL

MOTIVE_DISPATCH(quantize_rows, QuantizeRows)
