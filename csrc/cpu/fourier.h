// The discrete Fourier transform of kLanes sequences at once, one in each lane: no shuffles, whatever the length.
//
// Decimation in frequency by fours, in place, depth first: after the first pass, blocks fit the first-level cache.
// Results come out in another order; frequency() and position() say which.
#pragma once

#include <math.h>

#include <cstdint>

#include "scratch.h"
#include "simd.h"

namespace motive::cpu::MOTIVE_LEVEL {

// Whether Fourier serves this length.
static inline bool fourier_takes(int64_t length) { return length >= 8 && (length & (length - 1)) == 0; }

class Fourier {
 public:
  // length: a power of two.
  explicit Fourier(int64_t length)
      : length_(length), cosine_(length), sine_(length), frequency_(length), position_(length) {
    for (int64_t j = 0; j < length; ++j) {
      const double angle = 6.283185307179586476925 * double(j) / double(length);
      cosine_[j] = float(cos(angle));
      sine_[j] = float(sin(angle));
    }
    for (int64_t p = 0; p < length; ++p) {
      int64_t rest = p, block = length, step = 1, found = 0;
      while (block > 1) {
        const int64_t radix = block >= 4 ? 4 : 2;
        block /= radix;
        found += rest / block * step;
        rest %= block;
        step *= radix;
      }
      frequency_[p] = int32_t(found);
      position_[found] = int32_t(p);
    }
  }

  int64_t length() const { return length_; }
  int64_t frequency(int64_t position) const { return frequency_[position]; }
  int64_t position(int64_t frequency) const { return position_[frequency]; }

  // re, im [length][kLanes]: element j becomes sum over m of element m times exp(-2 pi i m frequency(j) / length).
  void forward(float* re, float* im) const { transform(re, im, length_, 1); }

 private:
  void transform(float* re, float* im, int64_t size, int64_t step) const {
    if (size == 2) {
      const Vector ar = load(re), ai = load(im), br = load(re + kLanes), bi = load(im + kLanes);
      store(re, ar + br);
      store(im, ai + bi);
      store(re + kLanes, ar - br);
      store(im + kLanes, ai - bi);
      return;
    }
    const int64_t quarter = size / 4;
    butterfly<false>(re, im, quarter, 0, 0);
    for (int64_t j = 1; j < quarter; ++j) butterfly<true>(re, im, quarter, j, j * step);
    if (quarter == 1) return;
    for (int q = 0; q < 4; ++q) {
      transform(re + q * quarter * kLanes, im + q * quarter * kLanes, quarter, step * 4);
    }
  }

  // Elements j, j + quarter, j + 2 quarter and j + 3 quarter of a block, turned by powers of exp(-2 pi i angle /
  // length).
  template <bool turned>
  MOTIVE_INLINE void butterfly(float* re, float* im, int64_t quarter, int64_t j, int64_t angle) const {
    float *r0 = re + j * kLanes, *i0 = im + j * kLanes;
    const int64_t next = quarter * kLanes;
    const Vector ar = load(r0), br = load(r0 + next), cr = load(r0 + 2 * next), dr = load(r0 + 3 * next);
    const Vector ai = load(i0), bi = load(i0 + next), ci = load(i0 + 2 * next), di = load(i0 + 3 * next);
    const Vector sr = ar + cr, si = ai + ci, tr = ar - cr, ti = ai - ci;
    const Vector ur = br + dr, ui = bi + di, vr = bi - di, vi = dr - br;
    store(r0, sr + ur);
    store(i0, si + ui);
    put<turned>(r0 + next, i0 + next, tr + vr, ti + vi, angle);
    put<turned>(r0 + 2 * next, i0 + 2 * next, sr - ur, si - ui, 2 * angle);
    put<turned>(r0 + 3 * next, i0 + 3 * next, tr - vr, ti - vi, 3 * angle);
  }

  template <bool turned>
  MOTIVE_INLINE void put(float* re, float* im, Vector r, Vector i, int64_t angle) const {
    if (!turned) {
      store(re, r);
      store(im, i);
      return;
    }
    const Vector c = broadcast(cosine_[angle]), s = broadcast(sine_[angle]);
    store(re, r * c + i * s);
    store(im, i * c - r * s);
  }

  const int64_t length_;
  const Scratch<float> cosine_, sine_;
  const Scratch<int32_t> frequency_, position_;
};

}  // namespace motive::cpu::MOTIVE_LEVEL
