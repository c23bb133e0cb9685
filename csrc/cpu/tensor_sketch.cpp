// Materialized route of the balanced tensor sketch on the CPU, near the speed of memory: rows are read in the order in
// which they lie, kLanes at a time (sketch_scatter.h): the same row of kLanes samples, or kLanes rows of one sample
// where there are too few samples. The single row of a vector is gathered instead.
#include "motive/tensor_sketch.h"

#include <cstring>

#include "axis.h"
#include "common/parallel.h"
#include "scratch.h"
#include "simd.h"
#include "sketch_scatter.h"

namespace motive::cpu::MOTIVE_LEVEL {
namespace {

constexpr const char* kWhere = "tensor_sketch_into";
constexpr int64_t kChunk = 16384;   // columns whose buckets are unpacked at a time
constexpr int64_t kTask = 1 << 20;  // elements that are worth a separate task
constexpr int64_t kMostTasks = 256;
constexpr int64_t kThreadBytes = 1 << 20;  // bytes whose reading takes about as long as starting a thread
constexpr int64_t kAheadBytes = 512;       // how far ahead of use a row is fetched
constexpr int64_t kTerms = 256;            // added in a row to a bucket; sums of sums keep rounding errors small
constexpr int64_t kNearBytes = 64 << 10;   // what the second-level cache keeps until it is used

enum class Lanes { samples, rows, single };

// A range of samples that are handled alike, split into tasks: a function of the shape alone.
struct Plan {
  Lanes lanes;
  int64_t first_sample, samples;
  int64_t groups, groups_a_task;  // of samples
  int64_t row_splits, column_splits;
};

Plan make_plan(const TensorSketch& a, Lanes lanes, int64_t first, int64_t samples) {
  Plan p{lanes, first, samples, lanes == Lanes::samples ? ceil_div(samples, kLanes) : samples, 1, 1, 1};
  const int64_t tasks = least(kMostTasks, ceil_div(samples * a.rows * a.columns, kTask));
  const int64_t most = a.rows * a.columns / a.dim / 32 + 1;  // else partial results would cost more than the input
  const bool few_rows = a.rows < 8 * kLanes;                 // then groups of samples share the unpacked columns
  if (few_rows) p.groups_a_task = least(8, p.groups);
  const int64_t splits = least(ceil_div(tasks, ceil_div(p.groups, p.groups_a_task)), most);
  if (few_rows) {
    p.column_splits = least(splits, ceil_div(a.columns, a.dim));
  } else {
    p.row_splits = least(splits, a.rows / kLanes);
  }
  return p;
}

// Buckets and signs of the rows.
struct Rows {
  explicit Rows(const TensorSketch& a) : bucket(a.rows + kLanes), sign(a.rows + kLanes) {
    unpack_axis(kWhere, "rows", a.row_table, a.rows, a.dim, 0, a.rows, bucket.get(), sign.get());
  }
  const Scratch<int32_t> bucket;
  const Scratch<uint32_t> sign;
};

template <class T>
class Kernel {
 public:
  Kernel(const TensorSketch& args, const Rows& rows, const Plan& plan)
      : a_(args), rows_(rows), plan_(plan), k_(args.dim) {}

  void run() const {
    const int64_t splits = plan_.row_splits * plan_.column_splits;
    const int64_t blocks = ceil_div(plan_.groups, plan_.groups_a_task);
    const int64_t size = plan_.samples * k_;
    const bool direct = splits == 1;
    const Scratch<float> partial(direct ? 0 : splits * size);
    const int64_t bytes = plan_.samples * a_.rows * a_.columns * int64_t(sizeof(T));
    float* z = a_.z + plan_.first_sample * k_;
    parallel_for(splits * blocks, useful_threads(a_.threads, bytes, kThreadBytes), [&](int64_t task) {
      const int64_t split = task / blocks, first = task % blocks * plan_.groups_a_task;
      const int64_t last = least(first + plan_.groups_a_task, plan_.groups);
      float* out = direct ? z : partial.get() + split * size;
      if (!direct) {
        const int64_t from = first * group_samples(), to = least(last * group_samples(), plan_.samples);
        memset(out + from * k_, 0, size_t((to - from) * k_) * sizeof(float));
      }
      share(split, first, last, out);
    });
    for (int64_t split = 0; !direct && split < splits; ++split) {
      for (int64_t e = 0; e < size; ++e) z[e] += partial[split * size + e];
    }
  }

