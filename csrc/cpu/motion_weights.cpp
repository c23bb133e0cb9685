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
constexpr uintptr_t kAhead = 2048;         // bytes

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

// Asks for what lies some rows' parts ahead, for the processor's own look-ahead ends with a page; any address will do.
MOTIVE_INLINE void fetch(const void* from) {
  __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(from) + kAhead));
}

// A row of flow: squared lengths of kLanes pixels, in the order of memory or in any.
template <class T>
struct Pairs {
  const T* from;

  MOTIVE_INLINE void fetch_ahead(int64_t x) const { fetch(from + 2 * x); }
  MOTIVE_INLINE Vector in_any_order(int64_t x) const { return squares_of_pairs(from + 2 * x); }
  MOTIVE_INLINE Vector in_order(int64_t x) const { return squares_in_order(from, in_any_order(x)); }
  MOTIVE_INLINE Vector first(int64_t count) const {
    T padded[2 * kLanes] = {};
    memcpy(padded, from, size_t(2 * count) * sizeof(T));
    return Pairs{padded}.in_order(0);
  }
};

template <class T>
struct Planes {
  const T *dx_from, *dy_from;

  MOTIVE_INLINE void fetch_ahead(int64_t x) const {
    fetch(dx_from + x);
    fetch(dy_from + x);
  }
  MOTIVE_INLINE Vector in_any_order(int64_t x) const { return squared_length(load(dx_from + x), load(dy_from + x)); }
  MOTIVE_INLINE Vector in_order(int64_t x) const { return in_any_order(x); }
  MOTIVE_INLINE Vector first(int64_t count) const {
    return squared_length(load_some(dx_from, count), load_some(dy_from, count));
  }
};

// The first count lanes, and the very first in place of the others.
MOTIVE_INLINE Vector repeat_first(Vector value, int64_t count) {
  for (int64_t lane = count; lane < kLanes; ++lane) value[lane] = value[0];
  return value;
}

// Calls body(x) for vectors that cover a row of count >= kLanes pixels; the last two may share pixels.
template <class Row, class Body>
MOTIVE_INLINE void cover(const Row& row, int64_t count, Body&& body) {
  for (int64_t x = 0; x + kLanes <= count; x += kLanes) {
    row.fetch_ahead(x);
    body(x);
  }
  if (count % kLanes != 0) body(count - kLanes);
}

// A row whose magnitudes are looked at but not kept.
template <class Row>
void skim_row(const Row& row, int64_t count, ExtremesOfRoots& extremes) {
  if (count < kLanes) return extremes.include(repeat_first(row.first(count), count));
  ExtremesOfRoots found = extremes;
  cover(row, count, [&](int64_t x) { found.include(row.in_any_order(x)); });
  extremes = found;
}

// Magnitudes of a row into out, which has room for whole vectors.
template <class Row>
void read_row(const Row& row, int64_t count, float* out, ExtremesOfRoots& extremes) {
  ExtremesOfRoots found = extremes;
  const auto one_vector = [&](int64_t x, Vector squares) {
    found.include(squares);
    store(out + x, square_root(squares));
  };
  if (count < kLanes) {
    one_vector(0, repeat_first(row.first(count), count));
  } else {
    cover(row, count, [&](int64_t x) { one_vector(x, row.in_order(x)); });
  }
  extremes = found;
}

