// Factorized route of the balanced tensor sketch on the CPU, in one of two ways.
//
// Where both sides are long and k is a power of two: a token's sketch is the circular convolution of cs_o(dy) and
// cs_i(x), so the transforms (fourier.h) of the two are multiplied, the products added up over tokens, and one inverse
// is taken at the end: k log k work a token.
//
// Else the sketched vectors are written straight into the panels of a matrix product (gemm.h); its k x k result exists
// tile by tile only, each tile being folded along (p + q) mod k from registers. A side no longer than k has one element
// a bucket: it is placed, not sketched, and takes no more of the product than its own length.
#include "motive/outer_sketch.h"

#include <cstring>

#include "axis.h"
#include "common/parallel.h"
#include "fourier.h"
#include "gemm.h"
#include "scratch.h"
#include "simd.h"
#include "sketch_scatter.h"

namespace motive::cpu::MOTIVE_LEVEL {
namespace {

constexpr const char* kWhere = "outer_sketch_into";
constexpr int64_t kThreadWork = 1 << 21;  // multiplications that take about as long as starting a thread

// One factor of the product: which slot of the sketched vector each element goes to.
class Side {
 public:
  Side(const char* name, const void* data, int64_t sample_stride, int64_t token_stride, const int32_t* table,
       int64_t length, int64_t dim, bool compact)
      : slots(compact ? least(length, dim) : dim),
        data_(data),
        sample_stride_(sample_stride),
        token_stride_(token_stride),
        slot_(length + kLanes),
        sign_(length + kLanes),
        bucket_(slots),
        nothing_(length) {
    unpack_axis(kWhere, name, table, length, dim, 0, length, slot_.get(), sign_.get());
    columns_ = {0, length, slot_.get(), sign_.get()};
    memset(nothing_.get(), 0, size_t(length) * sizeof(float));
    if (!compact) return;
    int32_t slot = 0;
    for (int64_t b = 0; b < dim; ++b) {
      if (table[b] < 0) continue;
      bucket_[slot] = int32_t(b);
      if (slots < dim) slot_[table[b] >> 1] = slot;
      ++slot;
    }
  }

  // The bucket of a slot.
  int64_t bucket(int64_t slot) const { return bucket_[slot]; }

  // Fills panels [block][count][width] with the sketched tokens first .. first + count - 1 of a sample. `sums` holds
  // kLanes * (slots + width) floats, all zero before and after.
  template <int width, class T>
  void pack(int64_t sample, int64_t first, int64_t count, float* sums, float* panels) const {
    const T* tokens = static_cast<const T*>(data_) + sample * sample_stride_ + first * token_stride_;
    for (int64_t t = 0; t < count; t += kLanes) {
      const int64_t present = least(kLanes, count - t);
      RowGroup<T> group;
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        group.rows[lane] = tokens + (t + (lane < present ? lane : 0)) * token_stride_;
        group.ahead[lane] = group.rows[lane] + kLanes * token_stride_;
      }
      scatter_rows(group, columns_, 0, 0, uint32_t(slots), sums);
      for (int64_t slot = 0; slot < slots; slot += width) {
        put<width>(sums + slot * kLanes, present, panels + slot * count + t * width);
      }
    }
  }

  // Adds the sketched tokens first .. first + count - 1 of a sample to sums [slots][kLanes], one in each lane;
  // count may be less than kLanes, or nothing.
  template <class T>
  void sketch(int64_t sample, int64_t first, int64_t count, float* sums) const {
    const T* tokens = static_cast<const T*>(data_) + sample * sample_stride_ + first * token_stride_;
    RowGroup<T> group;
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const bool present = lane < count;
      group.rows[lane] = present ? tokens + lane * token_stride_ : reinterpret_cast<const T*>(nothing_.get());
      group.ahead[lane] = present ? group.rows[lane] + kLanes * token_stride_ : group.rows[lane];
    }
    scatter_rows(group, columns_, 0, 0, uint32_t(slots), sums);
  }

  const int64_t slots;

