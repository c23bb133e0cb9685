// CUDA launcher of motive/dense_projection.h. It runs on the current device and the given stream, does not synchronise,
// and can be captured in a CUDA graph.
#pragma once

#include "motive/dense_projection.h"

namespace motive::cuda {

// Floats of working memory; their contents do not matter.
int64_t dense_projection_workspace(const DenseProjection& args);

// Throws std::invalid_argument for arguments that do not fit, std::runtime_error where a launch fails.
void dense_projection_into(const DenseProjection& args, float* workspace, void* stream);

}  // namespace motive::cuda
