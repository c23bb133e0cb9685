// Materialized route of the balanced tensor sketch: the work of one block of threads, between its barriers.
//
// z[(h_o[a] + h_i[b]) mod dim] += s_o[a] * s_i[b] * G[a, b]. The rows of one bucket p are added first, in registers, to
// one row u; then bucket q of the columns gathers v[q] = sum of s_i[b] u[b] over its columns b (one in each run of dim
// columns), and z[(p + q) mod dim] += v[q]. Four row buckets, the lanes, share each step, so that one 16-byte read of
// the gather buffer serves all of them.
//
// A matrix is cut into chunks of whole column runs and steps of four row buckets; a block takes a fixed number of
// consecutive (chunk, step) items and writes one partial vector. The cut depends on the shapes alone.
#pragma once

#include "tensor_sketch_plan.h"

namespace motive::cuda::tensor_sketch {

struct alignas(16) Slot {
  float lanes[kLanes];
};

// The tensor that a block works on.
MOTIVE_HOST_DEVICE static inline int tensor_of(const Batch& batch, int unit) {
  int low = 0, high = batch.count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (batch.tensors[middle].first_unit <= unit) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return low;
}

// Views of a block's shared memory.
struct Shared {
  Slot* slots;        // [zero_slot + 1]
  float* sums;        // [kLanes, dim]
  uint16_t* inverse;  // [rows] if rows < dim: 2 * bucket + (1 if negative) of each row
  int zero_slot;
};

MOTIVE_HOST_DEVICE static inline int64_t shared_bytes(int positions, int dim) {
  const int64_t slots = slots_for(runs_for(positions) * dim) + 1;
  return slots * int64_t(sizeof(Slot)) + int64_t(kLanes) * dim * 4 + (int64_t(dim) * 2 + 15) / 16 * 16;
}

MOTIVE_HOST_DEVICE static inline Shared shared_views(unsigned char* memory, int positions, int dim) {
  Shared shared;
  shared.zero_slot = slots_for(runs_for(positions) * dim);
  shared.slots = reinterpret_cast<Slot*>(memory);
  shared.sums = reinterpret_cast<float*>(shared.slots + shared.zero_slot + 1);
  shared.inverse = reinterpret_cast<uint16_t*>(shared.sums + int64_t(kLanes) * dim);
  return shared;
}

// A block's tensor, its sample's gradient and its items.
template <class T>
struct Work {
  Tensor tensor;
  const T* grad;
  int dim, steps;
  int first_item, last_item;
};

template <class T>
MOTIVE_HOST_DEVICE static inline Work<T> work_of(const Batch& batch, int64_t block, int positions) {
  const int64_t sample = block / batch.units;
  const int unit = int(block - sample * batch.units);
  Work<T> work;
  work.tensor = batch.tensors[tensor_of(batch, unit)];
  work.grad = static_cast<const T*>(work.tensor.grad) + sample * work.tensor.sample_stride;
  work.dim = batch.dim;
  // No positions: the direct form, which walks all row buckets and takes all columns as one chunk.
  work.steps = int((positions ? smaller(work.tensor.rows, batch.dim) : batch.dim) + kLanes - 1) / kLanes;
  const int width = positions ? runs_for(positions) * batch.dim : work.tensor.columns;
  const int chunks = (work.tensor.columns + width - 1) / width;
  work.first_item = (unit - work.tensor.first_unit) * work.tensor.items;
  work.last_item = int(smaller(work.first_item + work.tensor.items, chunks * work.steps));
  return work;
}

// Row number r of the four ordinals of a step, each as 2 * row + (1 if negative) or below 0. With fewer rows than
// buckets (Few) an ordinal is a row, else a bucket.
struct RowEntries {
  int32_t of[kLanes];
};

template <bool Few, class T>
MOTIVE_HOST_DEVICE static inline RowEntries row_entries(const Work<T>& work, const Shared& shared, int step, int r,
                                                        int runs) {
  RowEntries entries;
  const int last = (Few ? work.tensor.rows : work.dim) - 1, safe_run = r < runs ? r : runs - 1;
#pragma unroll
  for (int l = 0; l < kLanes; ++l) {  // no branch between the loads, so that they go out together
    const int ordinal = step * kLanes + l, safe = ordinal < last ? ordinal : last;
    const int32_t entry = Few ? 2 * safe + (shared.inverse[safe] & 1)
                              : load_table(work.tensor.row_table + int64_t(safe_run) * work.dim + safe);
    entries.of[l] = ordinal <= last && r < runs ? entry : -1;
  }
  return entries;
}

template <class T>
MOTIVE_HOST_DEVICE static inline int bucket_of(const Work<T>& work, const Shared& shared, int ordinal) {
  return work.tensor.rows >= work.dim ? ordinal : shared.inverse[ordinal] >> 1;
}

// Phase 1: empty sums, the zero slot, the buckets of few rows.
template <class T>
MOTIVE_HOST_DEVICE static inline void begin(const Work<T>& work, const Shared& shared, int thread) {
  for (int j = thread; j < kLanes * work.dim; j += kThreads) shared.sums[j] = 0.0f;
  if (thread == 0) shared.slots[shared.zero_slot] = Slot{};
  if (work.tensor.rows >= work.dim) return;
  for (int p = thread; p < work.dim; p += kThreads) {
    const int32_t entry = load_table(work.tensor.row_table + p);
    if (entry >= 0) shared.inverse[entry >> 1] = uint16_t(2 * p + (entry & 1));
  }
}

// A thread's part of the column table for one chunk, as positions in the gather buffer.
template <int Q>
struct ColumnEntries {
  int slots[runs_for(Q)][Q];
};

template <int Q, class T>
MOTIVE_HOST_DEVICE static inline void load_entries(ColumnEntries<Q>& entries, const Work<T>& work, const Shared& shared,
                                                   int chunk, int thread) {
  const int runs = (work.tensor.columns + work.dim - 1) / work.dim;
#pragma unroll
  for (int c = 0; c < runs_for(Q); ++c) {
#pragma unroll
    for (int j = 0; j < Q; ++j) {
      const int run = chunk * runs_for(Q) + c, q = thread + j * kThreads;
      int32_t entry = -1;
      if (run < runs && q < work.dim) entry = load_table(work.tensor.column_table + int64_t(run) * work.dim + q);
      entries.slots[c][j] = slot_entry(entry, chunk * runs_for(Q) * work.dim, shared.zero_slot);
    }
  }
}

// V adjacent columns of a step's four lanes: the rows of each lane's bucket added up, kRows of them at once.
template <bool Few, int V, class T>
MOTIVE_HOST_DEVICE static inline void add_rows(const Work<T>& work, const Shared& shared, int step, int64_t first,
                                               int column) {
  constexpr int kRows = Few ? 1 : 2;
  float sum[kLanes][V] = {};
  const int runs = Few ? 1 : (work.tensor.rows + work.dim - 1) / work.dim;
  const T* const grad = work.grad + first + column;
  for (int r = 0; r < runs; r += kRows) {
    RowEntries entries[kRows];
    Packed<T, V> raw[kRows][kLanes];
#pragma unroll
    for (int m = 0; m < kRows; ++m) entries[m] = row_entries<Few>(work, shared, step, r + m, runs);
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
#pragma unroll
      for (int l = 0; l < kLanes; ++l) {
        raw[m][l] = Packed<T, V>{};
        const int32_t entry = entries[m].of[l];
        if (entry >= 0) raw[m][l] = load_once<T, V>(grad + int64_t(entry >> 1) * work.tensor.row_stride);
      }
    }
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
#pragma unroll
      for (int l = 0; l < kLanes; ++l) {
        const float sign = sign_of(entries[m].of[l]);
#pragma unroll
        for (int j = 0; j < V; ++j) sum[l][j] += sign * element_of(raw[m][l], j);
      }
    }
  }
