#include "bindings.h"
#include "motive/outer_sketch.h"
#if defined(MOTIVE_CUDA_MODULE)
#include "motive/cuda/outer_sketch.h"
#endif

namespace motive::python {

MOTIVE_BINDING(outer_sketch, m) {
#if defined(MOTIVE_CUDA_MODULE)
  def_arguments<cuda::OuterSketch>(m, "OuterSketch", FIELD(z), FIELD(dtype), FIELD(samples), FIELD(tokens), FIELD(dim),
                                   FIELD(x.data), FIELD(x.columns), FIELD(x.sample_stride), FIELD(x.token_stride),
                                   FIELD(x.table), FIELD(dy.data), FIELD(dy.columns), FIELD(dy.sample_stride),
                                   FIELD(dy.token_stride), FIELD(dy.table), FIELD(lengths), FIELD(scale));
  m.def("outer_sketch_takes", &cuda::outer_sketch_takes, py::arg("dim"));
  def_op(m, "outer_sketch_into", &cuda::outer_sketch_workspace, &cuda::outer_sketch_into);
#else
  def_arguments<OuterSketch>(m, "OuterSketch", FIELD(z), FIELD(x), FIELD(dy), FIELD(dtype), FIELD(samples),
                             FIELD(tokens), FIELD(rows), FIELD(columns), FIELD(dim), FIELD(x_sample_stride),
                             FIELD(x_token_stride), FIELD(dy_sample_stride), FIELD(dy_token_stride), FIELD(row_table),
                             FIELD(column_table), FIELD(lengths), FIELD(scale), FIELD(threads));
  def_op(m, "outer_sketch_into", &cpu::outer_sketch_into);
#endif
}

}  // namespace motive::python
