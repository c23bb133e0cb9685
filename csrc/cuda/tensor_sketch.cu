#include "motive/cuda/tensor_sketch.h"
#include "reduce.cuh"
#include "tensor_sketch.h"

namespace motive::cuda {
namespace {

using namespace tensor_sketch;

constexpr const char* kWhere = "tensor_sketch_into";

template <class T, int Q>
__global__ void __launch_bounds__(kThreads, 2) sketch_kernel(const __grid_constant__ Batch batch) {
  const int thread = int(threadIdx.x);
  const Shared shared = shared_views(dynamic_shared<unsigned char>(), Q, batch.dim);
  const Work<T> work = work_of<T>(batch, blockIdx.x, Q);
  begin(work, shared, thread);
  __syncthreads();
  ColumnEntries<Q> entries;
  int loaded = -1;
  for (int item = work.first_item; item < work.last_item; ++item) {
    const int chunk = item / work.steps, step = item % work.steps;
    if (chunk != loaded) load_entries(entries, work, shared, chunk, thread);
    loaded = chunk;
    fill<Q>(work, shared, chunk, step, thread);
    __syncthreads();
    gather(entries, work, shared, step, thread);
    __syncthreads();
  }
  finish(work, shared, partial_of(batch, blockIdx.x), thread);
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2) direct_kernel(const __grid_constant__ Batch batch) {
  direct(work_of<T>(batch, blockIdx.x, 0), partial_of(batch, blockIdx.x), int(threadIdx.x));
}

template <class T>
void launch_batch(const Batch& batch, int64_t samples, cudaStream_t stream) {
  const int64_t blocks = samples * batch.units;
  const int positions = batch.dim > kMaxTableDim ? 0 : positions_for(batch.dim);
  const int64_t bytes = positions ? shared_bytes(positions, batch.dim) : 0;
  switch (positions) {
    case 0: return launch(kWhere, direct_kernel<T>, blocks, kThreads, 0, stream, batch);
    case 1: return launch(kWhere, sketch_kernel<T, 1>, blocks, kThreads, bytes, stream, batch);
    case 2: return launch(kWhere, sketch_kernel<T, 2>, blocks, kThreads, bytes, stream, batch);
    case 4: return launch(kWhere, sketch_kernel<T, 4>, blocks, kThreads, bytes, stream, batch);
    case 8: return launch(kWhere, sketch_kernel<T, 8>, blocks, kThreads, bytes, stream, batch);
    default: return launch(kWhere, sketch_kernel<T, 16>, blocks, kThreads, bytes, stream, batch);
  }
}

void launch_batch(DType dtype, const Batch& batch, int64_t samples, cudaStream_t stream) {
  switch (dtype) {
    case DType::float32: return launch_batch<float>(batch, samples, stream);
    case DType::bfloat16: return launch_batch<bfloat16>(batch, samples, stream);
    case DType::float16: return launch_batch<float16>(batch, samples, stream);
  }
}

}  // namespace

int64_t tensor_sketch_workspace(const TensorSketch& args) {
  const int64_t units = total_units(args);
  return args.samples * units * args.dim + reduction_floats(args.samples, units, args.dim);
}

void tensor_sketch_into(const TensorSketch& args, float* workspace, void* stream) {
  check(args);
  const int64_t units = total_units(args);
  if (args.samples == 0 || units == 0) return;
  check_pointer(kWhere, "workspace", workspace);
  const cudaStream_t cuda_stream = static_cast<cudaStream_t>(stream);
  Batch batch;
  int64_t next = 0, done = 0;
  while (next < args.count) {
    next = fill_batch(args, next, workspace + done * args.dim, units, batch);
    if (batch.units) launch_batch(args.dtype, batch, args.samples, cuda_stream);
    done += batch.units;
  }
  add_partials(kWhere, workspace, args.z, args.samples, units, args.dim, workspace + args.samples * units * args.dim,
               cuda_stream);
}

}  // namespace motive::cuda
