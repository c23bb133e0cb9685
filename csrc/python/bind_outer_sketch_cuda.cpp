#include <pybind11/stl.h>

#include <tuple>

#include "cuda_bindings.h"
#include "motive/cuda/outer_sketch.h"

namespace motive::python {
namespace {

// data, columns, sample stride, token stride, table.
using Side = std::tuple<uintptr_t, int64_t, int64_t, int64_t, uintptr_t>;

cuda::TokenSide side_from(const Side& side) {
  const auto& [data, columns, sample_stride, token_stride, table] = side;
  return {pointer<const void>(data), columns, sample_stride, token_stride, pointer<const int32_t>(table)};
}

}  // namespace

void bind_outer_sketch_cuda(py::module_& m) {
  using cuda::OuterSketch;
  m.def("outer_sketch_takes", &cuda::outer_sketch_takes, py::arg("dim"));
  py::class_<OuterSketch>(m, "OuterSketch", py::module_local())
      .def(py::init([](uintptr_t z, int dtype, int64_t samples, int64_t tokens, int64_t dim, const Side& x,
                       const Side& dy, uintptr_t lengths, float scale) {
             OuterSketch a{};
             a.z = pointer<float>(z);
             a.dtype = dtype_from("outer_sketch_into", dtype);
             a.samples = samples;
             a.tokens = tokens;
             a.dim = dim;
             a.x = side_from(x);
             a.dy = side_from(dy);
             a.lengths = pointer<const int64_t>(lengths);
             a.scale = scale;
             return a;
           }),
           py::kw_only(), py::arg("z"), py::arg("dtype"), py::arg("samples"), py::arg("tokens"), py::arg("dim"),
           py::arg("x"), py::arg("dy"), py::arg("lengths"), py::arg("scale"));
  def_op(m, "outer_sketch_into", &cuda::outer_sketch_workspace, &cuda::outer_sketch_into);
}

}  // namespace motive::python
