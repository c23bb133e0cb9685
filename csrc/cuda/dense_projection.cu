#include "dense_projection.h"
#include "motive/cuda/dense_projection.h"
#include "reduce.cuh"

namespace motive::cuda {
namespace {

using namespace dense;

constexpr const char* kWhere = "dense_projection_into";

template <class T, Distribution D>
__global__ void __launch_bounds__(kThreads, 4) dense_kernel(const DenseProjection a, const Grid grid, float* partials) {
  __shared__ Values values[kStage];
  const int thread = int(threadIdx.x);
  const Place place = place_of(a, grid, blockIdx.x);
  float sums[kSamples] = {};
  for (int64_t column = place.first_column; column < place.last_column; column += kStage) {
    stage<T>(a, place, column, values, thread);
    __syncthreads();
    if constexpr (D == Distribution::rademacher) {
      add_signs(a, place, column, values, thread, sums);
    } else {
      add_normals(a, place, column, values, thread, sums);
    }
    __syncthreads();
  }
  write(a, grid, place, partials, thread, sums);
}

template <class T>
void launch_dense(const DenseProjection& a, float* partials, cudaStream_t stream) {
  const Grid grid = grid_of(a);
  const auto kernel = a.distribution == Distribution::rademacher ? dense_kernel<T, Distribution::rademacher>
                                                                 : dense_kernel<T, Distribution::gaussian>;
  launch(kWhere, kernel, grid.sample_tiles * grid.units * grid.row_tiles, kThreads, 0, stream, a, grid, partials);
}

}  // namespace

int64_t dense_projection_workspace(const DenseProjection& args) {
  if (args.columns == 0) return 0;
  return args.samples * units_of(args) * args.dim + reduction_floats(args.samples, units_of(args), args.dim);
}

void dense_projection_into(const DenseProjection& args, float* workspace, void* stream) {
  check(args);
  if (args.samples == 0 || args.columns == 0) return;
  check_pointer(kWhere, "workspace", workspace);
  const cudaStream_t cuda_stream = static_cast<cudaStream_t>(stream);
  switch (args.dtype) {
    case DType::float32: launch_dense<float>(args, workspace, cuda_stream); break;
    case DType::bfloat16: launch_dense<bfloat16>(args, workspace, cuda_stream); break;
    case DType::float16: launch_dense<float16>(args, workspace, cuda_stream); break;
  }
  const int64_t units = units_of(args);
  add_partials(kWhere, workspace, args.z, args.samples, units, args.dim, workspace + args.samples * units * args.dim,
               cuda_stream);
}

}  // namespace motive::cuda
