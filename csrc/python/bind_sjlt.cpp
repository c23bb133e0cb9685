#include "bindings.h"
#include "motive/sjlt.h"
#if defined(MOTIVE_CUDA_MODULE)
#include "motive/cuda/sjlt.h"
#endif

namespace motive::python {

MOTIVE_BINDING(sjlt, m) {
  def_arguments<SparseTransform>(m, "SparseTransform", FIELD(z), FIELD(grad), FIELD(dtype), FIELD(samples),
                                 FIELD(columns), FIELD(dim), FIELD(nonzeros), FIELD(sample_stride), FIELD(key0),
                                 FIELD(key1), FIELD(scale), FIELD(threads));
#if defined(MOTIVE_CUDA_MODULE)
  def_op(m, "sjlt_into", &cuda::sjlt_workspace, &cuda::sjlt_into);
#else
  def_op(m, "sjlt_into", &cpu::sjlt_into);
#endif
}

}  // namespace motive::python
