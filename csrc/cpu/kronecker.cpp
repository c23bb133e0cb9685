// Kronecker projection on the CPU. Both routes are sum_t u_t v_t^T: from tokens u = A dy and v = B x; from a gradient
// the tokens are its rows, v = B G[t, :], and u is column t of A. Chunks of tokens pass through the factors in matrix
// products over panels (gemm.h), so nothing as long as a layer is ever written.
#include "motive/kronecker.h"

#include "axis.h"
#include "column_parts.h"
#include "common/parallel.h"
#include "gemm.h"
#include "level.h"
#include "scratch.h"
#include "simd.h"

namespace motive::cpu::MOTIVE_LEVEL {
namespace {

constexpr int64_t kTokens = 256;          // of a task, a multiple of kTileColumns
constexpr int64_t kThreadWork = 1 << 21;  // multiplications that take about as long as starting a thread

// What is multiplied by a factor: tokens [samples, tokens, length].
struct Tokens {
  const void* data;
  int64_t sample_stride, token_stride, length;
};

// A factor [rows, length] in panels, one block of kPanelDepth columns after the other:
// [block][panel][depth][kTileRows].
class Factor {
 public:
  Factor(const float* values, int64_t rows, int64_t length)
      : rows(rows),
        block_floats_(panel_size(rows, kTileRows, kPanelDepth)),
        panels_(ceil_div(length, kPanelDepth) * block_floats_) {
    memset(panels_.get(), 0, size_t(ceil_div(length, kPanelDepth) * block_floats_) * sizeof(float));
    for (int64_t first = 0; first < length; first += kPanelDepth) {
      const int64_t depth = padded_depth(length - first), count = least(length - first, kPanelDepth);
      float* block = panels_.get() + first / kPanelDepth * block_floats_;
      for (int64_t row = 0; row < rows; ++row) {
        float* to = block + row / kTileRows * kTileRows * depth + row % kTileRows;
        for (int64_t j = 0; j < count; ++j) to[j * kTileRows] = values[row * length + first + j];
      }
    }
  }

  // Columns of a block, of the `left` that remain, padded to a multiple of kLanes.
  static int64_t padded_depth(int64_t left) { return ceil_div(least(left, kPanelDepth), kLanes) * kLanes; }
  const float* block(int64_t first) const { return panels_.get() + first / kPanelDepth * block_floats_; }

  const int64_t rows;

 private:
  const int64_t block_floats_;
  const Scratch<float> panels_;
};

// The working memory of one thread.
struct Memory {
  float *tokens, *left, *right, *left_panels, *right_panels;
};

// out [rows padded][kTokens] = factor times the `count` tokens at `from`.
template <class T>
void apply(const Factor& factor, const T* from, const Tokens& side, int64_t count, float* panels, float* out) {
  memset(out, 0, size_t(ceil_div(factor.rows, kTileRows) * kTileRows * kTokens) * sizeof(float));
  for (int64_t first = 0; first < side.length; first += kPanelDepth) {
    const int64_t left = side.length - first, depth = Factor::padded_depth(left);
    for (int64_t t = 0; t < ceil_div(count, kTileColumns) * kTileColumns; t += kLanes) {
      float* to = panels + t / kTileColumns * kTileColumns * depth + t % kTileColumns;
      for (int64_t j = 0; j < depth; j += kLanes) {
        Vector block[kLanes];
        load_transposed(from + t * side.token_stride + first + j, side.token_stride, count - t, left - j, block);
        for (int m = 0; m < kLanes; ++m) store(to + (j + m) * kTileColumns, block[m]);
      }
    }
    multiply_panels(factor.rows, count, depth, factor.block(first), panels,
                    [&](int64_t m0, int64_t n0, const Vector(&tile)[kTileRows][kTileVectors]) {
                      float* to = out + m0 * kTokens + n0;
                      for (int m = 0; m < kTileRows; ++m, to += kTokens) {
                        store(to, load(to) + tile[m][0]);
                        store(to + kLanes, load(to + kLanes) + tile[m][1]);
                      }
                    });
  }
}

// Panels [count][width] of rows of `values`, whose elements t are adjacent; zeros past the last row.
template <int width>
void pack_rows(const float* values, int64_t stride, int64_t rows, int64_t count, float* panels) {
  for (int64_t row = 0; row < ceil_div(rows, width) * width; ++row) {
    float* to = panels + row / width * width * count + row % width;
    for (int64_t t = 0; t < count; ++t) to[t * width] = row < rows ? values[row * stride + t] : 0.f;
  }
}

template <class T>
class Kernel {
 public:
  Kernel(const KroneckerOuter& args, const float* left_columns)
      : a_(args),
        left_columns_(left_columns),
        ko_(args.factors.left_rows),
        ki_(args.factors.right_rows),
        dy_{args.dy, args.dy_sample_stride, args.dy_token_stride, args.rows},
        x_{args.x, args.x_sample_stride, args.x_token_stride, args.columns},
        left_(args.factors.left, left_columns ? 0 : ko_, left_columns ? 0 : args.rows),
        right_(args.factors.right, ki_, args.columns) {}

