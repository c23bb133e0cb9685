// Discrete Fourier transforms of M = 2^m complex numbers in shared memory, eight points for each of M / 8 threads.
//
// Decimation in frequency without reordering: pass p of `forward` cuts blocks of M / 8^p points into eight smaller
// ones, and `forward_last` transforms the 8, 4 or 2 adjacent points that remain. Frequencies end up in a scrambled
// order, the same for every transform, which products of transforms do not notice and `inverse` undoes. There is a
// barrier between passes and none inside: a pass reads and writes the same eight points.
#pragma once

#include "packed.h"

#if !defined(__CUDA_ARCH__)
#include <cmath>
#endif

namespace motive::cuda {

struct Complex {
  float re, im;
};

MOTIVE_HOST_DEVICE static inline Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
MOTIVE_HOST_DEVICE static inline Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
MOTIVE_HOST_DEVICE static inline Complex operator*(Complex a, Complex b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
MOTIVE_HOST_DEVICE static inline Complex times_minus_i(Complex a) { return {a.im, -a.re}; }
MOTIVE_HOST_DEVICE static inline Complex conjugate(Complex a) { return {a.re, -a.im}; }

// exp(-2 pi i j / length), length a power of two.
MOTIVE_HOST_DEVICE static inline Complex root_of_unity(int j, int length) {
  Complex w;
#if defined(__CUDA_ARCH__)
  sincospif(-2.0f * float(j) / float(length), &w.im, &w.re);
#else
  const double angle = -2.0 * 3.14159265358979323846 * j / length;
  w = {float(std::cos(angle)), float(std::sin(angle))};
#endif
  return w;
}

MOTIVE_HOST_DEVICE static inline void dft2(Complex& a, Complex& b) {
  const Complex sum = a + b;
  b = a - b;
  a = sum;
}

// x[r] := sum over m of x[m] exp(-2 pi i m r / 4).
MOTIVE_HOST_DEVICE static inline void dft4(Complex& x0, Complex& x1, Complex& x2, Complex& x3) {
  const Complex a = x0 + x2, b = x0 - x2, c = x1 + x3, d = times_minus_i(x1 - x3);
  x0 = a + c;
  x1 = b + d;
  x2 = a - c;
  x3 = b - d;
}

// x[r] := sum over m of x[m] exp(-2 pi i m r / 8).
MOTIVE_HOST_DEVICE static inline void dft8(Complex (&x)[8]) {
  constexpr float h = 0.70710678118654752f;
  dft2(x[0], x[4]);
  dft2(x[1], x[5]);
  dft2(x[2], x[6]);
  dft2(x[3], x[7]);
  x[5] = {h * (x[5].re + x[5].im), h * (x[5].im - x[5].re)};   // times exp(-2 pi i / 8)
  x[6] = times_minus_i(x[6]);                                  // times its square
  x[7] = {h * (x[7].im - x[7].re), -h * (x[7].re + x[7].im)};  // times its cube
  dft4(x[0], x[1], x[2], x[3]);
  dft4(x[4], x[5], x[6], x[7]);
  const Complex x1 = x[1], x2 = x[2], x3 = x[3];
  x[1] = x[4];
  x[2] = x1;
  x[3] = x[5];
  x[4] = x2;
  x[5] = x[6];
  x[6] = x3;
}

// The last pass: transforms of 8, 4 or 2 adjacent points.
template <int Last>
MOTIVE_HOST_DEVICE static inline void dft_last(Complex (&x)[8]) {
  if constexpr (Last == 8) {
    dft8(x);
  } else if constexpr (Last == 4) {
    dft4(x[0], x[1], x[2], x[3]);
    dft4(x[4], x[5], x[6], x[7]);
  } else {
#pragma unroll
    for (int j = 0; j < 8; j += 2) dft2(x[j], x[j + 1]);
  }
}

template <int LogM>
struct Fft {
  static constexpr int M = 1 << LogM;
  static constexpr int kThreads = M / 8;
  static constexpr int kPasses = (LogM - 1) / 3;  // of eight points each, with twiddle factors
  static constexpr int kLast = 1 << (LogM - 3 * kPasses);

  // A thread's twiddle factor in each pass; its powers are made when they are needed, which spares registers.
  struct Twiddles {
    Complex of[kPasses];
  };

  MOTIVE_HOST_DEVICE static Twiddles twiddles(int thread) {
    Twiddles t;
#pragma unroll
    for (int p = 0; p < kPasses; ++p) {
      const int length = M >> (3 * p);
      t.of[p] = root_of_unity(thread % (length / 8), length);
    }
    return t;
  }

  // Where point `index` lies: the accesses of each pass by 32 neighbouring threads meet 32 different banks (M = 512).
  MOTIVE_HOST_DEVICE static int place(int index) { return index ^ ((index >> 5) & 7) ^ (((index >> 6) & 3) << 3); }

  // First of a thread's points in a pass; the others follow at distances of stride(pass).
  MOTIVE_HOST_DEVICE static constexpr int stride(int pass) { return pass == kPasses ? 1 : M >> (3 * pass + 3); }
  MOTIVE_HOST_DEVICE static int first(int pass, int thread) {
    const int s = stride(pass);
    return thread / s * (8 * s) + thread % s;
  }

  MOTIVE_HOST_DEVICE static void load(Complex (&x)[8], const float* re, const float* im, int pass, int thread) {
    const int base = first(pass, thread);
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      const int at = place(base + r * stride(pass));
      x[r] = {re[at], im[at]};
    }
  }

  MOTIVE_HOST_DEVICE static void store(const Complex (&x)[8], float* re, float* im, int pass, int thread) {
    const int base = first(pass, thread);
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      const int at = place(base + r * stride(pass));
      re[at] = x[r].re;
      im[at] = x[r].im;
    }
  }

