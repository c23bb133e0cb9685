// Motion weights: one pass over the flow, one task a frame.
//
// Min-max normalisation is affine with a positive slope and resizing is linear, so a frame's magnitudes are resized as
// they are while its extremes are found, and the small grid is normalised and pooled when those of the clip are known.
#include "motive/motion_weights.h"

#include "common/parallel.h"
#include "elements.h"
#include "extremes.h"
#include "scratch.h"

namespace motive::cpu::MOTIVE_LEVEL {
namespace {

constexpr int64_t kThreadBytes = 1 << 20;  // bytes that take about as long as starting a thread

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Where a sample of a resized axis lies between two of the original one: half-pixel centres, ends repeated.
struct Between {
  int64_t low, high;
  float weight;  // of high
};

Between between(int64_t index, int64_t from, int64_t to) {
  const double centre = (double(index) + 0.5) * double(from) / double(to) - 0.5;
  const double at = centre > 0 ? centre : 0;
  const int64_t low = smaller(int64_t(at), from - 1);
  return {low, smaller(low + 1, from - 1), float(at - double(low))};
}

float interpolate(float low, float high, float weight) { return low + weight * (high - low); }

// The originals [begin, end) that a sample of a resized axis covers.
int64_t window_begin(int64_t index, int64_t from, int64_t to) { return index * from / to; }
int64_t window_end(int64_t index, int64_t from, int64_t to) { return ((index + 1) * from + to - 1) / to; }

// A row of flow, seen as (dx, dy) vectors of kLanes pixels.
template <class T>
struct Pairs {
  const T* from;

  MOTIVE_INLINE void load_full(int64_t x, Vector& dx, Vector& dy) const { load_pairs(from + 2 * x, dx, dy); }
  MOTIVE_INLINE void load_part(int64_t x, int64_t count, Vector& dx, Vector& dy) const {
    T padded[2 * kLanes] = {};
    memcpy(padded, from + 2 * x, size_t(2 * count) * sizeof(T));
    load_pairs(padded, dx, dy);
  }
};

template <class T>
struct Planes {
  const T *dx_from, *dy_from;

  MOTIVE_INLINE void load_full(int64_t x, Vector& dx, Vector& dy) const {
    dx = load(dx_from + x);
    dy = load(dy_from + x);
  }
  MOTIVE_INLINE void load_part(int64_t x, int64_t count, Vector& dx, Vector& dy) const {
    dx = load_some(dx_from + x, count);
    dy = load_some(dy_from + x, count);
  }
};

// Magnitudes of a row of count pixels, the first repeated up to a whole vector, and their extremes. There is one copy
// of the arithmetic, so equal flows have equal magnitudes.
template <bool kConfident, class Row>
void read_row(const Row& row, const float* confidence, int64_t count, float* out, Extremes& extremes) {
  ExtremesOfVectors found;
  for (int64_t x = 0; x < count; x += kLanes) {
    const int64_t left = count - x;
    const bool full = left >= kLanes;
    Vector dx, dy;
    full ? row.load_full(x, dx, dy) : row.load_part(x, left, dx, dy);
    Vector magnitude = square_root(dx * dx + dy * dy);
    if (kConfident) {
      magnitude *= full ? load(confidence + x) : load_some(confidence + x, left);
    }
    store(out + x, magnitude);
    if (!full) {
      for (int64_t lane = left; lane < kLanes; ++lane) out[x + lane] = out[0];
      magnitude = load(out + x);
    }
    found.include(magnitude);
  }
  extremes.include(found.all());
}

// One frame of T: reads its rows in order, and gives each latent row out as soon as its pixels are there.
template <class T>
class Frame {
 public:
  Frame(const MotionWeights& a, int64_t index, const Between* columns, float* out)
      : a_(a),
        index_(index),
        columns_(columns),
        out_(out),
        padded_((a.width + kLanes - 1) / kLanes * kLanes),
        rows_(2 * padded_),
        open_(a.spatial == MotionSpatial::area ? a.latent_height / a.height + 2 : 0),
        sums_(open_ * a.width) {}

