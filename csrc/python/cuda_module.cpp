// motive_kernels._cuda: every CUDA op, one bind_<op>_cuda.cpp each. cudart is linked statically, so the module also
// imports where there is no driver.
#include "cuda_bindings.h"

namespace motive::python {

void bind_dense_projection_cuda(py::module_& m);
void bind_fastfood_cuda(py::module_& m);
void bind_motion_weights_cuda(py::module_& m);
void bind_noise_latents_cuda(py::module_& m);
void bind_outer_sketch_cuda(py::module_& m);
void bind_sjlt_cuda(py::module_& m);
void bind_tensor_sketch_cuda(py::module_& m);
void bind_weighted_loss_cuda(py::module_& m);

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "CUDA kernels of motive_kernels; call them through motive_kernels.";
  bind_dense_projection_cuda(m);
  bind_fastfood_cuda(m);
  bind_motion_weights_cuda(m);
  bind_noise_latents_cuda(m);
  bind_outer_sketch_cuda(m);
  bind_sjlt_cuda(m);
  bind_tensor_sketch_cuda(m);
  bind_weighted_loss_cuda(m);
}

}  // namespace motive::python
