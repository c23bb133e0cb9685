// What every binding of the CUDA module uses besides bindings.h.
#pragma once

#include <string>

#include "bindings.h"
#include "motive/cuda/device.h"

namespace motive::python {

// Defines NAME_workspace(args) -> floats and NAME(args, workspace, device, stream) for an op whose arguments are a
// bound class.
template <class Args>
void def_op(py::module_& m, const std::string& name, int64_t (*workspace)(const Args&),
            void (*run)(const Args&, float*, void*)) {
  m.def((name + "_workspace").c_str(), workspace, py::arg("args"));
  m.def(
      name.c_str(),
      [run](const Args& args, uintptr_t memory, int device, uintptr_t stream) {
        const cuda::DeviceGuard guard(device);
        run(args, pointer<float>(memory), pointer<void>(stream));
      },
      py::arg("args"), py::kw_only(), py::arg("workspace"), py::arg("device"), py::arg("stream"), WithoutGil());
}

}  // namespace motive::python