 private:
  int64_t group_samples() const { return plan_.lanes == Lanes::samples ? kLanes : 1; }

  const T* grad(int64_t s, int64_t row, int64_t column) const {
    return static_cast<const T*>(a_.grad) + (plan_.first_sample + s) * a_.sample_stride + row * a_.row_stride + column;
  }

  float factor(int64_t row) const { return rows_.sign[row] ? -a_.scale : a_.scale; }

  // One task: a share of the rows or of the columns, for groups first .. last - 1 of the samples.
  void share(int64_t split, int64_t first, int64_t last, float* out) const {
    const int64_t runs = ceil_div(a_.columns, k_);
    const int64_t column_share = split % plan_.column_splits, row_share = split / plan_.column_splits;
    const int64_t from = runs * column_share / plan_.column_splits * k_;
    const int64_t to = least(runs * (column_share + 1) / plan_.column_splits * k_, a_.columns);
    const int64_t row = a_.rows * row_share / plan_.row_splits, row_end = a_.rows * (row_share + 1) / plan_.row_splits;
    if (plan_.lanes == Lanes::single) {
      for (int64_t s = first; s < last; ++s) single_row(s, from, to, out + s * k_);
      return;
    }
    const int64_t chunk = least(ceil_div(kChunk, k_) * k_, to - from);
    const Scratch<int32_t> bucket(chunk + kLanes);
    const Scratch<uint32_t> sign(chunk + kLanes);
    const Scratch<float> sums(k_ * kLanes), lines(k_ * kLanes);
    memset(sums.get(), 0, size_t(k_ * kLanes) * sizeof(float));
    for (int64_t c = from; c < to; c += chunk) {
      const Columns columns{c, least(chunk, to - c), bucket.get(), sign.get()};
      unpack_axis(kWhere, "columns", a_.column_table, a_.columns, k_, c, columns.count, bucket.get(), sign.get());
      for (int64_t g = first; g < last; ++g) {
        if (plan_.lanes == Lanes::samples) {
          by_samples(columns, g * kLanes, row, row_end, out + g * kLanes * k_, sums.get(), lines.get());
        } else {
          by_rows(columns, g, row, row_end, out + g * k_, sums.get(), lines.get());
        }
      }
    }
  }

  // One row of kLanes samples at a time. Lanes beyond the last sample repeat the first and are dropped.
  void by_samples(const Columns& columns, int64_t s, int64_t row, int64_t end, float* out, float* sums,
                  float* lines) const {
    const int present = int(least(kLanes, plan_.samples - s));
    const int64_t no_shift[kLanes] = {}, rows_a_fold = ceil_div(kTerms * k_, columns.count);
    float scale[kLanes];
    for (float& value : scale) value = a_.scale;
    for (int64_t fold = least(row + rows_a_fold, end); row < end; fold = least(row + rows_a_fold, end)) {
      for (; row < fold; ++row) {
        RowGroup<T> group;
        for (int lane = 0; lane < kLanes; ++lane) {
          group.rows[lane] = grad(s + (lane < present ? lane : 0), row, columns.first);
          group.ahead[lane] = group.rows[lane] + kAheadBytes / sizeof(T);
        }
        scatter_rows(group, columns, uint32_t(rows_.bucket[row]), rows_.sign[row], uint32_t(k_), sums);
      }
      fold_lanes(sums, k_, no_shift, scale, present, k_, out, lines);
    }
  }

