#include <pybind11/stl.h>

#include <tuple>
#include <vector>

#include "cuda_bindings.h"
#include "motive/cuda/tensor_sketch.h"

namespace motive::python {
namespace {

// grad, rows, columns, sample stride, row stride, row table, column table, scale.
using Entry = std::tuple<uintptr_t, int64_t, int64_t, int64_t, int64_t, uintptr_t, uintptr_t, float>;

// The arguments with the list that they point to.
struct TensorSketchArgs {
  cuda::TensorSketch args{};
  std::vector<cuda::SketchTensor> tensors;

  cuda::TensorSketch get() const {
    cuda::TensorSketch a = args;
    a.tensors = tensors.data();
    a.count = int64_t(tensors.size());
    return a;
  }
};

}  // namespace

void bind_tensor_sketch_cuda(py::module_& m) {
  py::class_<TensorSketchArgs>(m, "TensorSketch", py::module_local())
      .def(py::init([](uintptr_t z, int dtype, int64_t samples, int64_t dim, const std::vector<Entry>& tensors) {
             TensorSketchArgs a;
             a.args.z = pointer<float>(z);
             a.args.dtype = dtype_from("tensor_sketch_into", dtype);
             a.args.samples = samples;
             a.args.dim = dim;
             for (const auto& [grad, rows, columns, sample_stride, row_stride, row_table, column_table, scale] :
                  tensors) {
               a.tensors.push_back({pointer<const void>(grad), rows, columns, sample_stride, row_stride,
                                    pointer<const int32_t>(row_table), pointer<const int32_t>(column_table), scale});
             }
             return a;
           }),
           py::kw_only(), py::arg("z"), py::arg("dtype"), py::arg("samples"), py::arg("dim"), py::arg("tensors"));
  def_op<TensorSketchArgs>(
      m, "tensor_sketch_into", [](const TensorSketchArgs& a) { return cuda::tensor_sketch_workspace(a.get()); },
      [](const TensorSketchArgs& a, float* memory, void* stream) {
        cuda::tensor_sketch_into(a.get(), memory, stream);
      });
}

}  // namespace motive::python