// The same times a confidence, which may have any sign.
template <class Row>
void read_row(const Row& row, const float* confidence, int64_t count, float* out, ExtremesOfVectors& extremes) {
  ExtremesOfVectors found = extremes;
  const auto one_vector = [&](int64_t x, Vector magnitude) {
    found.include(magnitude);
    store(out + x, magnitude);
  };
  if (count < kLanes) {
    one_vector(0, repeat_first(square_root(row.first(count)) * load_some(confidence, count), count));
  } else {
    cover(row, count, [&](int64_t x) { one_vector(x, square_root(row.in_order(x)) * load(confidence + x)); });
  }
  extremes = found;
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
        sums_(open_ * a.width) {
    set_next_between();
  }

  // Extremes of what normalising looks at; any pixel that is not finite shows in them.
  Extremes run() {
    for (int64_t y = 0; y < a_.height; ++y) {
      read(y);
      a_.spatial == MotionSpatial::area ? add_to_windows(y, row_at(y)) : finish_between(y);
    }
    const Extremes pixels = a_.confidence != nullptr ? products_.all() : roots_.all();
    if (a_.order == MotionOrder::normalise_first || !pixels.finite()) return pixels;
    Extremes cells;
    for (int64_t cell = 0; cell < a_.latent_height * a_.latent_width; ++cell) cells.include(out_[cell]);
    return cells;
  }

 private:
  float* row_at(int64_t y) const { return rows_.get() + (y & 1) * padded_; }

  void read(int64_t y) {
    const T* from = static_cast<const T*>(a_.flow) + index_ / a_.frames * a_.sample_stride +
                    index_ % a_.frames * a_.frame_stride + y * a_.row_stride;
    if (a_.component_stride == 1) {
      read_from(Pairs<T>{from}, y);
    } else {
      read_from(Planes<T>{from, from + a_.component_stride}, y);
    }
  }

  template <class Row>
  void read_from(const Row& source, int64_t y) {
    if (a_.confidence != nullptr) {
      const int64_t at = (index_ * a_.height + y) * a_.width;
      read_row(source, static_cast<const float*>(a_.confidence) + at, a_.width, row_at(y), products_);
    } else if (is_kept(y)) {
      read_row(source, a_.width, row_at(y), roots_);
    } else {
      skim_row(source, a_.width, roots_);
    }
  }

  // Whether a latent row that is not done yet takes values from row y: latent rows rise, and so do their originals.
  bool is_kept(int64_t y) const {
    if (a_.spatial == MotionSpatial::area) return true;
    return next_ < a_.latent_height && next_between_.low <= y;
  }

  // Latent rows whose lower original is row y.
  void finish_between(int64_t y) {
    for (; next_ < a_.latent_height && next_between_.high <= y; ++next_, set_next_between()) {
      const float *upper = row_at(next_between_.low), *lower = row_at(next_between_.high);
      for (int64_t j = 0; j < a_.latent_width; ++j) {
        const Between c = columns_[j];
        out_[next_ * a_.latent_width + j] =
            interpolate(interpolate(upper[c.low], upper[c.high], c.weight),
                        interpolate(lower[c.low], lower[c.high], c.weight), next_between_.weight);
      }
    }
  }

  void set_next_between() { next_between_ = between(next_, a_.height, a_.latent_height); }

  // Adds row y to the windows of latent rows that hold it, all relative to the frame's first pixel.
  void add_to_windows(int64_t y, const float* row) {
    if (y == 0) first_ = row[0];
    for (; started_ < a_.latent_height && window_begin(started_, a_.height, a_.latent_height) <= y; ++started_) {
      float* sums = window(started_);
      for (int64_t x = 0; x < a_.width; ++x) sums[x] = 0.f;
    }
    for (int64_t i = next_; i < started_; ++i) {
      float* __restrict sums = window(i);
      for (int64_t x = 0; x < a_.width; ++x) sums[x] += row[x] - first_;
    }
    for (; next_ < started_ && window_end(next_, a_.height, a_.latent_height) == y + 1; ++next_) finish_window(next_);
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
  const Scratch<float> rows_;   // magnitudes of the last two rows
  const int64_t open_;          // windows that may hold one row
  const Scratch<float> sums_;   // [open, width]
  ExtremesOfRoots roots_;       // without confidence
  ExtremesOfVectors products_;  // with it
  float first_ = 0.f;
  int64_t started_ = 0, next_ = 0;  // latent rows: below started_ started, below next_ done
  Between next_between_;
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