 private:
  // to[lane][j] = sums[j][lane] for `width` slots of the tokens that are present; sums becomes zero.
  template <int width>
  static void put(float* sums, int64_t present, float* to) {
    alignas(64) float rows[kLanes][ceil_up(width)];
    for (int j = 0; j < width; j += kLanes) {
      Vector r[kLanes];
      for (int m = 0; m < kLanes; ++m) {
        r[m] = j + m < width ? load(sums + (j + m) * kLanes) : Vector{};
        if (j + m < width) store(sums + (j + m) * kLanes, Vector{});
      }
      transpose(r);
      for (int lane = 0; lane < kLanes; ++lane) store(rows[lane] + j, r[lane]);
    }
    for (int64_t lane = 0; lane < present; ++lane) memcpy(to + lane * width, rows[lane], width * sizeof(float));
  }

  static constexpr int ceil_up(int width) { return (width + kLanes - 1) / kLanes * kLanes; }

  const void* data_;
  const int64_t sample_stride_, token_stride_;
  const Scratch<int32_t> slot_;
  const Scratch<uint32_t> sign_;
  const Scratch<int32_t> bucket_;
  const Scratch<float> nothing_;  // a token of zeros, in any element type
  Columns columns_;
};

// Adds finished tiles to sum [2 k + kTileColumns], bucket p + q not yet taken modulo k.
struct Fold {
  const Side &rows, &columns;
  int64_t k;
  float* sum;

  MOTIVE_INLINE void operator()(int64_t m0, int64_t n0, const Vector (&tile)[kTileRows][kTileVectors]) const {
    const bool adjacent = columns.slots == k;
    for (int m = 0; m < kTileRows && m0 + m < rows.slots; ++m) {
      float* to = sum + rows.bucket(m0 + m);
      if (adjacent) {
        store(to + n0, load(to + n0) + tile[m][0]);
        store(to + n0 + kLanes, load(to + n0 + kLanes) + tile[m][1]);
      } else {
        for (int n = 0; n < kTileColumns && n0 + n < columns.slots; ++n) {
          to[columns.bucket(n0 + n)] += tile[m][n / kLanes][n % kLanes];
        }
      }
    }
  }
};

// Chunks of one sample's tokens, each with a partial result of `size` floats.
class Chunks {
 public:
  Chunks(const OuterSketch& args, int64_t depth) : a_(args), depth_(depth), first_task_(args.samples + 1) {
    first_task_[0] = 0;
    for (int64_t s = 0; s < a_.samples; ++s) first_task_[s + 1] = first_task_[s] + ceil_div(length(s), depth_);
  }

  int64_t count() const { return first_task_[a_.samples]; }
  int64_t first(int64_t sample) const { return first_task_[sample]; }

  // work(sample, first token, tokens, worker, result) for every chunk, in parallel; worker is below `threads`.
  template <class Work>
  void run(int threads, int64_t size, float* results, Work&& work) const {
    const Scratch<int32_t> sample_of(count());
    for (int64_t s = 0; s < a_.samples; ++s) {
      for (int64_t task = first(s); task < first(s + 1); ++task) sample_of[task] = int32_t(s);
    }
    parallel_for(count(), threads, [&](int64_t task, int worker) {
      const int64_t s = sample_of[task], from = (task - first(s)) * depth_;
      work(s, from, least(depth_, length(s) - from), worker, results + task * size);
    });
  }

  // Threads that pay off for this many multiplications a token.
  int threads(int64_t work_a_token) const {
    return int(least(count(), useful_threads(a_.threads, count() * depth_ * work_a_token, kThreadWork)));
  }

 private:
  int64_t length(int64_t s) const {
    const int64_t given = a_.lengths ? a_.lengths[s] : a_.tokens;
    return given < 0 ? 0 : least(given, a_.tokens);
  }

  const OuterSketch& a_;
  const int64_t depth_;
  const Scratch<int64_t> first_task_;
};

template <class T>
class Product {
 public:
  explicit Product(const OuterSketch& args)
      : a_(args),
        k_(args.dim),
        depth_(least(kPanelDepth, args.tokens)),
        rows_("rows", args.dy, args.dy_sample_stride, args.dy_token_stride, args.row_table, args.rows, k_, true),
        columns_("columns", args.x, args.x_sample_stride, args.x_token_stride, args.column_table, args.columns, k_,
                 true),
        a_floats_(panel_size(rows_.slots, kTileRows, depth_)),
        b_floats_(panel_size(columns_.slots, kTileColumns, depth_)),
        lane_floats_(kLanes * ((rows_.slots > columns_.slots ? rows_.slots : columns_.slots) + kTileColumns)),
        sum_floats_(2 * k_ + kTileColumns) {}

