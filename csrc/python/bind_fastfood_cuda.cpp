#include "cuda_bindings.h"
#include "flat_args.h"
#include "motive/cuda/fastfood.h"

namespace motive::python {

void bind_fastfood_cuda(py::module_& m) {
  py::class_<Fastfood>(m, "Fastfood", py::module_local())
      .def(py::init([](uintptr_t z, uintptr_t grad, int dtype, int64_t samples, int64_t columns, int64_t dim,
                       int64_t sample_stride, uint32_t key0, uint32_t key1, float scale, int64_t tile,
                       uintptr_t labels) {
             auto a = flat_args<Fastfood>("fastfood_into", z, grad, dtype, samples, columns, dim, sample_stride, key0,
                                          key1, scale);
             a.tile = tile;
             a.labels = pointer<const int32_t>(labels);
             return a;
           }),
           py::kw_only(), py::arg("z"), py::arg("grad"), py::arg("dtype"), py::arg("samples"), py::arg("columns"),
           py::arg("dim"), py::arg("sample_stride"), py::arg("key0"), py::arg("key1"), py::arg("scale"),
           py::arg("tile"), py::arg("labels"));
  m.attr("max_fastfood_tile") = cuda::kMaxFastfoodTile;
  def_op(m, "fastfood_into", &cuda::fastfood_workspace, &cuda::fastfood_into);
}

}  // namespace motive::python
