#include "outer_sketch.cuh"

namespace motive::cuda::outer_sketch {

void launch_outer_float32(const Args& args, int64_t samples, cudaStream_t stream) {
  launch_outer<float>(args, samples, stream);
}

}  // namespace motive::cuda::outer_sketch
