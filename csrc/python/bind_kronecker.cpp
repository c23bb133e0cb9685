#include "bindings.h"
#include "motive/kronecker.h"

namespace motive::python {

MOTIVE_BINDING(kronecker, m) {
  def_arguments<Kronecker>(m, "Kronecker", FIELD(z), FIELD(grad), FIELD(dtype), FIELD(samples), FIELD(rows),
                           FIELD(columns), FIELD(sample_stride), FIELD(row_stride), FIELD(factors.left),
                           FIELD(factors.right), FIELD(factors.left_rows), FIELD(factors.right_rows), FIELD(scale),
                           FIELD(threads));
  def_arguments<KroneckerOuter>(m, "KroneckerOuter", FIELD(z), FIELD(x), FIELD(dy), FIELD(dtype), FIELD(samples),
                                FIELD(tokens), FIELD(rows), FIELD(columns), FIELD(x_sample_stride),
                                FIELD(x_token_stride), FIELD(dy_sample_stride), FIELD(dy_token_stride),
                                FIELD(factors.left), FIELD(factors.right), FIELD(factors.left_rows),
                                FIELD(factors.right_rows), FIELD(lengths), FIELD(scale), FIELD(threads));
  def_op(m, "kronecker_into", &cpu::kronecker_into);
  def_op(m, "kronecker_outer_into", &cpu::kronecker_outer_into);
}

}  // namespace motive::python
