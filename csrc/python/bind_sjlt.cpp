#include "bindings.h"
#include "motive/sjlt.h"

namespace motive::python {

void bind_sjlt(py::module_& m) {
  m.def(
      "sjlt_into",
      [](uintptr_t z, uintptr_t grad, int dtype, int64_t samples, int64_t columns, int64_t dim, int64_t nonzeros,
         int64_t sample_stride, uint32_t key0, uint32_t key1, float scale, int threads) {
        SparseTransform a{};
        a.z = pointer<float>(z);
        a.grad = pointer<const void>(grad);
        a.dtype = dtype_from("sjlt_into", dtype);
        a.samples = samples;
        a.columns = columns;
        a.dim = dim;
        a.nonzeros = nonzeros;
        a.sample_stride = sample_stride;
        a.key0 = key0;
        a.key1 = key1;
        a.scale = scale;
        a.threads = threads;
        cpu::sjlt_into(a);
      },
      py::kw_only(), py::arg("z"), py::arg("grad"), py::arg("dtype"), py::arg("samples"), py::arg("columns"),
      py::arg("dim"), py::arg("nonzeros"), py::arg("sample_stride"), py::arg("key0"), py::arg("key1"), py::arg("scale"),
      py::arg("threads"), WithoutGil());
}

}  // namespace motive::python
