#include "cuda_bindings.h"
#include "motive/cuda/outer_sketch.h"

namespace motive::python {
namespace {

cuda::OuterSketch args_from(uintptr_t z, int dtype, int64_t samples, int64_t tokens, int64_t dim, uintptr_t x,
                            int64_t x_columns, int64_t x_sample_stride, int64_t x_token_stride, uintptr_t x_table,
                            uintptr_t dy, int64_t dy_columns, int64_t dy_sample_stride, int64_t dy_token_stride,
                            uintptr_t dy_table, uintptr_t lengths, float scale) {
  cuda::OuterSketch a{};
  a.z = pointer<float>(z);
  a.dtype = dtype_from("outer_sketch_into", dtype);
  a.samples = samples;
  a.tokens = tokens;
  a.dim = dim;
  a.x = {pointer<const void>(x), x_columns, x_sample_stride, x_token_stride, pointer<const int32_t>(x_table)};
  a.dy = {pointer<const void>(dy), dy_columns, dy_sample_stride, dy_token_stride, pointer<const int32_t>(dy_table)};
  a.lengths = pointer<const int64_t>(lengths);
  a.scale = scale;
  return a;
}

}  // namespace

void bind_outer_sketch_cuda(py::module_& m) {
  m.def("outer_sketch_takes", &cuda::outer_sketch_takes, py::arg("dim"));
  m.def(
      "outer_sketch_workspace",
      [](int64_t samples, int64_t tokens, int64_t dim) {
        cuda::OuterSketch a{};
        a.samples = samples;
        a.tokens = tokens;
        a.dim = dim;
        return cuda::outer_sketch_workspace(a);
      },
      py::kw_only(), py::arg("samples"), py::arg("tokens"), py::arg("dim"));
  m.def(
      "outer_sketch_into",
      [](uintptr_t z, int dtype, int64_t samples, int64_t tokens, int64_t dim, uintptr_t x, int64_t x_columns,
         int64_t x_sample_stride, int64_t x_token_stride, uintptr_t x_table, uintptr_t dy, int64_t dy_columns,
         int64_t dy_sample_stride, int64_t dy_token_stride, uintptr_t dy_table, uintptr_t lengths, float scale,
         uintptr_t workspace, int device, uintptr_t stream) {
        const DeviceGuard guard(device);
        cuda::outer_sketch_into(
            args_from(z, dtype, samples, tokens, dim, x, x_columns, x_sample_stride, x_token_stride, x_table, dy,
                      dy_columns, dy_sample_stride, dy_token_stride, dy_table, lengths, scale),
            pointer<float>(workspace), pointer<void>(stream));
      },
      py::kw_only(), py::arg("z"), py::arg("dtype"), py::arg("samples"), py::arg("tokens"), py::arg("dim"),
      py::arg("x"), py::arg("x_columns"), py::arg("x_sample_stride"), py::arg("x_token_stride"), py::arg("x_table"),
      py::arg("dy"), py::arg("dy_columns"), py::arg("dy_sample_stride"), py::arg("dy_token_stride"),
      py::arg("dy_table"), py::arg("lengths"), py::arg("scale"), py::arg("workspace"), py::arg("device"),
      py::arg("stream"), WithoutGil());
}

}  // namespace motive::python
