// Token route of the balanced tensor sketch on the CPU. For a chunk of tokens, the sketched vectors cs_o(dy) and
// cs_i(x) are written straight into the panels of a matrix product (gemm.h); its k x k result exists tile by tile only,
// each tile being folded along (p + q) mod k from registers. A side no longer than k has one element a bucket: it is
// placed, not sketched, and takes no more of the product than its own length.
#include "motive/outer_sketch.h"

#include <cstring>

#include "axis.h"
#include "common/parallel.h"
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
       int64_t length, int64_t dim)
      : slots(least(length, dim)),
        data_(data),
        sample_stride_(sample_stride),
        token_stride_(token_stride),
        slot_(length + kLanes),
        sign_(length + kLanes),
        bucket_(slots) {
    unpack_axis(kWhere, name, table, length, dim, 0, length, slot_.get(), sign_.get());
    columns_ = {0, length, slot_.get(), sign_.get()};
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

template <class T>
class Kernel {
 public:
  explicit Kernel(const OuterSketch& args)
      : a_(args),
        k_(args.dim),
        depth_(least(kPanelDepth, args.tokens)),
        rows_("rows", args.dy, args.dy_sample_stride, args.dy_token_stride, args.row_table, args.rows, k_),
        columns_("columns", args.x, args.x_sample_stride, args.x_token_stride, args.column_table, args.columns, k_),
        a_floats_(panel_size(rows_.slots, kTileRows, depth_)),
        b_floats_(panel_size(columns_.slots, kTileColumns, depth_)),
        lane_floats_(kLanes * ((rows_.slots > columns_.slots ? rows_.slots : columns_.slots) + kTileColumns)),
        sum_floats_(2 * k_ + kTileColumns) {}

  void run() const {
    // A task is a chunk of one sample's tokens.
    const Scratch<int64_t> first_task(a_.samples + 1);
    first_task[0] = 0;
    for (int64_t s = 0; s < a_.samples; ++s) first_task[s + 1] = first_task[s] + ceil_div(length(s), depth_);
    const int64_t tasks = first_task[a_.samples];
    const Scratch<int32_t> sample_of(tasks);
    for (int64_t s = 0; s < a_.samples; ++s) {
      for (int64_t task = first_task[s]; task < first_task[s + 1]; ++task) sample_of[task] = int32_t(s);
    }
    const int64_t work = tasks * depth_ * rows_.slots * columns_.slots;
    const int threads = int(least(tasks, useful_threads(a_.threads, work, kThreadWork)));
    const int64_t floats = a_floats_ + b_floats_ + lane_floats_ + sum_floats_;
    const Scratch<float> memory(threads * floats), partial(tasks * k_);
    for (int worker = 0; worker < threads; ++worker) {
      memset(memory.get() + worker * floats + a_floats_ + b_floats_, 0, size_t(lane_floats_) * sizeof(float));
    }
    parallel_for(tasks, threads, [&](int64_t task, int worker) {
      const int64_t s = sample_of[task];
      chunk(s, (task - first_task[s]) * depth_, memory.get() + worker * floats, partial.get() + task * k_);
    });
    for (int64_t task = 0; task < tasks; ++task) {
      float* z = a_.z + sample_of[task] * k_;
      for (int64_t b = 0; b < k_; ++b) z[b] += a_.scale * partial[task * k_ + b];
    }
  }

 private:
  int64_t length(int64_t s) const {
    const int64_t given = a_.lengths ? a_.lengths[s] : a_.tokens;
    return given < 0 ? 0 : least(given, a_.tokens);
  }

  // out [k] = the sketch of tokens first .. first + depth - 1 of a sample.
  void chunk(int64_t s, int64_t first, float* memory, float* out) const {
    const int64_t count = least(depth_, length(s) - first);
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

template <class T>
void run(const OuterSketch& a) {
  Kernel<T>(a).run();
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
