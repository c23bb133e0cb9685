#include "bindings.h"
#include "motive/motion_weights.h"
#if defined(MOTIVE_CUDA_MODULE)
#include "motive/cuda/motion_weights.h"
#endif

namespace motive::python {

template <>
constexpr int kLast<MotionOrder> = int(MotionOrder::resize_first);
template <>
constexpr int kLast<MotionPooling> = int(MotionPooling::trilinear);
template <>
constexpr int kLast<MotionSpatial> = int(MotionSpatial::area);

MOTIVE_BINDING(motion_weights, m) {
  def_arguments<MotionWeights>(m, "MotionWeights", FIELD(weights), FIELD(flow), FIELD(confidence), FIELD(dtype),
                               FIELD(samples), FIELD(frames), FIELD(height), FIELD(width), FIELD(latent_frames),
                               FIELD(latent_height), FIELD(latent_width), FIELD(sample_stride), FIELD(frame_stride),
                               FIELD(row_stride), FIELD(component_stride), FIELD(order), FIELD(pooling), FIELD(spatial),
                               FIELD(threads));
#if defined(MOTIVE_CUDA_MODULE)
  def_op(m, "motion_weights", &cuda::motion_weights_workspace, &cuda::motion_weights);
#else
  def_op(m, "motion_weights", &cpu::motion_weights);
#endif
}

}  // namespace motive::python