  void run() const {
    const Chunks chunks(a_, depth_);
    const int threads = chunks.threads(rows_.slots * columns_.slots);
    const int64_t floats = a_floats_ + b_floats_ + lane_floats_ + sum_floats_;
    const Scratch<float> memory(threads * floats), partial(chunks.count() * k_);
    for (int worker = 0; worker < threads; ++worker) {
      memset(memory.get() + worker * floats + a_floats_ + b_floats_, 0, size_t(lane_floats_) * sizeof(float));
    }
    chunks.run(threads, k_, partial.get(), [&](int64_t s, int64_t first, int64_t count, int worker, float* out) {
      chunk(s, first, count, memory.get() + worker * floats, out);
    });
    for (int64_t s = 0; s < a_.samples; ++s) {
      for (int64_t task = chunks.first(s); task < chunks.first(s + 1); ++task) {
        for (int64_t b = 0; b < k_; ++b) a_.z[s * k_ + b] += a_.scale * partial[task * k_ + b];
      }
    }
  }

 private:
  // out [k] = the sketch of tokens first .. first + count - 1 of a sample.
  void chunk(int64_t s, int64_t first, int64_t count, float* memory, float* out) const {
    float *a = memory, *b = a + a_floats_, *lanes = b + b_floats_, *sum = lanes + lane_floats_;
    rows_.template pack<kTileRows, T>(s, first, count, lanes, a);
    columns_.template pack<kTileColumns, T>(s, first, count, lanes, b);
    memset(sum, 0, size_t(sum_floats_) * sizeof(float));
    multiply_panels(rows_.slots, columns_.slots, count, a, b, Fold{rows_, columns_, k_, sum});
    for (int64_t m = 0; m < k_; ++m) out[m] = sum[m] + sum[m + k_];
  }

  const OuterSketch& a_;
  const int64_t k_, depth_;
  const Side rows_, columns_;
  const int64_t a_floats_, b_floats_, lane_floats_, sum_floats_;
};

// Two tokens a lane: the real parts hold one, the imaginary parts the other. With U and V the transforms of such pairs,
// U[f] conj(V[-f]) is the transform of the sum of both tokens' sketches plus i times something real; adding
// conj(U[-f]) V[f] drops the latter.
template <class T>
class Transformed {
 public:
  explicit Transformed(const OuterSketch& args)
      : a_(args),
        k_(args.dim),
        half_(args.dim / 2 + 1),
        fourier_(args.dim),
        rows_("rows", args.dy, args.dy_sample_stride, args.dy_token_stride, args.row_table, args.rows, k_, false),
        columns_("columns", args.x, args.x_sample_stride, args.x_token_stride, args.column_table, args.columns, k_,
                 false) {}

  void run() const {
    const Chunks chunks(a_, kChunkTokens);
    const int threads = chunks.threads(a_.rows + a_.columns + 32 * k_);
    const int64_t floats = (4 * k_ + 2 * half_) * kLanes;
    const Scratch<float> memory(threads * floats), partial(chunks.count() * 2 * half_);
    chunks.run(threads, 2 * half_, partial.get(), [&](int64_t s, int64_t first, int64_t count, int worker, float* out) {
      chunk(s, first, count, memory.get() + worker * floats, out);
    });
    const Scratch<float> sum(2 * half_);
    for (int64_t s = 0; s < a_.samples; ++s) {
      if (chunks.first(s) == chunks.first(s + 1)) continue;
      memset(sum.get(), 0, size_t(2 * half_) * sizeof(float));
      for (int64_t task = chunks.first(s); task < chunks.first(s + 1); ++task) {
        for (int64_t f = 0; f < 2 * half_; ++f) sum[f] += partial[task * 2 * half_ + f];
      }
      invert(sum.get(), memory.get(), a_.z + s * k_);
    }
  }

