#include "motive/dense_projection.h"

#include "column_parts.h"
#include "gaussian.h"
#include "level.h"
#include "rademacher.h"

namespace motive::cpu::MOTIVE_LEVEL {
namespace {

// A distribution's way to sum over columns, and the samples of a pass, whose sums stay in the second-level cache.
struct Signs {
  static constexpr int64_t kBatch = 64, kRows = kSignRows;
  template <class T>
  static void add(const DenseProjection& a, const T* grad, int64_t samples, int64_t first_row, int64_t rows,
                  int64_t first, int64_t last, float* totals) {
    add_rademacher(a, grad, samples, first_row, rows, first, last, totals);
  }
};
struct Normals {
  static constexpr int64_t kBatch = 16 * kTileRows, kRows = kNormalRows;
  template <class T>
  static void add(const DenseProjection& a, const T* grad, int64_t samples, int64_t first_row, int64_t rows,
                  int64_t first, int64_t last, float* totals) {
    add_gaussian(a, grad, samples, first_row, rows, first, last, totals);
  }
};

constexpr int64_t kGrain = 4096;  // columns worth a separate part

template <class Method, class T>
void project(const DenseProjection& a) {
  for (int64_t s = 0; s < a.samples; s += Method::kBatch) {
    const int64_t samples = least(a.samples - s, Method::kBatch);
    const T* grad = static_cast<const T*>(a.grad) + s * a.sample_stride;
    for (int64_t row = 0; row < a.dim; row += Method::kRows) {
      const int64_t rows = least(a.dim - row, Method::kRows);
      const auto body = [&](int64_t first, int64_t last, float* sums) {
        Method::add(a, grad, samples, row, rows, first, last, sums);
      };
      add_column_parts(a.z + s * a.dim + row, a.dim, samples, rows, a.columns, kGrain, a.scale, a.threads, body);
    }
  }
}

template <class T>
void project_as(const DenseProjection& a) {
  a.distribution == Distribution::rademacher ? project<Signs, T>(a) : project<Normals, T>(a);
}

}  // namespace

void dense_projection_into(const DenseProjection& a) {
  switch (a.dtype) {
    case DType::float32: return project_as<float>(a);
    case DType::bfloat16: return project_as<bfloat16>(a);
    case DType::float16: return project_as<float16>(a);
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL

MOTIVE_DISPATCH(dense_projection_into, DenseProjection)
