// Sparse Johnson-Lindenstrauss transform.
#include "flat_case.h"
#include "motive/cuda/sjlt.h"

namespace motive::driver {
namespace {

void project(const FlatCase& c, int64_t nonzeros) {
  begin_case(std::string("sjlt ") + name_of(c.grad.dtype) + " " + join({c.samples, c.columns, c.dim, nonzeros}));
  const auto definition = [&](const float* grad) {
    std::vector<double> z(size_t(c.dim), 0.);
    for (int64_t t = 0; t < c.columns * nonzeros; ++t) {
      const uint32_t word = philox_at(kFlatKey, uint64_t(t / 4), 0, 0).words[t % 4];
      const int64_t part = t % nonzeros, low = part * c.dim / nonzeros, high = (part + 1) * c.dim / nonzeros;
      const int64_t bucket = low + int64_t((uint64_t(word >> 1) * uint64_t(high - low)) >> 31);
      z[size_t(bucket)] += (word & 1 ? 1. : -1.) * grad[t / nonzeros];
    }
    return z;
  };
  const auto fill = [&](SparseTransform& a, bool) { a.nonzeros = nonzeros; };
  check_flat<SparseTransform>(c, fill, cuda::sjlt_workspace, cuda::sjlt_into, cpu::sjlt_into, definition);
}

// Buckets in shared memory by 8, 4, 2 and 1 warps, then in the result itself; several warps and blocks; one bucket for
// all lanes.
const Op op("sjlt", [] {
  for (const DType dtype : kTypes) project(FlatCase(dtype, 1, 300, 512), 1);
  project(FlatCase(DType::float32, 1, 5, 3), 1);
  project(FlatCase(DType::float32, 1, 33, 1), 1);
  project(FlatCase(DType::float32, 2, 2000, 70, 1), 3);
  project(FlatCase(DType::float32, 1, 1400, 2500), 3);
  project(FlatCase(DType::float32, 1, 9000, 5000), 1);
  project(FlatCase(DType::float32, 1, 20, 12000), 7);
  project(FlatCase(DType::float32, 1, 20, 13000), 7);
  project(FlatCase(DType::float32, 1, 5000, 13000), 1);
});

}  // namespace
}  // namespace motive::driver
