#include "bindings.h"
#include "motive/kronecker.h"

namespace motive::python {
namespace {

KroneckerFactors factors_from(uintptr_t left, uintptr_t right, int64_t left_rows, int64_t right_rows) {
  return {pointer<const float>(left), pointer<const float>(right), left_rows, right_rows};
}

}  // namespace

void bind_kronecker(py::module_& m) {
  m.def(
      "kronecker_into",
      [](uintptr_t z, uintptr_t grad, int dtype, int64_t samples, int64_t rows, int64_t columns, int64_t sample_stride,
         int64_t row_stride, uintptr_t left, uintptr_t right, int64_t left_rows, int64_t right_rows, float scale,
         int threads) {
        Kronecker a{};
        a.z = pointer<float>(z);
        a.grad = pointer<const void>(grad);
        a.dtype = dtype_from("kronecker_into", dtype);
        a.samples = samples;
        a.rows = rows;
        a.columns = columns;
        a.sample_stride = sample_stride;
        a.row_stride = row_stride;
        a.factors = factors_from(left, right, left_rows, right_rows);
        a.scale = scale;
        a.threads = threads;
        cpu::kronecker_into(a);
      },
      py::kw_only(), py::arg("z"), py::arg("grad"), py::arg("dtype"), py::arg("samples"), py::arg("rows"),
      py::arg("columns"), py::arg("sample_stride"), py::arg("row_stride"), py::arg("left"), py::arg("right"),
      py::arg("left_rows"), py::arg("right_rows"), py::arg("scale"), py::arg("threads"), WithoutGil());
  m.def(
      "kronecker_outer_into",
      [](uintptr_t z, uintptr_t x, uintptr_t dy, int dtype, int64_t samples, int64_t tokens, int64_t rows,
         int64_t columns, int64_t x_sample_stride, int64_t x_token_stride, int64_t dy_sample_stride,
         int64_t dy_token_stride, uintptr_t left, uintptr_t right, int64_t left_rows, int64_t right_rows,
         uintptr_t lengths, float scale, int threads) {
        KroneckerOuter a{};
        a.z = pointer<float>(z);
        a.x = pointer<const void>(x);
        a.dy = pointer<const void>(dy);
        a.dtype = dtype_from("kronecker_outer_into", dtype);
        a.samples = samples;
        a.tokens = tokens;
        a.rows = rows;
        a.columns = columns;
        a.x_sample_stride = x_sample_stride;
        a.x_token_stride = x_token_stride;
        a.dy_sample_stride = dy_sample_stride;
        a.dy_token_stride = dy_token_stride;
        a.factors = factors_from(left, right, left_rows, right_rows);
        a.lengths = pointer<const int64_t>(lengths);
        a.scale = scale;
        a.threads = threads;
        cpu::kronecker_outer_into(a);
      },
      py::kw_only(), py::arg("z"), py::arg("x"), py::arg("dy"), py::arg("dtype"), py::arg("samples"), py::arg("tokens"),
      py::arg("rows"), py::arg("columns"), py::arg("x_sample_stride"), py::arg("x_token_stride"),
      py::arg("dy_sample_stride"), py::arg("dy_token_stride"), py::arg("left"), py::arg("right"), py::arg("left_rows"),
      py::arg("right_rows"), py::arg("lengths"), py::arg("scale"), py::arg("threads"), WithoutGil());
}

}  // namespace motive::python
