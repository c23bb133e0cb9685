#include "bindings.h"
#include "motive/outer_sketch.h"

namespace motive::python {

void bind_outer_sketch(py::module_& m) {
  m.def(
      "outer_sketch_into",
      [](uintptr_t z, uintptr_t x, uintptr_t dy, int dtype, int64_t samples, int64_t tokens, int64_t rows,
         int64_t columns, int64_t dim, int64_t x_sample_stride, int64_t x_token_stride, int64_t dy_sample_stride,
         int64_t dy_token_stride, uintptr_t row_table, uintptr_t column_table, uintptr_t lengths, float scale,
         int threads) {
        OuterSketch a{};
        a.z = pointer<float>(z);
        a.x = pointer<const void>(x);
        a.dy = pointer<const void>(dy);
        a.dtype = dtype_from("outer_sketch_into", dtype);
        a.samples = samples;
        a.tokens = tokens;
        a.rows = rows;
        a.columns = columns;
        a.dim = dim;
        a.x_sample_stride = x_sample_stride;
        a.x_token_stride = x_token_stride;
        a.dy_sample_stride = dy_sample_stride;
        a.dy_token_stride = dy_token_stride;
        a.row_table = pointer<const int32_t>(row_table);
        a.column_table = pointer<const int32_t>(column_table);
        a.lengths = pointer<const int64_t>(lengths);
        a.scale = scale;
        a.threads = threads;
        cpu::outer_sketch_into(a);
      },
      py::kw_only(), py::arg("z"), py::arg("x"), py::arg("dy"), py::arg("dtype"), py::arg("samples"), py::arg("tokens"),
      py::arg("rows"), py::arg("columns"), py::arg("dim"), py::arg("x_sample_stride"), py::arg("x_token_stride"),
      py::arg("dy_sample_stride"), py::arg("dy_token_stride"), py::arg("row_table"), py::arg("column_table"),
      py::arg("lengths"), py::arg("scale"), py::arg("threads"), WithoutGil());
}

}  // namespace motive::python
