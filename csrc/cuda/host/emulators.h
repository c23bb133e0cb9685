// One emulator an op: reads its arguments from the job in the order of its parameters, writes out.bin.
#pragma once

#include <stdexcept>

#include "block.h"
#include "job.h"

namespace motive::cuda::host {

void emulate_tensor_sketch(Job& job);
void emulate_outer_sketch(Job& job);
void emulate_weighted_loss(Job& job);
void emulate_noise_latents(Job& job);
void emulate_motion_weights(Job& job);
void emulate_dense_projection(Job& job);
void emulate_sjlt(Job& job);
void emulate_fastfood(Job& job);
void emulate_philox(Job& job);
void emulate_round(Job& job);

// z [samples, width] += the sum of [samples, count, width] partial vectors, as in reduce.cuh.
void add_partials(const std::vector<float>& partials, float* z, int64_t samples, int64_t count, int64_t width);

}  // namespace motive::cuda::host
