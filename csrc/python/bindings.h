// What every binding of the CPU module uses. Tensors come as addresses (data_ptr) with sizes and strides in elements.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "motive/check.h"
#include "motive/dtype.h"

namespace motive::python {

namespace py = pybind11;

// Kernels touch no Python object, so other Python threads run meanwhile.
using WithoutGil = py::call_guard<py::gil_scoped_release>;

template <class T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

inline DType dtype_from(const char* where, int code) {
  if (code < int(DType::float32) || code > int(DType::float16)) {
    fail(where, "dtype", "0 (float32), 1 (bfloat16) or 2 (float16)", std::to_string(code), "convert the tensor");
  }
  return DType(code);
}

}  // namespace motive::python