  // Extremes of what normalising looks at; any pixel that is not finite shows in them.
  Extremes run() {
    Extremes pixels, cells;
    for (int64_t y = 0; y < a_.height; ++y) {
      float* row = row_at(y);
      read(y, row, pixels);
      a_.spatial == MotionSpatial::area ? add_to_windows(y, row) : finish_between(y);
    }
    if (a_.order == MotionOrder::normalise_first || !pixels.finite()) return pixels;
    for (int64_t cell = 0; cell < a_.latent_height * a_.latent_width; ++cell) cells.include(out_[cell]);
    return cells;
  }

 private:
  float* row_at(int64_t y) const { return rows_.get() + (y & 1) * padded_; }

  void read(int64_t y, float* row, Extremes& extremes) {
    const float* confidence = nullptr;
    if (a_.confidence != nullptr) {
      confidence = static_cast<const float*>(a_.confidence) + (index_ * a_.height + y) * a_.width;
    }
    const T* from = static_cast<const T*>(a_.flow) + index_ / a_.frames * a_.sample_stride +
                    index_ % a_.frames * a_.frame_stride + y * a_.row_stride;
    if (a_.component_stride == 1) {
      read_from(Pairs<T>{from}, confidence, row, extremes);
    } else {
      read_from(Planes<T>{from, from + a_.component_stride}, confidence, row, extremes);
    }
  }

  template <class Row>
  void read_from(const Row& source, const float* confidence, float* row, Extremes& extremes) {
    if (confidence != nullptr) {
      read_row<true>(source, confidence, a_.width, row, extremes);
    } else {
      read_row<false>(source, confidence, a_.width, row, extremes);
    }
  }

  // Latent rows whose lower original is row y.
  void finish_between(int64_t y) {
    for (; next_ < a_.latent_height; ++next_) {
      const Between at = between(next_, a_.height, a_.latent_height);
      if (at.high > y) return;
      const float *upper = row_at(at.low), *lower = row_at(at.high);
      for (int64_t j = 0; j < a_.latent_width; ++j) {
        const Between c = columns_[j];
        out_[next_ * a_.latent_width + j] = interpolate(interpolate(upper[c.low], upper[c.high], c.weight),
                                                        interpolate(lower[c.low], lower[c.high], c.weight), at.weight);
      }
    }
  }

  // Adds row y to the windows of latent rows that hold it, all relative to the frame's first pixel.
  void add_to_windows(int64_t y, const float* row) {
    if (y == 0) first_ = row[0];
    for (; begun_ < a_.latent_height && window_begin(begun_, a_.height, a_.latent_height) <= y; ++begun_) {
      float* sums = window(begun_);
      for (int64_t x = 0; x < a_.width; ++x) sums[x] = 0.f;
    }
    for (int64_t i = next_; i < begun_; ++i) {
      float* __restrict sums = window(i);
      for (int64_t x = 0; x < a_.width; ++x) sums[x] += row[x] - first_;
    }
    for (; next_ < begun_ && window_end(next_, a_.height, a_.latent_height) == y + 1; ++next_) finish_window(next_);
  }

  float* window(int64_t latent_row) const { return sums_.get() + latent_row % open_ * a_.width; }

  void finish_window(int64_t i) {
    const int64_t rows = window_end(i, a_.height, a_.latent_height) - window_begin(i, a_.height, a_.latent_height);
    const float* sums = window(i);
    for (int64_t j = 0; j < a_.latent_width; ++j) {
      const int64_t begin = window_begin(j, a_.width, a_.latent_width);
      const int64_t end = window_end(j, a_.width, a_.latent_width);
      float total = 0.f;
      for (int64_t x = begin; x < end; ++x) total += sums[x];
      out_[i * a_.latent_width + j] = first_ + total / float(rows * (end - begin));
    }
  }

