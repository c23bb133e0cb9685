#include "bindings.h"
#include "motive/tensor_sketch.h"
#if defined(MOTIVE_CUDA_MODULE)
#include "motive/cuda/tensor_sketch.h"
#endif

namespace motive::python {

#if defined(MOTIVE_CUDA_MODULE)
// The arguments with the gradients that they point to.
struct SketchList : cuda::TensorSketch {
  std::vector<cuda::SketchTensor> parts;

  cuda::TensorSketch get() const {
    cuda::TensorSketch a = *this;
    a.tensors = parts.data();
    a.count = int64_t(parts.size());
    return a;
  }
};
#endif

MOTIVE_BINDING(tensor_sketch, m) {
#if defined(MOTIVE_CUDA_MODULE)
  def_arguments<cuda::SketchTensor>(m, "SketchTensor", FIELD(grad), FIELD(rows), FIELD(columns), FIELD(sample_stride),
                                    FIELD(row_stride), FIELD(row_table), FIELD(column_table), FIELD(scale));
  def_arguments<SketchList>(m, "TensorSketch", FIELD(z), FIELD(dtype), FIELD(samples), FIELD(dim), FIELD(parts));
  def_launch<SketchList>(
      m, "tensor_sketch_into", [](const SketchList& a) { return cuda::tensor_sketch_workspace(a.get()); },
      [](const SketchList& a, float* memory, void* stream) { cuda::tensor_sketch_into(a.get(), memory, stream); });
#else
  def_arguments<TensorSketch>(m, "TensorSketch", FIELD(z), FIELD(grad), FIELD(dtype), FIELD(samples), FIELD(rows),
                              FIELD(columns), FIELD(dim), FIELD(sample_stride), FIELD(row_stride), FIELD(row_table),
                              FIELD(column_table), FIELD(scale), FIELD(threads));
  def_op(m, "tensor_sketch_into", &cpu::tensor_sketch_into);
#endif
}

}  // namespace motive::python
