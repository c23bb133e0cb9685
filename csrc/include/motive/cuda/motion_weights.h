// CUDA launcher of motive/motion_weights.h. It runs on the current device and the given stream, does not synchronise,
// and can be captured in a CUDA graph.
#pragma once

#include "motive/motion_weights.h"

namespace motive::cuda {

// Floats of working memory; their contents do not matter.
int64_t motion_weights_workspace(const MotionWeights& args);

// Throws std::invalid_argument for arguments that do not fit, std::runtime_error where a launch fails.
void motion_weights(const MotionWeights& args, float* workspace, void* stream);

}  // namespace motive::cuda
