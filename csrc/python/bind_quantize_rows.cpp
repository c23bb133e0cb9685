#include "bindings.h"
#include "motive/quantize_rows.h"

namespace motive::python {

void bind_quantize_rows(py::module_& m) {
  m.def(
      "quantize_rows",
      [](uintptr_t values, uintptr_t scales, uintptr_t z, int dtype, int64_t rows, int64_t dim, int64_t row_stride,
         bool unit, int threads) {
        int64_t first_broken = rows;
        QuantizeRows a{};
        a.values = pointer<int8_t>(values);
        a.scales = pointer<float>(scales);
        a.z = pointer<const void>(z);
        a.dtype = dtype_from("quantize_rows", dtype);
        a.rows = rows;
        a.dim = dim;
        a.row_stride = row_stride;
        a.unit = unit;
        a.first_broken = &first_broken;
        a.threads = threads;
        cpu::quantize_rows(a);
        return first_broken;
      },
      py::kw_only(), py::arg("values"), py::arg("scales"), py::arg("z"), py::arg("dtype"), py::arg("rows"),
      py::arg("dim"), py::arg("row_stride"), py::arg("unit"), py::arg("threads"), WithoutGil());
}

}  // namespace motive::python