 private:
  static constexpr int64_t kChunkTokens = 256;

  // out [2][half] = twice the transform of the sketch of tokens first .. first + count - 1 of a sample.
  void chunk(int64_t s, int64_t first, int64_t count, float* memory, float* out) const {
    const int64_t size = k_ * kLanes;
    float *ur = memory, *ui = ur + size, *vr = ui + size, *vi = vr + size, *sum = vi + size;
    memset(sum, 0, size_t(2 * half_ * kLanes) * sizeof(float));
    for (int64_t t = 0; t < count; t += 2 * kLanes) {
      memset(memory, 0, size_t(4 * size) * sizeof(float));
      const int64_t one = least(kLanes, count - t), two = least(kLanes, count - t - one);
      columns_.template sketch<T>(s, first + t, one, ur);
      rows_.template sketch<T>(s, first + t, one, vr);
      if (two > 0) {
        columns_.template sketch<T>(s, first + t + one, two, ui);
        rows_.template sketch<T>(s, first + t + one, two, vi);
      }
      fourier_.forward(ur, ui);
      fourier_.forward(vr, vi);
      multiply(ur, ui, vr, vi, sum);
    }
    for (int64_t f = 0; f < 2 * half_; ++f) {
      float total = 0;
      for (int lane = 0; lane < kLanes; ++lane) total += sum[f * kLanes + lane];
      out[f] = total;
    }
  }

  void multiply(const float* ur, const float* ui, const float* vr, const float* vi, float* sum) const {
    for (int64_t f = 0; f < half_; ++f) {
      const int64_t plus = fourier_.position(f) * kLanes, minus = fourier_.position((k_ - f) % k_) * kLanes;
      const Vector ar = load(ur + plus), ai = load(ui + plus), br = load(vr + minus), bi = load(vi + minus);
      const Vector cr = load(ur + minus), ci = load(ui + minus), dr = load(vr + plus), di = load(vi + plus);
      float *re = sum + f * kLanes, *im = sum + (half_ + f) * kLanes;
      store(re, load(re) + ar * br + ai * bi + cr * dr + ci * di);
      store(im, load(im) + ai * br - ar * bi + cr * di - ci * dr);
    }
  }

  // z [k] += scale / 2 times the real sequence with this transform [2][half].
  void invert(const float* transform, float* memory, float* z) const {
    float *re = memory, *im = memory + k_ * kLanes;
    memset(memory, 0, size_t(2 * k_ * kLanes) * sizeof(float));
    for (int64_t f = 0; f < k_; ++f) {
      const bool upper = f >= half_;
      const int64_t at = upper ? k_ - f : f;
      re[f * kLanes] = transform[at];
      im[f * kLanes] = upper ? transform[half_ + at] : -transform[half_ + at];  // the conjugate
    }
    fourier_.forward(re, im);
    const float factor = a_.scale / float(2 * k_);
    for (int64_t p = 0; p < k_; ++p) z[fourier_.frequency(p)] += factor * re[p * kLanes];
  }

  const OuterSketch& a_;
  const int64_t k_, half_;
  const Fourier fourier_;
  const Side rows_, columns_;
};

// Which way is faster: the transforms of a token take about as long as 10 k log2(k) terms of the product.
bool transforms_are_faster(const OuterSketch& a) {
  int64_t terms = 10 * a.dim;
  for (int64_t k = a.dim; k > 2; k /= 2) terms += 10 * a.dim;
  return fourier_takes(a.dim) && least(a.rows, a.dim) * least(a.columns, a.dim) > terms;
}

template <class T>
void run(const OuterSketch& a) {
  if (transforms_are_faster(a)) {
    Transformed<T>(a).run();
  } else {
    Product<T>(a).run();
  }
}

}  // namespace

void outer_sketch_into(const OuterSketch& a) {
  if (a.samples == 0 || a.tokens == 0 || a.rows == 0 || a.columns == 0) return;
  switch (a.dtype) {
    case DType::float32: return run<float>(a);
    case DType::bfloat16: return run<bfloat16>(a);
    case DType::float16: return run<float16>(a);
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL

MOTIVE_DISPATCH(outer_sketch_into, OuterSketch)
