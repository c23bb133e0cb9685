#include "bindings.h"
#include "motive/weighted_loss.h"
#if defined(MOTIVE_CUDA_MODULE)
#include "motive/cuda/weighted_loss.h"
#endif

namespace motive::python {

MOTIVE_BINDING(weighted_loss, m) {
  def_arguments<WeightedLoss>(m, "WeightedLoss", FIELD(loss), FIELD(gradient), FIELD(prediction), FIELD(target),
                              FIELD(weights), FIELD(dtype), FIELD(samples), FIELD(channels), FIELD(cells),
                              FIELD(loss_factor), FIELD(gradient_factor), FIELD(threads));
#if defined(MOTIVE_CUDA_MODULE)
  def_op(m, "weighted_loss", &cuda::weighted_loss_workspace, &cuda::weighted_loss);
#else
  def_op(m, "weighted_loss", &cpu::weighted_loss);
#endif
}

}  // namespace motive::python
