// Tiled Fastfood.
#include "definitions.h"
#include "flat_case.h"
#include "motive/cuda/fastfood.h"

namespace motive::driver {
namespace {

void project(const FlatCase& c, int64_t tile) {
  begin_case(std::string("fastfood ") + name_of(c.grad.dtype) + " " + join({c.samples, c.columns, c.dim, tile}));
  const AxisTable order = balanced_buckets(kFlatKey, Role::vector, tile, tile);
  std::vector<int32_t> labels;
  for (const int32_t place : order.bucket) labels.push_back(place % int32_t(c.dim));
  const auto definition = [&](const float* grad) {
    std::vector<double> z(size_t(c.dim), 0.);
    for (int64_t index = 0; index * tile < c.columns; ++index) {
      std::vector<double> v(size_t(tile), 0.);
      for (int64_t j = 0; j < tile && index * tile + j < c.columns; ++j) {
        v[size_t(j)] = sign_entry(kFlatKey, uint32_t(index), j, 0) * grad[index * tile + j];
      }
      hadamard(v);
      for (int64_t j = 0; j < tile; ++j) {
        z[size_t(labels[size_t(j)])] += normal_entry(kFlatKey, uint32_t(index), j, 1) * v[size_t(j)];
      }
    }
    hadamard(z);
    return z;
  };
  const OnDevice<int32_t> on_device(labels);
  const auto fill = [&](Fastfood& a, bool device) {
    a.tile = tile;
    a.labels = device ? on_device.get() : labels.data();
  };
  check_flat<Fastfood>(c, fill, cuda::fastfood_workspace, cuda::fastfood_into, cpu::fastfood_into, definition);
}

// Passes of radix 8, 4 and 2; several tiles of a block, several blocks, more than a group of them.
const Op op("fastfood", [] {
  for (const DType dtype : kTypes) project(FlatCase(dtype, 2, 700, 16, 2, 1), 64);
  project(FlatCase(DType::float32, 1, 5, 2), 2);
  project(FlatCase(DType::float32, 1, 3, 1), 1);
  project(FlatCase(DType::float32, 1, 1000, 128), 128);
  project(FlatCase(DType::float32, 1, 9000, 64), 4096);
  project(FlatCase(DType::float32, 1, 1100, 8), 8);
  project(FlatCase(DType::float32, 1, 100, 256), 16384);
});

}  // namespace
}  // namespace motive::driver
