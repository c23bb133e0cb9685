#include <pybind11/stl.h>

#include <tuple>
#include <vector>

#include "cuda_bindings.h"
#include "motive/cuda/tensor_sketch.h"

namespace motive::python {
namespace {

// grad, rows, columns, sample stride, row stride, row table, column table, scale.
using Entry = std::tuple<uintptr_t, int64_t, int64_t, int64_t, int64_t, uintptr_t, uintptr_t, float>;

std::vector<cuda::SketchTensor> tensors_from(const std::vector<Entry>& entries) {
  std::vector<cuda::SketchTensor> tensors;
  for (const auto& [grad, rows, columns, sample_stride, row_stride, row_table, column_table, scale] : entries) {
    tensors.push_back({pointer<const void>(grad), rows, columns, sample_stride, row_stride,
                       pointer<const int32_t>(row_table), pointer<const int32_t>(column_table), scale});
  }
  return tensors;
}

cuda::TensorSketch args_from(uintptr_t z, int dtype, int64_t samples, int64_t dim,
                             const std::vector<cuda::SketchTensor>& tensors) {
  cuda::TensorSketch a{};
  a.z = pointer<float>(z);
  a.dtype = dtype_from("tensor_sketch_into", dtype);
  a.samples = samples;
  a.dim = dim;
  a.tensors = tensors.data();
  a.count = int64_t(tensors.size());
  return a;
}

}  // namespace

void bind_tensor_sketch_cuda(py::module_& m) {
  m.def(
      "tensor_sketch_workspace",
      [](uintptr_t z, int dtype, int64_t samples, int64_t dim, const std::vector<Entry>& tensors) {
        const auto list = tensors_from(tensors);
        return cuda::tensor_sketch_workspace(args_from(z, dtype, samples, dim, list));
      },
      py::kw_only(), py::arg("z"), py::arg("dtype"), py::arg("samples"), py::arg("dim"), py::arg("tensors"));
  m.def(
      "tensor_sketch_into",
      [](uintptr_t z, int dtype, int64_t samples, int64_t dim, const std::vector<Entry>& tensors, uintptr_t workspace,
         int device, uintptr_t stream) {
        const DeviceGuard guard(device);
        const auto list = tensors_from(tensors);
        cuda::tensor_sketch_into(args_from(z, dtype, samples, dim, list), pointer<float>(workspace),
                                 pointer<void>(stream));
      },
      py::kw_only(), py::arg("z"), py::arg("dtype"), py::arg("samples"), py::arg("dim"), py::arg("tensors"),
      py::arg("workspace"), py::arg("device"), py::arg("stream"), WithoutGil());
}

}  // namespace motive::python
