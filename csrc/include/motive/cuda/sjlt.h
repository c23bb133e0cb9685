// CUDA launcher of motive/sjlt.h. It runs on the current device and the given stream, does not synchronise, and can be
// captured in a CUDA graph.
#pragma once

#include "motive/sjlt.h"

namespace motive::cuda {

// Floats of working memory; their contents do not matter.
int64_t sjlt_workspace(const SparseTransform& args);

// Throws std::invalid_argument for arguments that do not fit, std::runtime_error where a launch fails.
void sjlt_into(const SparseTransform& args, float* workspace, void* stream);

}  // namespace motive::cuda