  const MotionWeights& a_;
  const int64_t index_;  // of the frame among those of all samples
  const Between* columns_;
  float* out_;  // [latent_height, latent_width]
  const int64_t padded_;
  const Scratch<float> rows_;  // magnitudes of the last two rows
  const int64_t open_;         // windows that may hold one row
  const Scratch<float> sums_;  // [open, width]
  float first_ = 0.f;
  int64_t begun_ = 0, next_ = 0;  // latent rows: below begun_ begun, below next_ done
};

// One latent frame from the resized magnitudes [frames, cells] of its clip.
void pool(const MotionWeights& a, const float* resized, const Extremes& extremes, int64_t f, float* out) {
  const int64_t cells = a.latent_height * a.latent_width;
  if (!extremes.finite()) {
    for (int64_t cell = 0; cell < cells; ++cell) out[cell] = __builtin_nanf("");
    return;
  }
  const float low = extremes.low(), span = extremes.high() - low + kMotionEpsilon;
  const auto weight = [&](int64_t t, int64_t cell) { return (resized[t * cells + cell] - low) / span; };
  if (a.pooling == MotionPooling::trilinear) {
    const Between t = between(f, a.frames, a.latent_frames);
    for (int64_t cell = 0; cell < cells; ++cell) {
      out[cell] = interpolate(weight(t.low, cell), weight(t.high, cell), t.weight);
    }
  } else {
    const int64_t group = f == 0 ? 1 : (a.frames - 1) / (a.latent_frames - 1);
    const int64_t last = f * group, count = a.pooling == MotionPooling::stride ? 1 : group;
    for (int64_t cell = 0; cell < cells; ++cell) out[cell] = weight(last - count + 1, cell);
    for (int64_t t = last - count + 2; t <= last; ++t) {
      for (int64_t cell = 0; cell < cells; ++cell) {
        const float w = weight(t, cell);
        out[cell] = a.pooling == MotionPooling::causal_mean ? out[cell] + w : w > out[cell] ? w : out[cell];
      }
    }
    if (a.pooling == MotionPooling::causal_mean) {
      for (int64_t cell = 0; cell < cells; ++cell) out[cell] /= float(count);
    }
  }
  // Rounding may step over the ends.
  for (int64_t cell = 0; cell < cells; ++cell) out[cell] = out[cell] < 0.f ? 0.f : out[cell] > 1.f ? 1.f : out[cell];
}

template <class T>
void run(const MotionWeights& a) {
  const int64_t cells = a.latent_height * a.latent_width, frames = a.samples * a.frames;
  const Scratch<Between> columns(a.latent_width);
  for (int64_t j = 0; j < a.latent_width; ++j) columns[j] = between(j, a.width, a.latent_width);
  const Scratch<float> resized(frames * cells);
  const Scratch<Extremes> extremes(frames);
  const int64_t bytes = 2 * frames * a.height * a.width * int64_t(sizeof(T));
  parallel_for(frames, useful_threads(a.threads, bytes, kThreadBytes), [&](int64_t index) {
    extremes[index] = Frame<T>(a, index, columns.get(), resized.get() + index * cells).run();
  });
  for (int64_t sample = 0; sample < a.samples; ++sample) {
    Extremes& clip = extremes[sample * a.frames];
    for (int64_t t = 1; t < a.frames; ++t) clip.include(extremes[sample * a.frames + t]);
  }
  const int threads = useful_threads(a.threads, 4 * frames * cells, kThreadBytes);
  parallel_for(a.samples * a.latent_frames, threads, [&](int64_t index) {
    const int64_t first = index / a.latent_frames * a.frames;
    pool(a, resized.get() + first * cells, extremes[first], index % a.latent_frames, a.weights + index * cells);
  });
}

}  // namespace

void motion_weights(const MotionWeights& a) {
  if (a.samples == 0) return;
  switch (a.dtype) {
    case DType::float32: return run<float>(a);
    case DType::bfloat16: return run<bfloat16>(a);
    case DType::float16: return run<float16>(a);
  }
}

}  // namespace motive::cpu::MOTIVE_LEVEL

MOTIVE_DISPATCH(motion_weights, MotionWeights)
