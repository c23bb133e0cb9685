#include "cuda_bindings.h"
#include "flat_args.h"
#include "motive/cuda/sjlt.h"

namespace motive::python {

void bind_sjlt_cuda(py::module_& m) {
  py::class_<SparseTransform>(m, "SparseTransform", py::module_local())
      .def(py::init([](uintptr_t z, uintptr_t grad, int dtype, int64_t samples, int64_t columns, int64_t dim,
                       int64_t sample_stride, uint32_t key0, uint32_t key1, float scale, int64_t nonzeros) {
             auto a = flat_args<SparseTransform>("sjlt_into", z, grad, dtype, samples, columns, dim, sample_stride,
                                                 key0, key1, scale);
             a.nonzeros = nonzeros;
             return a;
           }),
           py::kw_only(), py::arg("z"), py::arg("grad"), py::arg("dtype"), py::arg("samples"), py::arg("columns"),
           py::arg("dim"), py::arg("sample_stride"), py::arg("key0"), py::arg("key1"), py::arg("scale"),
           py::arg("nonzeros"));
  def_op(m, "sjlt_into", &cuda::sjlt_workspace, &cuda::sjlt_into);
}

}  // namespace motive::python
