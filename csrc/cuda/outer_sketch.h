// Factorized route of the balanced tensor sketch: the work of one block of threads, between its barriers.
//
// The sketch of sum_t y_t x_t^T is the sum over t of the circular convolution of the count sketches cs(y_t) and
// cs(x_t), that is, of the product of their Fourier transforms. Two tokens share each complex transform: with
//
//     A = cs(x_1) + i cs(x_2)   and   B = cs(y_1) - i cs(y_2),
//
// the real part of A * B is cs(x_1) * cs(y_1) + cs(x_2) * cs(y_2). The imaginary part holds cs(x_2) * cs(y_1) -
// cs(x_1) * cs(y_2), which must not be so large that the rounding of it shows: x_2 is scaled by the power of two that
// makes it about as large as x_1, and y_2 by its inverse.
//
// So a block gathers the count sketches of a few tokens through shared memory, transforms pairs of them, adds the
// products of the transforms to sums that stay in registers, and writes those once, at its end. Everything is float32:
// no product of sketches is rounded to a shorter type. One inverse transform a sample, of the sum over blocks, gives
// the sketch. A width that is not a power of two takes transforms that are long enough for the convolution not to wrap
// around, which is then folded.
#pragma once

#include <cuda_runtime.h>

#include "outer_sketch_plan.h"
#include "reduce.h"

namespace motive::cuda::outer_sketch {

// The elements of one column of a step's tokens.
template <class T, int Tokens>
struct alignas(sizeof(T) * Tokens) Slot {
  uint32_t words[sizeof(T) * Tokens / 4];
};

// A block's shared memory: transforms of x; then the gather buffer and, in its place, the transforms of dy.
template <class S, class T>
struct Shared {
  float* transforms;  // [2 sides, 2 parts, kPairs, M]
  Slot<T, S::kTokens>* slots;
  int zero_slot;
  uint32_t* largest;  // [kTokens]: bits of the largest magnitude in each token's sketch of x
};

template <class S>
constexpr int kTransformBytes = 2 * S::kPairs * S::M * 4;

template <class S, class T>
MOTIVE_HOST_DEVICE static inline int zero_slot_of(int dim, int runs) {
  const int slots = slots_for(runs * dim), beside = kTransformBytes<S> / int(sizeof(Slot<T, S::kTokens>));
  return slots > beside ? slots : beside;
}

template <class S, class T>
static inline int64_t shared_bytes(int dim, int runs) {
  return kTransformBytes<S> + (zero_slot_of<S, T>(dim, runs) + 1) * int64_t(sizeof(Slot<T, S::kTokens>)) +
         S::kTokens * 4;
}

template <class S, class T>
MOTIVE_HOST_DEVICE static inline Shared<S, T> shared_views(unsigned char* memory, const Args& args) {
  Shared<S, T> shared;
  unsigned char* const behind = memory + kTransformBytes<S>;
  shared.transforms = reinterpret_cast<float*>(memory);
  shared.slots = reinterpret_cast<Slot<T, S::kTokens>*>(behind);
  shared.zero_slot = zero_slot_of<S, T>(args.dim, args.runs);
  shared.largest = reinterpret_cast<uint32_t*>(shared.slots + shared.zero_slot + 1);
  return shared;
}

// Real parts of one pair's transform; the imaginary parts lie kPairs * M further.
template <class S, class T>
MOTIVE_HOST_DEVICE static inline float* transform_of(const Shared<S, T>& shared, int side, int pair) {
  return shared.transforms + (2 * side * S::kPairs + pair) * S::M;
}

// What a thread keeps from phase to phase.
template <class S>
struct State {
  typename S::Transform::Twiddles twiddles;
  Complex sums[8] = {};                     // its frequencies: products of the pairs so far
  float sketch[S::kPositions][S::kTokens];  // count sketches at positions thread + j * kThreads
};

// The pair of a thread's team and its number in the team; without a pair, pair == kPairs.
template <class S>
MOTIVE_HOST_DEVICE static inline int pair_of(int thread) {
  const int pair = thread / S::Transform::kThreads;
  return pair < S::kPairs ? pair : S::kPairs;
}

// Tokens that count in a sample.
MOTIVE_HOST_DEVICE static inline int length_of(const Args& args, int64_t sample) {
  if (args.lengths == nullptr) return args.tokens;
  const int64_t length = args.lengths[sample];
  return length < 0 ? 0 : int(smaller(length, args.tokens));
}

// Once, before a barrier.
template <class S, class T>
MOTIVE_HOST_DEVICE static inline void begin(State<S>& state, const Shared<S, T>& shared, int thread) {
  state.twiddles = S::Transform::twiddles(thread % S::Transform::kThreads);
  if (thread == 0) shared.slots[shared.zero_slot] = Slot<T, S::kTokens>{};
  if (thread < S::kTokens) shared.largest[thread] = 0;
}

template <class S>
MOTIVE_HOST_DEVICE static inline void clear_sketch(State<S>& state) {
#pragma unroll
  for (int j = 0; j < S::kPositions; ++j) {
#pragma unroll
    for (int p = 0; p < S::kTokens; ++p) state.sketch[j][p] = 0.0f;
  }
}

// Column number j of some tokens' adjacent columns, the tokens side by side.
template <class T, int V, int Tokens>
MOTIVE_HOST_DEVICE static inline Slot<T, Tokens> transpose(const Packed<T, V> (&rows)[Tokens], int j) {
  Slot<T, Tokens> slot;
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int p = 0; p < Tokens; ++p) slot.words[p] = rows[p].words[j];
  } else {
#pragma unroll
    for (int p = 0; p < Tokens; p += 2) {
      const uint32_t low = rows[p].words[j / 2], high = rows[p + 1].words[j / 2];
      slot.words[p / 2] = j & 1 ? (low >> 16) | (high & 0xffff0000u) : (low & 0xffffu) | (high << 16);
    }
  }
  return slot;
}

