#include "bindings.h"
#include "motive/noise_latents.h"
#if defined(MOTIVE_CUDA_MODULE)
#include "motive/cuda/noise_latents.h"
#endif

namespace motive::python {

MOTIVE_BINDING(noise_latents, m) {
  def_arguments<NoiseLatents>(m, "NoiseLatents", FIELD(noisy), FIELD(target), FIELD(latents), FIELD(noise),
                              FIELD(sigma), FIELD(dtype), FIELD(samples), FIELD(size), FIELD(noise_stride),
                              FIELD(threads));
#if defined(MOTIVE_CUDA_MODULE)
  def_op(m, "noise_latents", &cuda::noise_latents);
#else
  def_op(m, "noise_latents", &cpu::noise_latents);
#endif
}

}  // namespace motive::python
