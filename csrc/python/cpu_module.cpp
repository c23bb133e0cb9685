// motive_kernels._cpu: every CPU op, one bind_<op>.cpp each.
#include "bindings.h"
#include "common/features.h"

namespace motive::python {

void bind_dense_projection(py::module_& m);
void bind_fastfood(py::module_& m);
void bind_motion_weights(py::module_& m);
void bind_noise_latents(py::module_& m);
void bind_outer_sketch(py::module_& m);
void bind_kronecker(py::module_& m);
void bind_quantize_rows(py::module_& m);
void bind_scan(py::module_& m);
void bind_sjlt(py::module_& m);
void bind_tables(py::module_& m);
void bind_tensor_sketch(py::module_& m);
void bind_weighted_loss(py::module_& m);

namespace {

cpu::Level level_from(const std::string& name) {
  for (const cpu::Level value : {cpu::Level::baseline, cpu::Level::avx2, cpu::Level::avx512}) {
    if (name == cpu::level_name(value)) return value;
  }
  fail("limit_level", "level", "baseline, avx2 or avx512", name, "choose one");
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
  m.doc() = "CPU kernels of motive_kernels; call them through motive_kernels.";
  m.def("level", [] { return cpu::level_name(cpu::level()); });
  m.def("best_level", [] { return cpu::level_name(cpu::best_level()); });
  m.def("limit_level", [](const std::string& name) { cpu::limit_level(level_from(name)); });
  bind_dense_projection(m);
  bind_fastfood(m);
  bind_motion_weights(m);
  bind_noise_latents(m);
  bind_outer_sketch(m);
  bind_kronecker(m);
  bind_quantize_rows(m);
  bind_scan(m);
  bind_sjlt(m);
  bind_tables(m);
  bind_tensor_sketch(m);
  bind_weighted_loss(m);
}

}  // namespace motive::python
