#include "launch.cuh"
#include "motion_weights.h"
#include "motive/cuda/motion_weights.h"

namespace motive::cuda {
namespace {

using namespace motion;

constexpr const char* kWhere = "motion_weights";

// The extremes of the block, in thread 0; the others keep their own, since thread 0 may still write the result.
__device__ Extremes block_extremes(Extremes mine) {
  __shared__ Extremes all[kThreads];
  const int thread = int(threadIdx.x);
  all[thread] = mine;
#pragma unroll
  for (int half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half) include(all[thread], all[thread + half]);
  }
  return thread == 0 ? all[0] : mine;
}

// One block a band of a frame.
template <class T, int V>
__global__ void __launch_bounds__(kThreads, 4)
    resize_kernel(const MotionWeights a, int64_t bands, float* resized, Extremes* parts) {
  const Extremes found = block_extremes(read_and_resize<T, V>(a, bands, blockIdx.x, resized, int(threadIdx.x)));
  if (threadIdx.x == 0) parts[blockIdx.x] = found;
}

// One block a clip.
__global__ void __launch_bounds__(kThreads, 4) clip_kernel(const Extremes* parts, int64_t count, Extremes* clips) {
  Extremes found = no_extremes();
  for (int64_t j = threadIdx.x; j < count; j += kThreads) include(found, parts[blockIdx.x * count + j]);
  found = block_extremes(found);
  if (threadIdx.x == 0) clips[blockIdx.x] = found;
}

// One thread a latent cell.
__global__ void __launch_bounds__(kThreads, 4)
    pool_kernel(const MotionWeights a, const float* resized, const Extremes* clips) {
  const int64_t cells = a.latent_height * a.latent_width, index = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= a.samples * a.latent_frames * cells) return;
  const int64_t latent = index / cells, sample = latent / a.latent_frames;
  a.weights[index] = pooled(a, resized + sample * a.frames * cells, clips[sample], latent - sample * a.latent_frames,
                            index - latent * cells);
}

template <class T>
void launch_resize(const MotionWeights& a, int64_t bands, float* resized, Extremes* parts, cudaStream_t stream) {
  const auto kernel = is_vectorised(a) ? resize_kernel<T, kVector<T>> : resize_kernel<T, 1>;
  launch(kWhere, kernel, a.samples * a.frames * bands, kThreads, 0, stream, a, bands, resized, parts);
}

}  // namespace

int64_t motion_weights_workspace(const MotionWeights& args) {
  const int64_t frames = args.samples * args.frames, cells = args.latent_height * args.latent_width;
  return frames * cells + 2 * (frames * bands_of(args) + args.samples) + 1;
}

void motion_weights(const MotionWeights& args, float* workspace, void* stream) {
  check(args);
  if (args.samples == 0) return;
  check_pointer(kWhere, "workspace", workspace);
  const cudaStream_t cuda_stream = static_cast<cudaStream_t>(stream);
  const int64_t frames = args.samples * args.frames, bands = bands_of(args);
  const int64_t cells = args.latent_height * args.latent_width;
  float* const resized = workspace;
  Extremes* const parts = reinterpret_cast<Extremes*>(workspace + (frames * cells + 1) / 2 * 2);
  Extremes* const clips = parts + frames * bands;
  switch (args.dtype) {
    case DType::float32: launch_resize<float>(args, bands, resized, parts, cuda_stream); break;
    case DType::bfloat16: launch_resize<bfloat16>(args, bands, resized, parts, cuda_stream); break;
    case DType::float16: launch_resize<float16>(args, bands, resized, parts, cuda_stream); break;
  }
  launch(kWhere, clip_kernel, args.samples, kThreads, 0, cuda_stream, parts, args.frames * bands, clips);
  launch(kWhere, pool_kernel, ceil_div(args.samples * args.latent_frames * cells, kThreads), kThreads, 0, cuda_stream,
         args, resized, clips);
}

}  // namespace motive::cuda
