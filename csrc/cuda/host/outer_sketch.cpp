#include "../outer_sketch.h"

#include "emulators.h"

namespace motive::cuda::host {
namespace {

using namespace outer_sketch;

// As outer_kernel.
template <class T, int LogM>
void run_block(const Args& args, int64_t number, bool descending) {
  using S = Shape<T, LogM>;
  const Block block(S::kThreads, descending);
  auto memory = shared_memory(shared_bytes<S, T>(args.dim, args.runs));
  const Shared<S, T> shared = shared_views<S, T>(bytes_of(memory), args);
  std::vector<State<S>> states(S::kThreads);
  const int sample = int(number / args.chunks), chunk = int(number % args.chunks);
  block.phase([&](int thread) { begin(states[thread], shared, thread); });
  const int end = int(smaller((chunk + 1) * kTokensOfBlock, length_of(args, sample)));
  for (int token = chunk * kTokensOfBlock; token < end; token += S::kTokens) {
    for (int side = 0; side < 2; ++side) {
      for (State<S>& state : states) clear_sketch(state);
      for (int first = 0; first < args.columns[side]; first += args.runs * args.dim) {
        block.phase([&](int thread) { fill(args, shared, side, sample, token, end, first, thread); });
        block.phase([&](int thread) { gather(states[thread], args, shared, side, first, thread); });
      }
      block.phase([&](int thread) {
        if (side == 0) note_largest(states[thread], shared);
        write_pairs(states[thread], shared, side, thread);
      });
    }
    for (int pass = 0; pass < S::Transform::kPasses; ++pass) {
      block.phase([&](int thread) { transform(states[thread], shared, pass, thread); });
    }
    block.phase([&](int thread) { multiply(states[thread], shared, thread); });
  }
  block.phase([&](int thread) { write_sums(states[thread], shared, thread); });
  block.phase([&](int thread) { write_partial(args, shared, number, thread); });
}

template <class T>
void run_block(const Args& args, int64_t number, bool descending) {
  switch (log_length(args.dim)) {
    case 8: return run_block<T, 8>(args, number, descending);
    case 9: return run_block<T, 9>(args, number, descending);
    case 10: return run_block<T, 10>(args, number, descending);
    case 11: return run_block<T, 11>(args, number, descending);
    default: return run_block<T, 12>(args, number, descending);
  }
}

void run_block(DType dtype, const Args& args, int64_t number, bool descending) {
  with_type(dtype, [&](auto type) { run_block<decltype(type)>(args, number, descending); });
}

// As inverse_kernel.
template <int LogM>
void run_inverse(const OuterSketch& o, const float* partials, int64_t count, int64_t sample, bool descending) {
  using Transform = Fft<LogM>;
  const Block block(Transform::kThreads, descending);
  std::vector<float> re = unwritten(Transform::M), im = unwritten(Transform::M);
  std::vector<typename Transform::Twiddles> twiddles(Transform::kThreads);
  for (int thread = 0; thread < Transform::kThreads; ++thread) twiddles[thread] = Transform::twiddles(thread);
  const float* const from = partials + sample * count * 2 * Transform::M;
  block.phase([&](int thread) { gather_partials<LogM>(from, count, re.data(), im.data(), thread); });
  block.phase([&](int thread) { Transform::inverse_last(re.data(), im.data(), thread); });
  for (int pass = Transform::kPasses - 1; pass >= 0; --pass) {
    block.phase([&](int thread) { Transform::inverse(twiddles[thread], re.data(), im.data(), pass, thread); });
  }
  block.phase([&](int thread) { fold<LogM>(re.data(), o.z + sample * o.dim, int(o.dim), o.scale, thread); });
}

void run_inverse(const OuterSketch& o, const float* partials, int64_t count, int64_t sample, bool descending) {
  switch (log_length(o.dim)) {
    case 8: return run_inverse<8>(o, partials, count, sample, descending);
    case 9: return run_inverse<9>(o, partials, count, sample, descending);
    case 10: return run_inverse<10>(o, partials, count, sample, descending);
    case 11: return run_inverse<11>(o, partials, count, sample, descending);
    default: return run_inverse<12>(o, partials, count, sample, descending);
  }
}

TokenSide read_side(Job& job, DType dtype) {
  TokenSide side{};
  const char* const data = job.array<char>();
  side.data = data + job.integer() * size_of(dtype);
  side.columns = job.integer();
  side.sample_stride = job.integer();
  side.token_stride = job.integer();
  side.table = job.array<int32_t>();
  return side;
}

}  // namespace

// order, dtype, samples, tokens, dim, z, scale, lengths or none, then for x and dy: data, offset, columns, sample
// stride, token stride, table.
void emulate_outer_sketch(Job& job) {
  const bool descending = job.integer();
  OuterSketch o{};
  o.dtype = job.dtype();
  o.samples = job.integer();
  o.tokens = job.integer();
  o.dim = job.integer();
  o.z = job.array<float>();
  o.scale = job.real();
  o.lengths = job.array<int64_t>();
  o.x = read_side(job, o.dtype);
  o.dy = read_side(job, o.dtype);
  check(o);
  std::vector<float> partials = unwritten(partial_floats(o));
  const Args args = args_of(o, partials.data());
  for (int64_t block = 0; block < o.samples * args.chunks; ++block) run_block(o.dtype, args, block, descending);
  int64_t count = args.chunks;
  const int64_t width = int64_t(2) << log_length(o.dim);
  while (count > kGroup) {
    const int64_t groups = ceil_div(count, kGroup);
    std::vector<float> sums = unwritten(o.samples * groups * width);
    for (int64_t j = 0; j < int64_t(sums.size()); ++j) sum_group(partials.data(), sums.data(), count, width, j);
    partials = sums;
    count = groups;
  }
  for (int64_t s = 0; s < o.samples; ++s) run_inverse(o, partials.data(), count, s, descending);
  job.write("out.bin", o.z, o.samples * o.dim);
}

}  // namespace motive::cuda::host