template <int V, class S, class T>
MOTIVE_HOST_DEVICE static inline void fill_columns(const Args& args, const Shared<S, T>& shared, const T* base,
                                                   int side, int tokens, int columns, int thread) {
#pragma unroll 1
  for (int c = thread * V; c < columns; c += S::kThreads * V) {
    Packed<T, V> rows[S::kTokens];
    const T* row = base + c;
#pragma unroll
    for (int p = 0; p < S::kTokens; ++p) {  // all loads before the first use
      rows[p] = Packed<T, V>{};
      if (p < tokens) rows[p] = load_once<T, V>(row);
      row += args.token_stride[side];
    }
#pragma unroll
    for (int j = 0; j < V; ++j) shared.slots[slot_of(c + j)] = transpose<T, V, S::kTokens>(rows, j);
  }
}

// Phase 1 of a side and chunk: columns first .. of the tokens from `token` on into the gather buffer. Tokens at or past
// `end` count as zero and are not read.
template <class S, class T>
MOTIVE_HOST_DEVICE static inline void fill(const Args& args, const Shared<S, T>& shared, int side, int64_t sample,
                                           int token, int end, int first, int thread) {
  const T* const base = static_cast<const T*>(args.data[side]) + sample * args.sample_stride[side] +
                        token * args.token_stride[side] + first;
  const int columns = int(smaller(args.runs * args.dim, args.columns[side] - first));
  const int tokens = int(smaller(end - token, S::kTokens));
  if (args.vectorised[side]) {
    fill_columns<kVector<T>>(args, shared, base, side, tokens, columns, thread);
  } else {
    fill_columns<1>(args, shared, base, side, tokens, columns, thread);
  }
}

