#include "bindings.h"
#include "motive/tensor_sketch.h"

namespace motive::python {

void bind_tensor_sketch(py::module_& m) {
  m.def(
      "tensor_sketch_into",
      [](uintptr_t z, uintptr_t grad, int dtype, int64_t samples, int64_t rows, int64_t columns, int64_t dim,
         int64_t sample_stride, int64_t row_stride, uintptr_t row_table, uintptr_t column_table, float scale,
         int threads) {
        TensorSketch a{};
        a.z = pointer<float>(z);
        a.grad = pointer<const void>(grad);
        a.dtype = dtype_from("tensor_sketch_into", dtype);
        a.samples = samples;
        a.rows = rows;
        a.columns = columns;
        a.dim = dim;
        a.sample_stride = sample_stride;
        a.row_stride = row_stride;
        a.row_table = pointer<const int32_t>(row_table);
        a.column_table = pointer<const int32_t>(column_table);
        a.scale = scale;
        a.threads = threads;
        cpu::tensor_sketch_into(a);
      },
      py::kw_only(), py::arg("z"), py::arg("grad"), py::arg("dtype"), py::arg("samples"), py::arg("rows"),
      py::arg("columns"), py::arg("dim"), py::arg("sample_stride"), py::arg("row_stride"), py::arg("row_table"),
      py::arg("column_table"), py::arg("scale"), py::arg("threads"), WithoutGil());
}

}  // namespace motive::python
