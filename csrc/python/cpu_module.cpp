// motive_kernels._cpu: every bind_<op>.cpp, which registers itself.
#include "bindings.h"
#include "common/features.h"

namespace motive::python {
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
  for (const Register bind : bindings()) bind(m);
}

}  // namespace motive::python
