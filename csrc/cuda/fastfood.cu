#include "fastfood.h"
#include "reduce.cuh"

namespace motive::cuda {
namespace {

using namespace tiled;

constexpr const char* kWhere = "fastfood_into";

__device__ void hadamard(float* values, int length) {
  for (int half = 1; half < length; half <<= log_radix(length, half)) {
    __syncthreads();
    hadamard_pass(values, length, half, int(threadIdx.x));
  }
  __syncthreads();
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2) tile_kernel(const Fastfood a, const Cut cut, float* sums) {
  float* const values = dynamic_shared<float>();
  uint32_t* const signs = reinterpret_cast<uint32_t*>(values + a.tile);
  const int thread = int(threadIdx.x);
  const int64_t sample = blockIdx.x / cut.units, unit = blockIdx.x % cut.units;
  const int64_t first = unit * cut.unit_tiles, last = smaller(first + cut.unit_tiles, cut.tiles);
  for (int64_t tile = first; tile < last; ++tile) {
    make_signs(a, tile, signs, thread);
    __syncthreads();
    load_tile<T>(a, sample, tile, signs, values, thread);
    hadamard(values, int(a.tile));
    add_tile(a, tile, tile == first, values, sums + blockIdx.x * a.tile, thread);
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kFoldBuckets* kFoldParts)
    fold_kernel(const Fastfood a, const float* sums, int64_t count, int64_t tiles_of_buckets, float* buckets) {
  __shared__ float parts[kFoldBuckets * kFoldParts];
  const int thread = int(threadIdx.x);
  const int64_t sample = blockIdx.x / tiles_of_buckets;
  const int64_t first = blockIdx.x % tiles_of_buckets * kFoldBuckets;
  parts[thread] = fold_part(a, sums, count, sample, first, thread);
  __syncthreads();
  if (thread >= kFoldBuckets || first + thread >= a.dim) return;
  float sum = 0.0f;
  for (int part = 0; part < kFoldParts; ++part) sum += parts[part * kFoldBuckets + thread];
  buckets[sample * a.dim + first + thread] = sum;
}

__global__ void __launch_bounds__(kThreads, 2) outer_kernel(const Fastfood a, const float* buckets) {
  float* const values = dynamic_shared<float>();
  const int64_t start = blockIdx.x * a.dim;
  for (int b = int(threadIdx.x); b < a.dim; b += kThreads) values[b] = buckets[start + b];
  hadamard(values, int(a.dim));
  for (int b = int(threadIdx.x); b < a.dim; b += kThreads) a.z[start + b] += a.scale * values[b];
}

template <class T>
void launch_tiles(const Fastfood& a, const Cut& cut, float* sums, cudaStream_t stream) {
  launch(kWhere, tile_kernel<T>, a.samples * cut.units, kThreads, shared_bytes(a.tile), stream, a, cut, sums);
}

}  // namespace

int64_t fastfood_shared_bytes(int64_t tile) { return shared_bytes(tile); }

int64_t fastfood_workspace(const Fastfood& args) { return args.columns == 0 ? 0 : workspace_floats(args); }

void fastfood_into(const Fastfood& args, float* workspace, void* stream) {
  check_device(args);
  if (args.samples == 0 || args.columns == 0) return;
  check_pointer(kWhere, "workspace", workspace);
  const cudaStream_t cuda_stream = static_cast<cudaStream_t>(stream);
  const Cut cut = cut_of(args);
  switch (args.dtype) {
    case DType::float32: launch_tiles<float>(args, cut, workspace, cuda_stream); break;
    case DType::bfloat16: launch_tiles<bfloat16>(args, cut, workspace, cuda_stream); break;
    case DType::float16: launch_tiles<float16>(args, cut, workspace, cuda_stream); break;
  }
  float* const scratch = workspace + args.samples * cut.units * args.tile;
  float* const buckets = scratch + reduction_floats(args.samples, cut.units, args.tile);
  int64_t count = cut.units;
  const float* const sums = sum_groups(kWhere, workspace, args.samples, count, args.tile, scratch, cuda_stream);
  const int64_t tiles_of_buckets = ceil_div(args.dim, kFoldBuckets);
  launch(kWhere, fold_kernel, args.samples * tiles_of_buckets, kFoldBuckets * kFoldParts, 0, cuda_stream, args, sums,
         count, tiles_of_buckets, buckets);
  launch(kWhere, outer_kernel, args.samples, kThreads, 4 * args.dim, cuda_stream, args, buckets);
}

}  // namespace motive::cuda
