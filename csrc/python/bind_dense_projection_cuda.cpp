#include "cuda_bindings.h"
#include "flat_args.h"
#include "motive/cuda/dense_projection.h"

namespace motive::python {

void bind_dense_projection_cuda(py::module_& m) {
  py::class_<DenseProjection>(m, "DenseProjection", py::module_local())
      .def(py::init([](uintptr_t z, uintptr_t grad, int dtype, int64_t samples, int64_t columns, int64_t dim,
                       int64_t sample_stride, uint32_t key0, uint32_t key1, float scale, bool gaussian, uint32_t role) {
             auto a = flat_args<DenseProjection>("dense_projection_into", z, grad, dtype, samples, columns, dim,
                                                 sample_stride, key0, key1, scale);
             a.distribution = gaussian ? Distribution::gaussian : Distribution::rademacher;
             a.role = role;
             return a;
           }),
           py::kw_only(), py::arg("z"), py::arg("grad"), py::arg("dtype"), py::arg("samples"), py::arg("columns"),
           py::arg("dim"), py::arg("sample_stride"), py::arg("key0"), py::arg("key1"), py::arg("scale"),
           py::arg("gaussian"), py::arg("role"));
  def_op(m, "dense_projection_into", &cuda::dense_projection_workspace, &cuda::dense_projection_into);
}

}  // namespace motive::python