  void run() const {
    const Scratch<int64_t> first_task(a_.samples + 1);
    first_task[0] = 0;
    for (int64_t s = 0; s < a_.samples; ++s) first_task[s + 1] = first_task[s] + ceil_div(length(s), kTokens);
    const int64_t tasks = first_task[a_.samples], k = ko_ * ki_;
    const int64_t work = tasks * kTokens * (a_.columns * ki_ + (left_columns_ ? 0 : a_.rows * ko_));
    const int threads = int(least(tasks, useful_threads(a_.threads, work, kThreadWork)));
    const int64_t token_floats = kTokens * kPanelDepth, left_floats = ceil_div(ko_, kTileRows) * kTileRows * kTokens;
    const int64_t right_floats = ceil_div(ki_, kTileRows) * kTileRows * kTokens;
    const int64_t panel_floats = panel_size(ki_, kTileColumns, kTokens);
    const int64_t floats = token_floats + 2 * left_floats + right_floats + panel_floats;
    const Scratch<float> memory(threads * floats), partial(tasks * k);
    parallel_for(tasks, threads, [&](int64_t task, int worker) {
      int64_t s = 0;
      while (first_task[s + 1] <= task) ++s;
      float* mine = memory.get() + worker * floats;
      const Memory parts{mine, mine + token_floats, mine + token_floats + left_floats,
                         mine + token_floats + left_floats + right_floats,
                         mine + token_floats + 2 * left_floats + right_floats};
      chunk(s, (task - first_task[s]) * kTokens, parts, partial.get() + task * k);
    });
    for (int64_t s = 0; s < a_.samples; ++s) {
      for (int64_t task = first_task[s]; task < first_task[s + 1]; ++task) {
        for (int64_t j = 0; j < k; ++j) a_.z[s * k + j] += a_.scale * partial[task * k + j];
      }
    }
  }

 private:
  int64_t length(int64_t s) const {
    const int64_t given = a_.lengths ? a_.lengths[s] : a_.tokens;
    return given < 0 ? 0 : least(given, a_.tokens);
  }

  static const T* at(const Tokens& side, int64_t s, int64_t t) {
    return static_cast<const T*>(side.data) + s * side.sample_stride + t * side.token_stride;
  }

  // out [ko, ki] = sum over the tokens first .. of a sample, at most kTokens of them, of u_t v_t^T.
  void chunk(int64_t s, int64_t first, const Memory& memory, float* out) const {
    const int64_t count = least(length(s) - first, kTokens);
    apply(right_, at(x_, s, first), x_, count, memory.tokens, memory.right);
    pack_rows<kTileColumns>(memory.right, kTokens, ki_, count, memory.right_panels);
    if (left_columns_) {
      pack_rows<kTileRows>(left_columns_ + first, a_.tokens, ko_, count, memory.left_panels);
    } else {
      apply(left_, at(dy_, s, first), dy_, count, memory.tokens, memory.left);
      pack_rows<kTileRows>(memory.left, kTokens, ko_, count, memory.left_panels);
    }
    multiply_panels(ko_, ki_, count, memory.left_panels, memory.right_panels,
                    [&](int64_t m0, int64_t n0, const Vector(&tile)[kTileRows][kTileVectors]) {
                      for (int64_t m = 0; m < kTileRows && m0 + m < ko_; ++m) {
                        for (int64_t n = 0; n < kTileColumns && n0 + n < ki_; ++n) {
                          out[(m0 + m) * ki_ + n0 + n] = tile[m][n / kLanes][n % kLanes];
                        }
                      }
                    });
  }

  const KroneckerOuter& a_;
  const float* left_columns_;  // A [ko, tokens] itself, where the tokens are the rows of a gradient
  const int64_t ko_, ki_;
  const Tokens dy_, x_;
  const Factor left_, right_;
};

void run(const KroneckerOuter& a, const float* left_columns) {
  switch (a.dtype) {
    case DType::float32: return Kernel<float>(a, left_columns).run();
    case DType::bfloat16: return Kernel<bfloat16>(a, left_columns).run();
    case DType::float16: return Kernel<float16>(a, left_columns).run();
  }
}

}  // namespace

void kronecker_into(const Kronecker& a) {
  if (a.samples == 0 || a.rows == 0 || a.columns == 0) return;
  run({a.z, a.grad, nullptr, a.dtype, a.samples, a.rows, a.rows, a.columns, a.sample_stride, a.row_stride, 0, 0,
       a.factors, nullptr, a.scale, a.threads},
      a.factors.left);
}

void kronecker_outer_into(const KroneckerOuter& a) {
  if (a.samples == 0 || a.tokens == 0 || a.rows == 0 || a.columns == 0) return;
  run(a, nullptr);
}

}  // namespace motive::cpu::MOTIVE_LEVEL

MOTIVE_DISPATCH(kronecker_into, Kronecker)
MOTIVE_DISPATCH(kronecker_outer_into, KroneckerOuter)
