// Kernels of the factorized route for one element type; each outer_sketch_<type>.cu compiles them once.
#pragma once

#include "launch.cuh"
#include "outer_sketch.h"

namespace motive::cuda::outer_sketch {

// The same number, as if it were new: what is computed from it stays where it is used. Hoisted out of the loop over
// tokens, the addresses of every pass would fill the registers.
__device__ inline int renewed(int value) {
  asm volatile("" : "+r"(value));
  return value;
}

template <class T, int LogM>
__global__ void __launch_bounds__((Shape<T, LogM>::kThreads), Shape<T, LogM>::kThreads > 256 ? 1 : 2)
    outer_kernel(const __grid_constant__ Args args) {
  using S = Shape<T, LogM>;
  int thread = int(threadIdx.x);
  const int sample = int(blockIdx.x) / args.chunks, chunk = int(blockIdx.x) % args.chunks;
  const Shared<S, T> shared = shared_views<S, T>(dynamic_shared<unsigned char>(), args);
  State<S> state;
  begin(state, shared, thread);
  __syncthreads();
  const int end = int(smaller((chunk + 1) * kTokensOfBlock, length_of(args, sample)));
  for (int token = chunk * kTokensOfBlock; token < end; token += S::kTokens) {
#pragma unroll 1
    for (int side = 0; side < 2; ++side) {
      thread = renewed(thread);
      clear_sketch(state);
      for (int first = 0; first < args.columns[side]; first += args.runs * args.dim) {
        fill(args, shared, side, sample, token, end, first, thread);
        __syncthreads();
        gather(state, args, shared, side, first, thread);
        __syncthreads();
      }
      if (side == 0) note_largest(state, shared);
      write_pairs(state, shared, side, thread);
    }
    __syncthreads();
#pragma unroll
    for (int pass = 0; pass < S::Transform::kPasses; ++pass) {
      transform(state, shared, pass, thread);
      __syncthreads();
    }
    multiply(state, shared, thread);
    __syncthreads();
  }
  write_sums(state, shared, thread);
  __syncthreads();
  write_partial(args, shared, blockIdx.x, thread);
}

template <class T, int LogM>
void launch_outer(const Args& args, int64_t samples, cudaStream_t stream) {
  using S = Shape<T, LogM>;
  launch("outer_sketch_into", outer_kernel<T, LogM>, samples * int64_t(args.chunks), S::kThreads,
         shared_bytes<S, T>(args.dim, args.runs), stream, args);
}

template <class T>
void launch_outer(const Args& args, int64_t samples, cudaStream_t stream) {
  switch (log_length(args.dim)) {
    case 8: return launch_outer<T, 8>(args, samples, stream);
    case 9: return launch_outer<T, 9>(args, samples, stream);
    case 10: return launch_outer<T, 10>(args, samples, stream);
    case 11: return launch_outer<T, 11>(args, samples, stream);
    default: return launch_outer<T, 12>(args, samples, stream);
  }
}

void launch_outer_float32(const Args& args, int64_t samples, cudaStream_t stream);
void launch_outer_bfloat16(const Args& args, int64_t samples, cudaStream_t stream);
void launch_outer_float16(const Args& args, int64_t samples, cudaStream_t stream);

}  // namespace motive::cuda::outer_sketch
