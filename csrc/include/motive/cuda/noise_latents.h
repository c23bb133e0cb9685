// CUDA launcher of motive/noise_latents.h. It runs on the current device and the given stream, does not synchronise,
// and can be captured in a CUDA graph.
#pragma once

#include "motive/noise_latents.h"

namespace motive::cuda {

// Throws std::invalid_argument for arguments that do not fit, std::runtime_error where a launch fails.
void noise_latents(const NoiseLatents& args, void* stream);

}  // namespace motive::cuda
