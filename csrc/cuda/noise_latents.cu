#include "launch.cuh"
#include "motive/cuda/noise_latents.h"
#include "noise_latents.h"

namespace motive::cuda {
namespace {

using namespace noise;

template <class T, int V>
__global__ void __launch_bounds__(kThreads) mix_kernel(const NoiseLatents a, int64_t groups) {
  const int64_t index = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (index < a.samples * groups) mix<T, V>(a, groups, index);
}

template <class T>
void launch_mix(const NoiseLatents& a, cudaStream_t stream) {
  const int64_t groups = groups_of(a);
  const auto kernel = is_vectorised(a) ? mix_kernel<T, kVector<T>> : mix_kernel<T, 1>;
  launch("noise_latents", kernel, ceil_div(a.samples * groups, kThreads), kThreads, 0, stream, a, groups);
}

}  // namespace

void noise_latents(const NoiseLatents& args, void* stream) {
  check(args);
  if (args.samples == 0 || args.size == 0) return;
  const cudaStream_t cuda_stream = static_cast<cudaStream_t>(stream);
  switch (args.dtype) {
    case DType::float32: return launch_mix<float>(args, cuda_stream);
    case DType::bfloat16: return launch_mix<bfloat16>(args, cuda_stream);
    case DType::float16: return launch_mix<float16>(args, cuda_stream);
  }
}

}  // namespace motive::cuda
