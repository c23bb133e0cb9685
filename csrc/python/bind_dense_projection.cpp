#include "bindings.h"
#include "motive/dense_projection.h"

namespace motive::python {
namespace {

Distribution distribution_from(const std::string& name) {
  if (name == "rademacher") return Distribution::rademacher;
  if (name == "gaussian") return Distribution::gaussian;
  fail("dense_projection_into", "distribution", "rademacher or gaussian", name, "choose one");
}

}  // namespace

void bind_dense_projection(py::module_& m) {
  m.def(
      "dense_projection_into",
      [](uintptr_t z, uintptr_t grad, int dtype, const std::string& distribution, int64_t samples, int64_t columns,
         int64_t dim, int64_t sample_stride, uint32_t key0, uint32_t key1, uint32_t role, float scale, int threads) {
        DenseProjection a{};
        a.z = pointer<float>(z);
        a.grad = pointer<const void>(grad);
        a.dtype = dtype_from("dense_projection_into", dtype);
        a.distribution = distribution_from(distribution);
        a.samples = samples;
        a.columns = columns;
        a.dim = dim;
        a.sample_stride = sample_stride;
        a.key0 = key0;
        a.key1 = key1;
        a.role = role;
        a.scale = scale;
        a.threads = threads;
        cpu::dense_projection_into(a);
      },
      py::kw_only(), py::arg("z"), py::arg("grad"), py::arg("dtype"), py::arg("distribution"), py::arg("samples"),
      py::arg("columns"), py::arg("dim"), py::arg("sample_stride"), py::arg("key0"), py::arg("key1"), py::arg("role"),
      py::arg("scale"), py::arg("threads"), WithoutGil());
}

}  // namespace motive::python
