// Factorized route of the balanced tensor sketch: sizes and arguments, on the host. outer_sketch.h says what a block
// does.
#pragma once

#include <string>

#include "fft.h"
#include "motive/cuda/outer_sketch.h"
#include "packed.h"

namespace motive::cuda::outer_sketch {

constexpr int kTokensOfBlock = 32;   // whatever the batch and its padding, so that they do not change a result
constexpr int kChunkColumns = 2048;  // columns in the gather buffer at a time, at least one run
constexpr int kMinLogM = 8, kMaxLogM = 12;

// log2 of the transform length for a width, 0 if there is none.
static inline int log_length(int64_t dim) {
  if (dim < 1 || dim > 4096) return 0;
  const bool power_of_two = (dim & (dim - 1)) == 0;
  for (int log_m = kMinLogM; log_m <= kMaxLogM; ++log_m) {
    const int64_t m = int64_t(1) << log_m;
    if (m == dim ? power_of_two : m >= 2 * dim - 1) return log_m;
  }
  return 0;
}

// Sizes that follow from the element type and the transform length: every thread has at most one butterfly a pass.
template <class T, int LogM>
struct Shape {
  using Transform = Fft<LogM>;
  static constexpr int M = Transform::M;
  static constexpr int kThreads = Transform::kThreads > 256 ? Transform::kThreads : 256;
  static constexpr int kPositions = M > kThreads ? M / kThreads : 1;  // of a count sketch that a thread looks after
  static constexpr int kRuns = M >= 2048                     ? 1
                               : M == 1024 || sizeof(T) == 4 ? 2
                                                             : 4;  // column runs whose table entries load together
  static constexpr int kFit = 2 * kThreads / Transform::kThreads;  // tokens whose pairs keep all threads busy
  static constexpr int kSlotTokens = 16 / int(sizeof(T));
  static constexpr int kTokens = kFit < kSlotTokens ? kFit : kSlotTokens;  // of one step
  static constexpr int kPairs = kTokens / 2;
  static_assert(kTokens >= 2 && kTokensOfBlock % kTokens == 0, "steps of whole pairs, blocks of whole steps");
};

struct Args {
  const void* data[2];  // x, dy
  const int32_t* table[2];
  int64_t sample_stride[2], token_stride[2];
  int32_t columns[2], vectorised[2];
  const int64_t* lengths;
  float* partials;         // [samples, chunks, 2, M]
  int32_t tokens, chunks;  // chunks: blocks of a sample
  int32_t dim, runs;       // runs: of columns in the gather buffer
};

static inline int runs_of_chunk(int64_t dim) { return int(dim < kChunkColumns ? kChunkColumns / dim : 1); }

static inline bool is_vectorised(const TokenSide& side, const OuterSketch& args) {
  const int64_t v = 16 / size_of(args.dtype);
  return reinterpret_cast<uintptr_t>(side.data) % 16 == 0 && side.columns % v == 0 &&
         runs_of_chunk(args.dim) * args.dim % v == 0 && (args.tokens == 1 || side.token_stride % v == 0) &&
         (args.samples == 1 || side.sample_stride % v == 0);
}

static inline void check_dim(int64_t dim) {
  if (!log_length(dim)) {
    fail("outer_sketch_into", "dim", "at most 2048, or 4096", std::to_string(dim),
         "use the materialized route for wider ones");
  }
}

static inline void check(const OuterSketch& args) {
  const char* where = "outer_sketch_into";
  check_size(where, "samples", args.samples, 0);
  check_size(where, "tokens", args.tokens, 0);
  if (args.tokens > int64_t(1) << 30) {
    fail(where, "tokens", "at most 2^30", std::to_string(args.tokens), "add up several calls");
  }
  check_dim(args.dim);
  for (const TokenSide* side : {&args.x, &args.dy}) {
    check_size(where, "columns", side->columns, 0);
    if (side->columns > int64_t(1) << 30) {  // a table entry is 2 * index + 1
      fail(where, "columns", "at most 2^30", std::to_string(side->columns), "split the layer");
    }
    if (args.samples == 0 || args.tokens == 0 || side->columns == 0) continue;
    check_pointer(where, "data", side->data);
    check_pointer(where, "table", side->table);
  }
  if (args.samples) check_pointer(where, "z", args.z);
}

static inline bool is_empty(const OuterSketch& args) {
  return args.samples == 0 || args.tokens == 0 || args.x.columns == 0 || args.dy.columns == 0;
}

static inline Args args_of(const OuterSketch& o, float* partials) {
  Args a;
  int side = 0;
  for (const TokenSide* s : {&o.x, &o.dy}) {
    a.data[side] = s->data;
    a.table[side] = s->table;
    a.sample_stride[side] = s->sample_stride;
    a.token_stride[side] = s->token_stride;
    a.columns[side] = int32_t(s->columns);
    a.vectorised[side] = is_vectorised(*s, o);
    ++side;
  }
  a.lengths = o.lengths;
  a.tokens = int32_t(o.tokens);
  a.chunks = int32_t(ceil_div(o.tokens, kTokensOfBlock));
  a.dim = int32_t(o.dim);
  a.runs = runs_of_chunk(o.dim);
  a.partials = partials;
  return a;
}

// Floats between the partial sums and the end of the reduction's working memory.
static inline int64_t partial_floats(const OuterSketch& o) {
  return o.samples * ceil_div(o.tokens, kTokensOfBlock) * 2 * (int64_t(1) << log_length(o.dim));
}

}  // namespace motive::cuda::outer_sketch
