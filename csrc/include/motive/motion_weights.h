// Motion weights of clips on a latent grid: flow magnitude, min-max normalised, resized in space and pooled in time.
#pragma once

#include <cstdint>

#include "motive/check.h"
#include "motive/dtype.h"

namespace motive {

enum class MotionOrder : int { normalise_first = 0, resize_first = 1 };
enum class MotionPooling : int { causal_mean = 0, causal_max = 1, stride = 2, trilinear = 3 };
enum class MotionSpatial : int { bilinear = 0, area = 1 };

// Added to the range that divides.
constexpr float kMotionEpsilon = 1e-6f;

// Equal magnitudes must stay bitwise equal through the interpolation: normalising turns a difference of one rounding
// into a weight of order one. Hence interpolation as a + w (b - a), means relative to one member, and no fused
// multiply-add that lets a magnitude into a difference before it is rounded.
//
// A magnitude that is not finite makes every weight of its clip NaN.
struct MotionWeights {
  float* weights;           // [samples, latent_frames, latent_height, latent_width], contiguous
  const void* flow;         // [samples, frames, height, width, 2]
  const float* confidence;  // [samples, frames, height, width], contiguous; null for ones
  DType dtype;              // of flow
  int64_t samples, frames, height, width;
  int64_t latent_frames, latent_height, latent_width;
  int64_t sample_stride, frame_stride, row_stride;  // of flow, in elements; any value, also 0
  int64_t component_stride;  // 1: (dx, dy) adjacent and pixels next to each other; else: a plane each, pixels adjacent
  MotionOrder order;
  MotionPooling pooling;  // all but trilinear: frames - 1 is a multiple of latent_frames - 1
  MotionSpatial spatial;
  int threads;  // at most; the result does not depend on it
};

inline void check(const MotionWeights& a) {
  const char* where = "motion_weights";
  check_size(where, "samples", a.samples, 0);
  check_size(where, "frames", a.frames, 1);
  check_size(where, "height", a.height, 1);
  check_size(where, "width", a.width, 1);
  check_size(where, "latent_frames", a.latent_frames, 1);
  check_size(where, "latent_height", a.latent_height, 1);
  check_size(where, "latent_width", a.latent_width, 1);
  const bool divides =
      a.latent_frames == 1 ? a.frames == 1 : a.frames > 1 && (a.frames - 1) % (a.latent_frames - 1) == 0;
  if (a.pooling != MotionPooling::trilinear && !divides) {
    fail(where, "frames", "1 more than a multiple of latent_frames - 1", std::to_string(a.frames), "trim the clip");
  }
  if (a.samples == 0) return;
  check_pointer(where, "weights", a.weights);
  check_pointer(where, "flow", a.flow);
}

namespace cpu {
void motion_weights(const MotionWeights& args);  // throws std::invalid_argument
}

}  // namespace motive
