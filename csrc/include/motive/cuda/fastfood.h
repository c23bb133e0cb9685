// CUDA launcher of motive/fastfood.h. It runs on the current device and the given stream, does not synchronise, and can
// be captured in a CUDA graph.
#pragma once

#include "motive/fastfood.h"

namespace motive::cuda {

// Widest tile, on a device that gives a block fastfood_shared_bytes of it.
constexpr int64_t kMaxFastfoodTile = 32768;

// Bytes of shared memory that a block needs for a tile; shared_limit() (device.h) says what it may have.
int64_t fastfood_shared_bytes(int64_t tile);

// Floats of working memory; their contents do not matter.
int64_t fastfood_workspace(const Fastfood& args);

// The labels are in device memory and are not checked. Throws std::invalid_argument for arguments that do not fit,
// std::runtime_error where a launch fails.
void fastfood_into(const Fastfood& args, float* workspace, void* stream);

}  // namespace motive::cuda
