#include "../tensor_sketch.h"

#include "../reduce.h"
#include "emulators.h"

namespace motive::cuda::host {
namespace {

using namespace tensor_sketch;

// As sketch_kernel.
template <class T, int Q>
void run_block(const Batch& batch, int64_t number, bool descending) {
  const Block block(kThreads, descending);
  auto memory = shared_memory(shared_bytes(Q, batch.dim));
  const Shared shared = shared_views(bytes_of(memory), Q, batch.dim);
  const Work<T> work = work_of<T>(batch, number, Q);
  std::vector<ColumnEntries<Q>> entries(kThreads);
  block.phase([&](int thread) { begin(work, shared, thread); });
  int loaded = -1;
  for (int item = work.first_item; item < work.last_item; ++item) {
    const int chunk = item / work.steps, step = item % work.steps;
    block.phase([&](int thread) {
      if (chunk != loaded) load_entries(entries[thread], work, shared, chunk, thread);
      fill<Q>(work, shared, chunk, step, thread);
    });
    loaded = chunk;
    block.phase([&](int thread) { gather(entries[thread], work, shared, step, thread); });
  }
  block.phase([&](int thread) { finish(work, shared, partial_of(batch, number), thread); });
}

template <class T>
void run_block(const Batch& batch, int64_t number, bool descending) {
  switch (batch.dim > kMaxTableDim ? 0 : positions_for(batch.dim)) {
    case 0:
      return Block(kThreads, descending).phase([&](int thread) {
        direct(work_of<T>(batch, number, 0), partial_of(batch, number), thread);
      });
    case 1: return run_block<T, 1>(batch, number, descending);
    case 2: return run_block<T, 2>(batch, number, descending);
    case 4: return run_block<T, 4>(batch, number, descending);
    case 8: return run_block<T, 8>(batch, number, descending);
    default: return run_block<T, 16>(batch, number, descending);
  }
}

void run_block(DType dtype, const Batch& batch, int64_t number, bool descending) {
  with_type(dtype, [&](auto type) { run_block<decltype(type)>(batch, number, descending); });
}

}  // namespace

void add_partials(const std::vector<float>& partials, float* z, int64_t samples, int64_t count, int64_t width) {
  std::vector<float> from = partials;
  while (count > kGroup) {
    const int64_t groups = ceil_div(count, kGroup);
    std::vector<float> sums = unwritten(samples * groups * width);
    for (int64_t j = 0; j < samples * groups * width; ++j) sum_group(from.data(), sums.data(), count, width, j);
    from = sums;
    count = groups;
  }
  for (int64_t j = 0; j < samples * width; ++j) add_group(from.data(), z, count, width, j);
}

// order, dtype, samples, dim, z, count, then for each tensor: grad, offset, rows, columns, sample stride, row stride,
// row table, column table, scale.
void emulate_tensor_sketch(Job& job) {
  const bool descending = job.integer();
  TensorSketch args{};
  args.dtype = job.dtype();
  args.samples = job.integer();
  args.dim = job.integer();
  args.z = job.array<float>();
  args.count = job.integer();
  std::vector<SketchTensor> tensors(size_t(args.count));
  for (SketchTensor& t : tensors) {
    const char* const grad = job.array<char>();
    t.grad = grad + job.integer() * size_of(args.dtype);
    t.rows = job.integer();
    t.columns = job.integer();
    t.sample_stride = job.integer();
    t.row_stride = job.integer();
    t.row_table = job.array<int32_t>();
    t.column_table = job.array<int32_t>();
    t.scale = job.real();
  }
  args.tensors = tensors.data();
  check(args);
  const int64_t units = total_units(args);
  std::vector<float> partials = unwritten(args.samples * units * args.dim);
  Batch batch;
  int64_t next = 0, done = 0;
  while (next < args.count) {
    next = fill_batch(args, next, partials.data() + done * args.dim, units, batch);
    for (int64_t block = 0; block < args.samples * batch.units; ++block) {
      run_block(args.dtype, batch, block, descending);
    }
    done += batch.units;
  }
  add_partials(partials, args.z, args.samples, units, args.dim);
  job.write("out.bin", args.z, args.samples * args.dim);
}

}  // namespace motive::cuda::host