  // x[r] *= w^r.
  MOTIVE_HOST_DEVICE static void twist(Complex (&x)[8], Complex w) {
    const Complex w2 = w * w, w3 = w2 * w, w4 = w2 * w2;
    x[1] = x[1] * w;
    x[2] = x[2] * w2;
    x[3] = x[3] * w3;
    x[4] = x[4] * w4;
    x[5] = x[5] * (w * w4);
    x[6] = x[6] * (w2 * w4);
    x[7] = x[7] * (w3 * w4);
  }

  // `im_factor` scales the imaginary parts on the way in.
  MOTIVE_HOST_DEVICE static void forward(const Twiddles& t, float* re, float* im, int pass, int thread,
                                         float im_factor) {
    Complex x[8];
    load(x, re, im, pass, thread);
#pragma unroll
    for (int r = 0; r < 8; ++r) x[r].im *= im_factor;
    dft8(x);
    twist(x, t.of[pass]);
    store(x, re, im, pass, thread);
  }

  // Leaves the thread's frequencies in x: the points 8 * thread .. 8 * thread + 7.
  MOTIVE_HOST_DEVICE static void forward_last(Complex (&x)[8], const float* re, const float* im, int thread) {
    load(x, re, im, kPasses, thread);
    dft_last<kLast>(x);
  }

  // The passes backwards, without the factor 1 / M. Swapping the parts turns a transform into its inverse.
  MOTIVE_HOST_DEVICE static void inverse_last(float* re, float* im, int thread) {
    Complex x[8];
    load(x, im, re, kPasses, thread);
    dft_last<kLast>(x);
    store(x, im, re, kPasses, thread);
  }

  MOTIVE_HOST_DEVICE static void inverse(const Twiddles& t, float* re, float* im, int pass, int thread) {
    Complex x[8];
    load(x, im, re, pass, thread);
    twist(x, t.of[pass]);
    dft8(x);
    store(x, im, re, pass, thread);
  }
};

}  // namespace motive::cuda
