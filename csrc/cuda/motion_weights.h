// Motion weights: the work of one thread.
//
// Min-max normalisation is affine with a positive slope and resizing is linear, so magnitudes are resized as they are
// and normalised when the clip's extremes are known: the flow is read once. A block reads a band of pixel rows of one
// frame for its extremes and resizes the same share of the frame's cells. motive/motion_weights.h says why nothing here
// may become a fused multiply-add.
#pragma once

#include "motive/motion_weights.h"
#include "packed.h"

#if !defined(__CUDA_ARCH__)
#include <cmath>
#endif

namespace motive::cuda::motion {

constexpr int kThreads = 256;
constexpr int64_t kBandPixels = 16384;
constexpr int32_t kInfinity = 0x7f800000;

// Floats are compared as integers in the same order, where NaN lies beyond the infinities: integer extremes may be
// taken in any order, and a number that is not finite cannot get lost.
struct Extremes {
  int32_t low, high;
};

MOTIVE_HOST_DEVICE static inline Extremes no_extremes() { return {INT32_MAX, INT32_MIN}; }
MOTIVE_HOST_DEVICE static inline int32_t ordered(int32_t bits) { return bits ^ ((bits >> 31) & INT32_MAX); }
MOTIVE_HOST_DEVICE static inline float float_of(int32_t key) { return float_from_bits(uint32_t(ordered(key))); }

MOTIVE_HOST_DEVICE static inline void include(Extremes& e, Extremes other) {
  e.low = other.low < e.low ? other.low : e.low;
  e.high = other.high > e.high ? other.high : e.high;
}

MOTIVE_HOST_DEVICE static inline void include(Extremes& e, float value) {
  int32_t bits;
  memcpy(&bits, &value, sizeof bits);
  include(e, Extremes{ordered(bits), ordered(bits)});
}

MOTIVE_HOST_DEVICE static inline bool finite(Extremes e) {
  return e.low > ordered(int32_t(0xff800000u)) && e.high < kInfinity;
}

MOTIVE_HOST_DEVICE static inline float square_root(float value) {
#if defined(__CUDA_ARCH__)
  return __fsqrt_rn(value);
#else
  return std::sqrt(value);
#endif
}

MOTIVE_HOST_DEVICE static inline float square_of(float dx, float dy) {
  return plain_sum(plain_product(dx, dx), plain_product(dy, dy));
}

MOTIVE_HOST_DEVICE static inline float interpolate(float low, float high, float weight) {
  return plain_sum(low, plain_product(weight, plain_sum(high, -low)));
}

// One frame of flow and of confidence.
template <class T>
struct Frame {
  const T* flow;
  const float* confidence;
  int64_t height, width, row_stride, component_stride;
};

template <class T>
MOTIVE_HOST_DEVICE static inline Frame<T> frame_of(const MotionWeights& a, int64_t index) {
  const int64_t sample = index / a.frames, t = index - sample * a.frames;
  Frame<T> frame;
  frame.flow = static_cast<const T*>(a.flow) + sample * a.sample_stride + t * a.frame_stride;
  frame.confidence = a.confidence == nullptr ? nullptr : a.confidence + index * a.height * a.width;
  frame.height = a.height;
  frame.width = a.width;
  frame.row_stride = a.row_stride;
  frame.component_stride = a.component_stride;
  return frame;
}

template <class T>
MOTIVE_HOST_DEVICE static inline float magnitude_at(const Frame<T>& f, int64_t y, int64_t x) {
  const T* const dx = f.flow + y * f.row_stride + (f.component_stride == 1 ? 2 * x : x);
  const T* const dy = dx + f.component_stride;
  const float square = square_of(element_of(load_once<T, 1>(dx), 0), element_of(load_once<T, 1>(dy), 0));
  const float m = square_root(square);
  return f.confidence == nullptr ? m : plain_product(m, f.confidence[y * f.width + x]);
}

// Rows of pixels, or of cells, of a band.
MOTIVE_HOST_DEVICE static inline int64_t band_begin(int64_t band, int64_t bands, int64_t rows) {
  return band * rows / bands;
}

static inline int64_t bands_of(const MotionWeights& a) {
  return smaller(ceil_div(a.height * a.width, kBandPixels), a.height);
}

// 16-byte loads of pairs: rows follow each other without gaps, begin at multiples of 16 bytes and hold whole vectors.
static inline bool is_vectorised(const MotionWeights& a) {
  const int64_t v = 16 / size_of(a.dtype);
  return reinterpret_cast<uintptr_t>(a.flow) % 16 == 0 && a.component_stride == 1 && 2 * a.width % v == 0 &&
         (a.height == 1 || a.row_stride == 2 * a.width) && a.frame_stride % v == 0 && a.sample_stride % v == 0;
}

// Extremes of a thread's pixels of one band, V / 2 pixels at a time in rows without gaps, or (V == 1) one by one.
template <class T, int V>
MOTIVE_HOST_DEVICE static inline Extremes read_band(const Frame<T>& f, int64_t first_row, int64_t last_row,
                                                    int thread) {
  Extremes found = no_extremes();
  if constexpr (V == 1) {
    for (int64_t j = thread; j < (last_row - first_row) * f.width; j += kThreads) {
      include(found, magnitude_at(f, first_row + j / f.width, j % f.width));
    }
  } else {
    constexpr int kPixels = V / 2, kLoads = 4;
    const T* const flow = f.flow + first_row * 2 * f.width;
    const float* const confidence = f.confidence == nullptr ? nullptr : f.confidence + first_row * f.width;
    const int64_t pixels = (last_row - first_row) * f.width, stride = kThreads * kPixels;
#pragma unroll 1
    for (int64_t pixel = thread * kPixels; pixel < pixels; pixel += kLoads * stride) {
      Packed<T, V> pairs[kLoads];
#pragma unroll
      for (int l = 0; l < kLoads; ++l) {  // all loads before the first use; past the end, the first again
        pairs[l] = load_once<T, V>(flow + 2 * (pixel + l * stride < pixels ? pixel + l * stride : pixel));
      }
#pragma unroll
      for (int l = 0; l < kLoads; ++l) {
        const int64_t at = pixel + l * stride < pixels ? pixel + l * stride : pixel;
#pragma unroll
        for (int p = 0; p < kPixels; ++p) {
          const float square = square_of(element_of(pairs[l], 2 * p), element_of(pairs[l], 2 * p + 1));
          include(found, confidence == nullptr ? square : plain_product(square_root(square), confidence[at + p]));
        }
      }
    }
    // Rounded square roots keep the order, so those of all pixels but two are spared.
    if (confidence == nullptr && found.low <= found.high && finite(found)) {
      const float low = square_root(float_of(found.low)), high = square_root(float_of(found.high));
      found = no_extremes();
      include(found, low);
      include(found, high);
    }
  }
  return found;
}

// Where a sample of a resized axis lies between two of the original one: half-pixel centres, ends repeated.
struct Between {
  int64_t low, high;
  float weight;  // of high
};

MOTIVE_HOST_DEVICE static inline Between between(int64_t index, int64_t from, int64_t to) {
  const double centre = (double(index) + 0.5) * double(from) / double(to) - 0.5;
  const double at = centre > 0 ? centre : 0;
  const int64_t low = smaller(int64_t(at), from - 1);
  return {low, smaller(low + 1, from - 1), float(at - double(low))};
}

template <class T>
MOTIVE_HOST_DEVICE static inline float bilinear(const Frame<T>& f, const MotionWeights& a, int64_t i, int64_t j) {
  const Between y = between(i, f.height, a.latent_height), x = between(j, f.width, a.latent_width);
  const float upper = interpolate(magnitude_at(f, y.low, x.low), magnitude_at(f, y.low, x.high), x.weight);
  const float lower = interpolate(magnitude_at(f, y.high, x.low), magnitude_at(f, y.high, x.high), x.weight);
  return interpolate(upper, lower, y.weight);
}

// Mean of a cell's pixels, summed relative to its first.
template <class T>
MOTIVE_HOST_DEVICE static inline float area_mean(const Frame<T>& f, const MotionWeights& a, int64_t i, int64_t j) {
  const int64_t top = i * f.height / a.latent_height, left = j * f.width / a.latent_width;
  const int64_t bottom = ((i + 1) * f.height + a.latent_height - 1) / a.latent_height;
  const int64_t right = ((j + 1) * f.width + a.latent_width - 1) / a.latent_width;
  const float first = magnitude_at(f, top, left);
  float total = 0.0f;
  for (int64_t y = top; y < bottom; ++y) {
    for (int64_t x = left; x < right; ++x) total = plain_sum(total, plain_sum(magnitude_at(f, y, x), -first));
  }
  return plain_sum(first, total / float((bottom - top) * (right - left)));
}

// A thread's cells of one band; returns their extremes.
template <class T>
MOTIVE_HOST_DEVICE static inline Extremes resize_band(const Frame<T>& f, const MotionWeights& a, int64_t band,
                                                      int64_t bands, float* resized, int thread) {
  Extremes found = no_extremes();
  const int64_t first = band_begin(band, bands, a.latent_height) * a.latent_width;
  const int64_t last = band_begin(band + 1, bands, a.latent_height) * a.latent_width;
  for (int64_t cell = first + thread; cell < last; cell += kThreads) {
    const int64_t i = cell / a.latent_width, j = cell - i * a.latent_width;
    const float m = a.spatial == MotionSpatial::area ? area_mean(f, a, i, j) : bilinear(f, a, i, j);
    resized[cell] = m;
    include(found, m);
  }
  return found;
}

// What a thread contributes to its band: extremes of pixels or cells, never hiding a pixel that is not finite.
template <class T, int V>
MOTIVE_HOST_DEVICE static inline Extremes read_and_resize(const MotionWeights& a, int64_t bands, int64_t block,
                                                          float* resized, int thread) {
  const int64_t index = block / bands, band = block - index * bands;
  const Frame<T> frame = frame_of<T>(a, index);
  const Extremes pixels =
      read_band<T, V>(frame, band_begin(band, bands, a.height), band_begin(band + 1, bands, a.height), thread);
  float* const out = resized + index * a.latent_height * a.latent_width;
  const Extremes cells = resize_band(frame, a, band, bands, out, thread);
  const bool seen = pixels.low <= pixels.high;
  return a.order == MotionOrder::normalise_first || (seen && !finite(pixels)) ? pixels : cells;
}

// The weight of one cell of one latent frame.
MOTIVE_HOST_DEVICE static inline float pooled(const MotionWeights& a, const float* resized, Extremes extremes,
                                              int64_t f, int64_t cell) {
  if (!finite(extremes)) return float_from_bits(0x7fc00000u);
  const int64_t cells = a.latent_height * a.latent_width;
  const float low = float_of(extremes.low), span = plain_sum(plain_sum(float_of(extremes.high), -low), kMotionEpsilon);
  float result;
  if (a.pooling == MotionPooling::trilinear) {
    const Between t = between(f, a.frames, a.latent_frames);
    result = interpolate(plain_sum(resized[t.low * cells + cell], -low) / span,
                         plain_sum(resized[t.high * cells + cell], -low) / span, t.weight);
  } else {
    const int64_t group = f == 0 ? 1 : (a.frames - 1) / (a.latent_frames - 1), last = f * group;
    const int64_t count = a.pooling == MotionPooling::stride ? 1 : group;
    result = plain_sum(resized[(last - count + 1) * cells + cell], -low) / span;
    for (int64_t t = last - count + 2; t <= last; ++t) {
      const float w = plain_sum(resized[t * cells + cell], -low) / span;
      result = a.pooling == MotionPooling::causal_mean ? plain_sum(result, w) : w > result ? w : result;
    }
    if (a.pooling == MotionPooling::causal_mean) result /= float(count);
  }
  return result < 0.0f ? 0.0f : result > 1.0f ? 1.0f : result;  // rounding may step over the ends
}

}  // namespace motive::cuda::motion
