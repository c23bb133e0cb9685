#include "cuda_bindings.h"
#include "motive/cuda/noise_latents.h"

namespace motive::python {
namespace {

int64_t workspace(const NoiseLatents&) { return 0; }
void run(const NoiseLatents& args, float*, void* stream) { cuda::noise_latents(args, stream); }

}  // namespace

void bind_noise_latents_cuda(py::module_& m) {
  py::class_<NoiseLatents>(m, "NoiseLatents", py::module_local())
      .def(py::init([](uintptr_t noisy, uintptr_t target, uintptr_t latents, uintptr_t noise, uintptr_t sigma,
                       int dtype, int64_t samples, int64_t size, int64_t noise_stride) {
             NoiseLatents a{};
             a.noisy = pointer<void>(noisy);
             a.target = pointer<void>(target);
             a.latents = pointer<const void>(latents);
             a.noise = pointer<const void>(noise);
             a.sigma = pointer<const float>(sigma);
             a.dtype = dtype_from("noise_latents", dtype);
             a.samples = samples;
             a.size = size;
             a.noise_stride = noise_stride;
             return a;
           }),
           py::kw_only(), py::arg("noisy"), py::arg("target"), py::arg("latents"), py::arg("noise"), py::arg("sigma"),
           py::arg("dtype"), py::arg("samples"), py::arg("size"), py::arg("noise_stride"));
  def_op(m, "noise_latents", workspace, run);
}

}  // namespace motive::python
