#include "bindings.h"
#include "motive/fastfood.h"
#if defined(MOTIVE_CUDA_MODULE)
#include "motive/cuda/fastfood.h"
#endif

namespace motive::python {

MOTIVE_BINDING(fastfood, m) {
  def_arguments<Fastfood>(m, "Fastfood", FIELD(z), FIELD(grad), FIELD(dtype), FIELD(samples), FIELD(columns),
                          FIELD(dim), FIELD(tile), FIELD(labels), FIELD(sample_stride), FIELD(key0), FIELD(key1),
                          FIELD(scale), FIELD(threads));
#if defined(MOTIVE_CUDA_MODULE)
  def_op(m, "fastfood_into", &cuda::fastfood_workspace, &cuda::fastfood_into);
  m.def("fastfood_shared_bytes", &cuda::fastfood_shared_bytes, py::arg("tile"));
#else
  def_op(m, "fastfood_into", &cpu::fastfood_into);
#endif
}

}  // namespace motive::python
