#include <pybind11/stl.h>

#include <array>

#include "cuda_bindings.h"
#include "motive/cuda/motion_weights.h"

namespace motive::python {
namespace {

template <class Choice>
Choice choice_from(const char* name, int code, Choice last) {
  if (code < 0 || code > int(last)) {
    fail("motion_weights", name, "0 .. " + std::to_string(int(last)), std::to_string(code), "pass the enum's value");
  }
  return Choice(code);
}

}  // namespace

void bind_motion_weights_cuda(py::module_& m) {
  py::class_<MotionWeights>(m, "MotionWeights", py::module_local())
      .def(py::init([](uintptr_t weights, uintptr_t flow, uintptr_t confidence, int dtype,
                       const std::array<int64_t, 4>& sizes, const std::array<int64_t, 3>& grid,
                       const std::array<int64_t, 4>& strides, int order, int pooling, int spatial) {
             MotionWeights a{};
             a.weights = pointer<float>(weights);
             a.flow = pointer<const void>(flow);
             a.confidence = pointer<const float>(confidence);
             a.dtype = dtype_from("motion_weights", dtype);
             a.samples = sizes[0];
             a.frames = sizes[1];
             a.height = sizes[2];
             a.width = sizes[3];
             a.latent_frames = grid[0];
             a.latent_height = grid[1];
             a.latent_width = grid[2];
             a.sample_stride = strides[0];
             a.frame_stride = strides[1];
             a.row_stride = strides[2];
             a.component_stride = strides[3];
             a.order = choice_from("order", order, MotionOrder::resize_first);
             a.pooling = choice_from("pooling", pooling, MotionPooling::trilinear);
             a.spatial = choice_from("spatial", spatial, MotionSpatial::area);
             return a;
           }),
           py::kw_only(), py::arg("weights"), py::arg("flow"), py::arg("confidence"), py::arg("dtype"),
           py::arg("sizes"), py::arg("grid"), py::arg("strides"), py::arg("order"), py::arg("pooling"),
           py::arg("spatial"));
  def_op(m, "motion_weights", &cuda::motion_weights_workspace, &cuda::motion_weights);
}

}  // namespace motive::python
