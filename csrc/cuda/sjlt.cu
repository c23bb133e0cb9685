#include "motive/cuda/sjlt.h"
#include "reduce.cuh"
#include "sjlt.h"

namespace motive::cuda {
namespace {

using namespace sparse;

constexpr const char* kWhere = "sjlt_into";
constexpr unsigned kAllLanes = 0xffffffffu;

// sums[bucket] += value for each lane that takes part; lanes of one bucket in order, the others at once.
__device__ void add_in_turn(float* sums, int bucket, float value, bool takes_part) {
  const unsigned lane = threadIdx.x % 32;
  const unsigned same = __match_any_sync(kAllLanes, takes_part ? bucket : -1 - int(lane));
  const unsigned rank = __popc(same & ((1u << lane) - 1));
  const unsigned last = __reduce_max_sync(kAllLanes, rank);
  for (unsigned turn = 0; turn <= last; ++turn) {
    if (takes_part && rank == turn) sums[bucket] += value;
    __syncwarp();
  }
}

template <class T>
__global__ void __launch_bounds__(256) sparse_kernel(const SparseTransform a, const Cut cut, float* partials) {
  float* const shared = dynamic_shared<float>();
  const int64_t sample = blockIdx.x / cut.blocks, block = blockIdx.x % cut.blocks;
  const int warp = int(threadIdx.x / 32), lane = int(threadIdx.x % 32);
  float* const partial = partials + blockIdx.x * a.dim;
  float* const sums = cut.in_place ? partial : shared + warp * a.dim;
  for (int64_t b = lane; b < a.dim; b += 32) sums[b] = 0.0f;
  __syncwarp();
  const int64_t first = (block * cut.warps + warp) * cut.unit_items, last = smaller(first + cut.unit_items, cut.items);
  for (int64_t t = first; t < last; t += kStep) {
    const PhiloxBlock words = words_of(a, t / 4 + lane);
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      const bool takes_part = t + 4 * lane + w < last;
      const Item item = item_of(a, takes_part ? t + 4 * lane + w : first, words.words[w]);
      add_in_turn(sums, int(item.bucket), takes_part ? value_of<T>(a, sample, item) : 0.0f, takes_part);
    }
  }
  __syncthreads();
  for (int64_t b = threadIdx.x; b < a.dim; b += blockDim.x) {
    float sum = 0.0f;
    if (cut.in_place) {
      sum = partial[b];
    } else {
      for (int w = 0; w < cut.warps; ++w) sum += shared[w * a.dim + b];
    }
    partial[b] = a.scale * sum;
  }
}

template <class T>
void launch_sparse(const SparseTransform& a, const Cut& cut, float* partials, cudaStream_t stream) {
  const int64_t bytes = cut.in_place ? 0 : cut.warps * a.dim * int64_t(sizeof(float));
  launch(kWhere, sparse_kernel<T>, a.samples * cut.blocks, 32 * cut.warps, bytes, stream, a, cut, partials);
}

}  // namespace

int64_t sjlt_workspace(const SparseTransform& args) {
  if (args.columns == 0) return 0;
  const int64_t blocks = cut_of(args).blocks;
  return args.samples * blocks * args.dim + reduction_floats(args.samples, blocks, args.dim);
}

void sjlt_into(const SparseTransform& args, float* workspace, void* stream) {
  check(args);
  if (args.samples == 0 || args.columns == 0) return;
  check_pointer(kWhere, "workspace", workspace);
  const cudaStream_t cuda_stream = static_cast<cudaStream_t>(stream);
  const Cut cut = cut_of(args);
  switch (args.dtype) {
    case DType::float32: launch_sparse<float>(args, cut, workspace, cuda_stream); break;
    case DType::bfloat16: launch_sparse<bfloat16>(args, cut, workspace, cuda_stream); break;
    case DType::float16: launch_sparse<float16>(args, cut, workspace, cuda_stream); break;
  }
  add_partials(kWhere, workspace, args.z, args.samples, cut.blocks, args.dim,
               workspace + args.samples * cut.blocks * args.dim, cuda_stream);
}

}  // namespace motive::cuda
