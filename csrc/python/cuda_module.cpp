// motive_kernels._cuda: every bind_<op>.cpp of an op with a CUDA launcher, which registers itself. cudart is linked
// statically, so the module also imports where there is no driver.
#include "bindings.h"

namespace motive::python {

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "CUDA kernels of motive_kernels; call them through motive_kernels.";
  m.def("driver_version", &cuda::driver_version);
  m.def(
      "shared_limit",
      [](int device) {
        const cuda::DeviceGuard guard(device);
        return cuda::shared_limit();
      },
      py::arg("device"));
  for (const Register bind : bindings()) bind(m);
}

}  // namespace motive::python
