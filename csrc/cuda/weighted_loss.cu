#include "launch.cuh"
#include "motive/cuda/weighted_loss.h"
#include "weighted_loss.h"

namespace motive::cuda {
namespace {

using namespace weighted;

constexpr const char* kWhere = "weighted_loss";

// The sum over the block, in thread 0; 0 in the others, which may not read what thread 0 still writes.
__device__ float block_sum(float value) {
  __shared__ float values[kSumThreads];
  const int thread = int(threadIdx.x);
  values[thread] = value;
#pragma unroll
  for (int half = kSumThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    add_half(values, half, thread);
  }
  return thread == 0 ? values[0] : 0.0f;
}

template <class T, int V>
__global__ void __launch_bounds__(kSumThreads, 4)
    residual_kernel(const WeightedLoss a, int64_t blocks, float* partials) {
  const int64_t sample = blockIdx.x / blocks, block = blockIdx.x % blocks;
  const float sum = block_sum(residual<T, V>(a, sample, block, int(threadIdx.x)));
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kSumThreads)
    loss_kernel(const float* partials, int64_t blocks, double factor, float* loss) {
  const float sum = block_sum(share(partials + blockIdx.x * blocks, blocks, int(threadIdx.x)));
  if (threadIdx.x == 0) loss[blockIdx.x] = float(factor * double(sum));
}

template <class T>
void launch_residual(const WeightedLoss& a, int64_t blocks, float* partials, cudaStream_t stream) {
  const auto kernel = is_vectorised(a) ? residual_kernel<T, kVector<T>> : residual_kernel<T, 1>;
  launch(kWhere, kernel, a.samples * blocks, kSumThreads, 0, stream, a, blocks, partials);
}

}  // namespace

int64_t weighted_loss_workspace(const WeightedLoss& args) { return args.samples * blocks_of_sample(args); }

void weighted_loss(const WeightedLoss& args, float* workspace, void* stream) {
  check(args);
  if (args.samples == 0) return;
  check_pointer(kWhere, "workspace", workspace);
  const cudaStream_t cuda_stream = static_cast<cudaStream_t>(stream);
  const int64_t blocks = blocks_of_sample(args);
  switch (args.dtype) {
    case DType::float32: launch_residual<float>(args, blocks, workspace, cuda_stream); break;
    case DType::bfloat16: launch_residual<bfloat16>(args, blocks, workspace, cuda_stream); break;
    case DType::float16: launch_residual<float16>(args, blocks, workspace, cuda_stream); break;
  }
  launch(kWhere, loss_kernel, args.samples, kSumThreads, 0, cuda_stream, workspace, blocks, args.loss_factor,
         args.loss);
}

}  // namespace motive::cuda
