#include "outer_sketch.cuh"

namespace motive::cuda::outer_sketch {

void launch_outer_float16(const Args& args, int64_t samples, cudaStream_t stream) {
  launch_outer<float16>(args, samples, stream);
}

}  // namespace motive::cuda::outer_sketch