#pragma unroll
  for (int j = 0; j < V; ++j) {
    shared.slots[slot_of(column + j)] = Slot{{sum[0][j], sum[1][j], sum[2][j], sum[3][j]}};
  }
}

template <bool Few, int V, int Q, class T>
MOTIVE_HOST_DEVICE static inline void fill_columns(const Work<T>& work, const Shared& shared, int chunk, int step,
                                                   int thread) {
  const int width = runs_for(Q) * work.dim;
  const int64_t first = int64_t(chunk) * width;
  const int columns = int(smaller(width, work.tensor.columns - first));
  for (int c = thread * V; c < columns; c += kThreads * V) add_rows<Few, V>(work, shared, step, first, c);
}

// Phase 2, before each gather: the summed rows of one (chunk, step) into the gather buffer.
template <int Q, class T>
MOTIVE_HOST_DEVICE static inline void fill(const Work<T>& work, const Shared& shared, int chunk, int step, int thread) {
  constexpr int V = kVector<T>;
  const bool few = work.tensor.rows < work.dim;
  if (work.tensor.vectorised) {
    few ? fill_columns<true, V, Q>(work, shared, chunk, step, thread)
        : fill_columns<false, V, Q>(work, shared, chunk, step, thread);
  } else {
    few ? fill_columns<true, 1, Q>(work, shared, chunk, step, thread)
        : fill_columns<false, 1, Q>(work, shared, chunk, step, thread);
  }
}

