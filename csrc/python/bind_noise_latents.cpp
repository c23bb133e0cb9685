#include "bindings.h"
#include "motive/noise_latents.h"

namespace motive::python {

void bind_noise_latents(py::module_& m) {
  m.def(
      "noise_latents",
      [](uintptr_t noisy, uintptr_t target, uintptr_t latents, uintptr_t noise, uintptr_t sigma, int dtype,
         int64_t samples, int64_t size, int64_t noise_stride, int threads) {
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
        a.threads = threads;
        cpu::noise_latents(a);
      },
      py::kw_only(), py::arg("noisy"), py::arg("target"), py::arg("latents"), py::arg("noise"), py::arg("sigma"),
      py::arg("dtype"), py::arg("samples"), py::arg("size"), py::arg("noise_stride"), py::arg("threads"), WithoutGil());
}

}  // namespace motive::python