// Phase 2, after a barrier: add this chunk's columns to the count sketches, kRuns column runs at once.
template <class S, class T>
MOTIVE_HOST_DEVICE static inline void gather(State<S>& state, const Args& args, const Shared<S, T>& shared, int side,
                                             int first, int thread) {
  const int first_run = first / args.dim;
  const int runs = int(smaller(args.runs, (args.columns[side] + args.dim - 1) / args.dim - first_run));
  const int32_t* const table = args.table[side] + int64_t(first_run) * args.dim;
#pragma unroll 1
  for (int r = 0; r < runs; r += S::kRuns) {
    int entries[S::kRuns][S::kPositions];
#pragma unroll
    for (int m = 0; m < S::kRuns; ++m) {
#pragma unroll
      for (int j = 0; j < S::kPositions; ++j) {
        const int q = thread + j * S::kThreads;
        entries[m][j] = -1;
        if (r + m < runs && q < args.dim) entries[m][j] = load_table(table + (r + m) * args.dim + q);
      }
    }
#pragma unroll
    for (int m = 0; m < S::kRuns; ++m) {
#pragma unroll
      for (int j = 0; j < S::kPositions; ++j) {
        const int entry = slot_entry(entries[m][j], first, shared.zero_slot);
        const Slot<T, S::kTokens> slot = shared.slots[entry >> 1];
        const float sign = sign_of(entry);
#pragma unroll
        for (int p = 0; p < S::kTokens; ++p) {
          const uint32_t word = slot.words[p * int(sizeof(T)) / 4];
          state.sketch[j][p] += sign * element<T>(word, sizeof(T) == 2 ? p & 1 : 0);
        }
      }
    }
  }
}

// Phase 3, after a barrier: the pairs of count sketches as complex numbers, x_1 + i x_2 or y_1 - i y_2.
template <class S, class T>
MOTIVE_HOST_DEVICE static inline void write_pairs(const State<S>& state, const Shared<S, T>& shared, int side,
                                                  int thread) {
#pragma unroll
  for (int j = 0; j < S::kPositions; ++j) {
    const int q = thread + j * S::kThreads;
    if (q >= S::M) break;
    const int at = S::Transform::place(q);  // positions from dim on hold the zeros of clear_sketch
#pragma unroll
    for (int pair = 0; pair < S::kPairs; ++pair) {
      float* const re = transform_of(shared, side, pair) + at;
      re[0] = state.sketch[j][2 * pair];
      re[S::kPairs * S::M] = side == 0 ? state.sketch[j][2 * pair + 1] : -state.sketch[j][2 * pair + 1];
    }
  }
}

// Bits of a magnitude, in the order of the magnitudes; NaN is the largest.
MOTIVE_HOST_DEVICE static inline uint32_t magnitude_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits & 0x7fffffffu;
}

// *address = max(*address, value) by all threads of the block, any value a thread.
__device__ static inline void raise(uint32_t* address, uint32_t value) {
  const uint32_t largest = __reduce_max_sync(0xffffffffu, value);
  if (threadIdx.x % 32 == 0) atomicMax(address, largest);
}

// Phase 3, for x only: the largest magnitude of each token's sketch. All threads of the block take part.
template <class S, class T>
__device__ static inline void note_largest(const State<S>& state, const Shared<S, T>& shared) {
#pragma unroll
  for (int p = 0; p < S::kTokens; ++p) {
    uint32_t largest = 0;
#pragma unroll
    for (int j = 0; j < S::kPositions; ++j) {
      const uint32_t bits = magnitude_bits(state.sketch[j][p]);
      largest = bits > largest ? bits : largest;
    }
    raise(shared.largest + p, largest);
  }
}

// 2^e by which a pair's second token of x is scaled, and 2^-e for dy (sign = -1): about the ratio of the largest
// magnitudes, 1 where either is zero or subnormal.
MOTIVE_HOST_DEVICE static inline float balance(uint32_t first, uint32_t second, int sign) {
  const int a = int(first >> 23), b = int(second >> 23);
  int e = a == 0 || b == 0 ? 0 : a - b;
  e = e > 60 ? 60 : e < -60 ? -60 : e;
  return float_from_bits(uint32_t(127 + sign * e) << 23);
}