// Phase 3: gather, rotate, add. Position q of a lane reaches one place of that lane's sums, so no two threads meet.
template <int Q, class T>
MOTIVE_HOST_DEVICE static inline void gather(const ColumnEntries<Q>& entries, const Work<T>& work, const Shared& shared,
                                             int step, int thread) {
#pragma unroll
  for (int j = 0; j < Q; ++j) {
    const int q = thread + j * kThreads;
    if (q >= work.dim) break;
    float value[kLanes] = {};
#pragma unroll
    for (int c = 0; c < runs_for(Q); ++c) {
      const Slot slot = shared.slots[entries.slots[c][j] >> 1];
      const float sign = sign_of(entries.slots[c][j]);
#pragma unroll
      for (int l = 0; l < kLanes; ++l) value[l] += sign * slot.lanes[l];
    }
    const int active = int(smaller(work.tensor.rows, work.dim));
#pragma unroll
    for (int l = 0; l < kLanes; ++l) {
      const int ordinal = step * kLanes + l;
      if (ordinal >= active) break;
      int b = bucket_of(work, shared, ordinal) + q;
      if (b >= work.dim) b -= work.dim;
      shared.sums[l * work.dim + b] += value[l];
    }
  }
}

// The address of a block's partial vector.
MOTIVE_HOST_DEVICE static inline float* partial_of(const Batch& batch, int64_t block) {
  const int64_t sample = block / batch.units;
  return batch.partials + (sample * batch.stride + (block - sample * batch.units)) * batch.dim;
}

// Phase 4: the block's partial vector.
template <class T>
MOTIVE_HOST_DEVICE static inline void finish(const Work<T>& work, const Shared& shared, float* partial, int thread) {
  for (int b = thread; b < work.dim; b += kThreads) {
    float sum = 0.0f;
#pragma unroll
    for (int l = 0; l < kLanes; ++l) sum += shared.sums[l * work.dim + b];
    partial[b] = work.tensor.scale * sum;
  }
}

// Wider sketches, whose tables and sums exceed shared memory: one thread for each bucket b, straight from memory.
template <class T>
MOTIVE_HOST_DEVICE static inline void direct(const Work<T>& work, float* partial, int thread) {
  const Tensor& t = work.tensor;
  const int row_runs = (t.rows + work.dim - 1) / work.dim, column_runs = (t.columns + work.dim - 1) / work.dim;
  for (int b = thread; b < work.dim; b += kThreads) {
    float sum = 0.0f;
    for (int p = work.first_item * kLanes; p < smaller(work.last_item * kLanes, work.dim); ++p) {
      const int q = b >= p ? b - p : b - p + work.dim;
      for (int r = 0; r < row_runs; ++r) {
        const int32_t row = load_table(t.row_table + int64_t(r) * work.dim + p);
        if (row < 0) continue;
        for (int c = 0; c < column_runs; ++c) {
          const int32_t column = load_table(t.column_table + int64_t(c) * work.dim + q);
          if (column < 0) continue;
          const T* const address = work.grad + int64_t(row >> 1) * t.row_stride + (column >> 1);
          sum += sign_of(row ^ column) * element_of(load_once<T, 1>(address), 0);
        }
      }
    }
    partial[b] = t.scale * sum;
  }
}

}  // namespace motive::cuda::tensor_sketch
