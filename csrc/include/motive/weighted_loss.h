// Motion-weighted squared error of each sample and its gradient, in one pass over the prediction.
#pragma once

#include <cstdint>

#include "motive/check.h"
#include "motive/dtype.h"

namespace motive {

// With r = prediction - target and W shared by the channels:
// loss[s] = loss_factor * sum of W r^2 over channels and cells; gradient = gradient_factor * W r.
struct WeightedLoss {
  float* loss;             // [samples]
  void* gradient;          // [samples, channels, cells], contiguous, like prediction
  const void* prediction;  // [samples, channels, cells], contiguous
  const void* target;      // [samples, channels, cells], contiguous
  const float* weights;    // [samples, cells], contiguous; null for ones
  DType dtype;             // of prediction, target and gradient
  int64_t samples, channels, cells;
  double loss_factor;
  float gradient_factor;
  int threads;  // at most; the result does not depend on it
};

inline void check(const WeightedLoss& a) {
  const char* where = "weighted_loss";
  check_size(where, "samples", a.samples, 0);
  check_size(where, "channels", a.channels, 1);
  check_size(where, "cells", a.cells, 1);
  if (a.samples == 0) return;
  check_pointer(where, "loss", a.loss);
  check_pointer(where, "gradient", a.gradient);
  check_pointer(where, "prediction", a.prediction);
  check_pointer(where, "target", a.target);
}

namespace cpu {
void weighted_loss(const WeightedLoss& args);  // throws std::invalid_argument
}

}  // namespace motive