// Phase 4 + p, after a barrier each: pass p of the transforms of both sides.
template <class S, class T>
MOTIVE_HOST_DEVICE static inline void transform(const State<S>& state, const Shared<S, T>& shared, int pass,
                                                int thread) {
  const int pair = pair_of<S>(thread);
  if (pair == S::kPairs) return;
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    float* const re = transform_of(shared, side, pair);
    float factor = 1.0f;
    if (pass == 0) factor = balance(shared.largest[2 * pair], shared.largest[2 * pair + 1], side == 0 ? 1 : -1);
    S::Transform::forward(state.twiddles, re, re + S::kPairs * S::M, pass, thread % S::Transform::kThreads, factor);
  }
}

// The step's last phase, after a barrier: multiply the two transforms. A barrier follows.
template <class S, class T>
MOTIVE_HOST_DEVICE static inline void multiply(State<S>& state, const Shared<S, T>& shared, int thread) {
  if (thread < S::kTokens) shared.largest[thread] = 0;
  const int pair = pair_of<S>(thread);
  if (pair == S::kPairs) return;
  Complex sides[2][8];
#pragma unroll
  for (int side = 0; side < 2; ++side) {
    const float* const re = transform_of(shared, side, pair);
    S::Transform::forward_last(sides[side], re, re + S::kPairs * S::M, thread % S::Transform::kThreads);
  }
#pragma unroll
  for (int r = 0; r < 8; ++r) state.sums[r] = state.sums[r] + sides[0][r] * sides[1][r];
}

// The end, first half: every team's sums side by side. A barrier follows.
template <class S, class T>
MOTIVE_HOST_DEVICE static inline void write_sums(const State<S>& state, const Shared<S, T>& shared, int thread) {
  const int pair = pair_of<S>(thread);
  if (pair == S::kPairs) return;
  float* const re = transform_of(shared, 0, pair);
  S::Transform::store(state.sums, re, re + S::kPairs * S::M, S::Transform::kPasses, thread % S::Transform::kThreads);
}

// The end, second half: the sum over teams to the block's partial sums, in the order of `place`.
template <class S, class T>
MOTIVE_HOST_DEVICE static inline void write_partial(const Args& args, const Shared<S, T>& shared, int64_t block,
                                                    int thread) {
  float* const out = args.partials + block * 2 * S::M;
  for (int j = thread; j < S::M; j += S::kThreads) {
    float re = 0.0f, im = 0.0f;
#pragma unroll
    for (int pair = 0; pair < S::kPairs; ++pair) {
      re += transform_of(shared, 0, pair)[j];
      im += transform_of(shared, 0, pair)[S::kPairs * S::M + j];
    }
    out[j] = re;
    out[S::M + j] = im;
  }
}

// The inverse transform of one sample, by Fft<LogM>::kThreads threads (a block): add up at most one group of partial
// sums [count, 2, M], then the passes backwards with a barrier before each, then `fold`.
template <int LogM>
MOTIVE_HOST_DEVICE static inline void gather_partials(const float* partials, int64_t count, float* re, float* im,
                                                      int thread) {
  constexpr int M = 1 << LogM;
  for (int j = thread; j < M; j += Fft<LogM>::kThreads) {
    re[j] = group_sum(partials + j, 2 * M, 0, count);
    im[j] = group_sum(partials + M + j, 2 * M, 0, count);
  }
}

template <int LogM>
MOTIVE_HOST_DEVICE static inline void fold(const float* re, float* z, int dim, float scale, int thread) {
  constexpr int M = 1 << LogM;
  for (int b = thread; b < dim; b += Fft<LogM>::kThreads) {
    float sum = re[Fft<LogM>::place(b)];
    if (M > dim && b + dim < M) sum += re[Fft<LogM>::place(b + dim)];
    z[b] += scale / M * sum;
  }
}

}  // namespace motive::cuda::outer_sketch
