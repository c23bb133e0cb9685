#include "motive/cuda/outer_sketch.h"
#include "outer_sketch.cuh"
#include "reduce.cuh"

namespace motive::cuda {
namespace {

using namespace outer_sketch;

constexpr const char* kWhere = "outer_sketch_into";

// One block a sample.
template <int LogM>
__global__ void __launch_bounds__(Fft<LogM>::kThreads)
    inverse_kernel(const float* partials, int64_t count, float* z, int dim, float scale) {
  using Transform = Fft<LogM>;
  __shared__ float re[Transform::M], im[Transform::M];
  const int thread = int(threadIdx.x);
  const auto twiddles = Transform::twiddles(thread);
  gather_partials<LogM>(partials + blockIdx.x * count * 2 * Transform::M, count, re, im, thread);
  __syncthreads();
  Transform::inverse_last(re, im, thread);
#pragma unroll
  for (int pass = Transform::kPasses - 1; pass >= 0; --pass) {
    __syncthreads();
    Transform::inverse(twiddles, re, im, pass, thread);
  }
  __syncthreads();
  fold<LogM>(re, z + blockIdx.x * int64_t(dim), dim, scale, thread);
}

template <int LogM>
void launch_inverse(const OuterSketch& o, const float* partials, int64_t count, cudaStream_t stream) {
  launch(kWhere, inverse_kernel<LogM>, o.samples, Fft<LogM>::kThreads, 0, stream, partials, count, o.z, int(o.dim),
         o.scale);
}

}  // namespace

bool outer_sketch_takes(int64_t dim) { return log_length(dim) != 0; }

int64_t outer_sketch_workspace(const OuterSketch& args) {
  check_dim(args.dim);
  const int64_t chunks = ceil_div(args.tokens, kTokensOfBlock), width = int64_t(2) << log_length(args.dim);
  return partial_floats(args) + reduction_floats(args.samples, chunks, width);
}

void outer_sketch_into(const OuterSketch& args, float* workspace, void* stream) {
  check(args);
  if (is_empty(args)) return;
  check_pointer(kWhere, "workspace", workspace);
  const cudaStream_t cuda_stream = static_cast<cudaStream_t>(stream);
  const Args kernel_args = args_of(args, workspace);
  switch (args.dtype) {
    case DType::float32: launch_outer_float32(kernel_args, args.samples, cuda_stream); break;
    case DType::bfloat16: launch_outer_bfloat16(kernel_args, args.samples, cuda_stream); break;
    case DType::float16: launch_outer_float16(kernel_args, args.samples, cuda_stream); break;
  }
  const int log_m = log_length(args.dim);
  int64_t count = kernel_args.chunks;
  const float* const sums = sum_groups(kWhere, workspace, args.samples, count, int64_t(2) << log_m,
                                       workspace + partial_floats(args), cuda_stream);
  switch (log_m) {
    case 8: return launch_inverse<8>(args, sums, count, cuda_stream);
    case 9: return launch_inverse<9>(args, sums, count, cuda_stream);
    case 10: return launch_inverse<10>(args, sums, count, cuda_stream);
    case 11: return launch_inverse<11>(args, sums, count, cuda_stream);
    default: return launch_inverse<12>(args, sums, count, cuda_stream);
  }
}

}  // namespace motive::cuda
