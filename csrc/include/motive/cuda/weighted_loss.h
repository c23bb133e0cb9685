// CUDA launcher of motive/weighted_loss.h. It runs on the current device and the given stream, does not synchronise,
// and can be captured in a CUDA graph.
#pragma once

#include "motive/weighted_loss.h"

namespace motive::cuda {

// Floats of working memory; their contents do not matter.
int64_t weighted_loss_workspace(const WeightedLoss& args);

// Throws std::invalid_argument for arguments that do not fit, std::runtime_error where a launch fails.
void weighted_loss(const WeightedLoss& args, float* workspace, void* stream);

}  // namespace motive::cuda
