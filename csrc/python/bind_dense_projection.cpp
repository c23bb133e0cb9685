#include "bindings.h"
#include "motive/dense_projection.h"
#if defined(MOTIVE_CUDA_MODULE)
#include "motive/cuda/dense_projection.h"
#endif

namespace motive::python {

template <>
constexpr int kLast<Distribution> = int(Distribution::gaussian);

MOTIVE_BINDING(dense_projection, m) {
  def_arguments<DenseProjection>(m, "DenseProjection", FIELD(z), FIELD(grad), FIELD(dtype), FIELD(samples),
                                 FIELD(columns), FIELD(dim), FIELD(distribution), FIELD(role), FIELD(sample_stride),
                                 FIELD(key0), FIELD(key1), FIELD(scale), FIELD(threads));
#if defined(MOTIVE_CUDA_MODULE)
  def_op(m, "dense_projection_into", &cuda::dense_projection_workspace, &cuda::dense_projection_into);
#else
  def_op(m, "dense_projection_into", &cpu::dense_projection_into);
#endif
}

}  // namespace motive::python
