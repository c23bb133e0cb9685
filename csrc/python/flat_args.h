// Arguments that the projections of flattened gradients share.
#pragma once

#include "bindings.h"

namespace motive::python {

// Fills the fields that every such struct has.
template <class Args>
Args flat_args(const char* where, uintptr_t z, uintptr_t grad, int dtype, int64_t samples, int64_t columns, int64_t dim,
               int64_t sample_stride, uint32_t key0, uint32_t key1, float scale) {
  Args a{};
  a.z = pointer<float>(z);
  a.grad = pointer<const void>(grad);
  a.dtype = dtype_from(where, dtype);
  a.samples = samples;
  a.columns = columns;
  a.dim = dim;
  a.sample_stride = sample_stride;
  a.key0 = key0;
  a.key1 = key1;
  a.scale = scale;
  return a;
}

}  // namespace motive::python