  // kLanes rows of one sample at a time. Lanes beyond the last row repeat the first and are dropped.
  void by_rows(const Columns& columns, int64_t s, int64_t row, int64_t end, float* out, float* sums,
               float* lines) const {
    const bool near = columns.count * kLanes * int64_t(sizeof(T)) <= kNearBytes;
    const int64_t ahead = near ? kLanes * a_.row_stride : kAheadBytes / int64_t(sizeof(T));
    for (; row < end; row += kLanes) {
      const int present = int(least(kLanes, end - row));
      RowGroup<T> group;
      int64_t shift[kLanes];
      float factors[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) {
        const int64_t at = row + (lane < present ? lane : 0);
        group.rows[lane] = grad(s, at, columns.first);
        group.ahead[lane] = group.rows[lane] + ahead;
        shift[lane] = rows_.bucket[at];
        factors[lane] = factor(at);
      }
      scatter_rows(group, columns, 0, 0, uint32_t(k_), sums);
      fold_lanes(sums, k_, shift, factors, present, 0, out, lines);
    }
  }

  // The only row of a sample, by a gather: columns from .. to - 1.
  void single_row(int64_t s, int64_t from, int64_t to, float* out) const {
    const T* row = grad(s, 0, 0);
    const Scratch<float> sums(k_);
    memset(sums.get(), 0, size_t(k_) * sizeof(float));
    for (int64_t c = from; c < to; c += k_) {
      const int32_t* table = a_.column_table + c;
      check_run(kWhere, "columns", table, c / k_, a_.columns, k_);
      int64_t b = 0;
      for (; b + kLanes <= k_ && c + k_ <= a_.columns; b += kLanes) {
        Vector values;
        for (int lane = 0; lane < kLanes; ++lane) values[lane] = to_float(row[table[b + lane] >> 1]);
        store(sums.get() + b, load(sums.get() + b) + flip_sign(values, load_bits(table + b) << 31));
      }
      for (; b < k_; ++b) {
        if (table[b] >= 0) sums[b] += (1.f - 2.f * float(table[b] & 1)) * to_float(row[table[b] >> 1]);
      }
    }
    const int64_t shift = rows_.bucket[0];
    for (int64_t b = 0; b < k_; ++b) out[(b + shift) % k_] += factor(0) * sums[b];
  }

  const TensorSketch& a_;
  const Rows& rows_;
  const Plan& plan_;
  const int64_t k_;
};

// The cheaper way for `samples` samples, by the number of elements that pass through a vector.
Lanes best_lanes(const TensorSketch& a, int64_t samples) {
  const int64_t by_samples = ceil_div(samples, kLanes) * kLanes * a.rows * a.columns;
  const int64_t by_rows = samples * ceil_div(a.rows, kLanes) * kLanes * (a.columns + a.dim);
  if (by_samples <= by_rows && !(a.rows == 1 && samples * 4 <= kLanes)) return Lanes::samples;
  return a.rows == 1 ? Lanes::single : Lanes::rows;
}

template <class T>
void run(const TensorSketch& a) {
  const Rows rows(a);
  const int64_t whole = a.samples / kLanes * kLanes, rest = a.samples - whole;
  const Lanes way = best_lanes(a, rest);
  const int64_t together = way == Lanes::samples ? a.samples : whole;
  if (together > 0) Kernel<T>(a, rows, make_plan(a, Lanes::samples, 0, together)).run();
  if (together < a.samples) Kernel<T>(a, rows, make_plan(a, way, together, rest)).run();
}

}  // namespace

void tensor_sketch_into(const TensorSketch& a) {
  if (a.samples == 0 || a.rows == 0 || a.columns == 0) return;
  switch (a.dtype) {
    case DType::float32: return run<float>(a);
    case DType::bfloat16: return run<bfloat16>(a);
    case DType::float16: return run<float16>(a);
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL

MOTIVE_DISPATCH(tensor_sketch_into, TensorSketch)
