#include "cuda_bindings.h"
#include "motive/cuda/weighted_loss.h"

namespace motive::python {

void bind_weighted_loss_cuda(py::module_& m) {
  py::class_<WeightedLoss>(m, "WeightedLoss", py::module_local())
      .def(py::init([](uintptr_t loss, uintptr_t gradient, uintptr_t prediction, uintptr_t target, uintptr_t weights,
                       int dtype, int64_t samples, int64_t channels, int64_t cells, double loss_factor,
                       float gradient_factor) {
             WeightedLoss a{};
             a.loss = pointer<float>(loss);
             a.gradient = pointer<void>(gradient);
             a.prediction = pointer<const void>(prediction);
             a.target = pointer<const void>(target);
             a.weights = pointer<const float>(weights);
             a.dtype = dtype_from("weighted_loss", dtype);
             a.samples = samples;
             a.channels = channels;
             a.cells = cells;
             a.loss_factor = loss_factor;
             a.gradient_factor = gradient_factor;
             return a;
           }),
           py::kw_only(), py::arg("loss"), py::arg("gradient"), py::arg("prediction"), py::arg("target"),
           py::arg("weights"), py::arg("dtype"), py::arg("samples"), py::arg("channels"), py::arg("cells"),
           py::arg("loss_factor"), py::arg("gradient_factor"));
  def_op(m, "weighted_loss", &cuda::weighted_loss_workspace, &cuda::weighted_loss);
}

}  // namespace motive::python
