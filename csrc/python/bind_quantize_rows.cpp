#include "bindings.h"
#include "motive/quantize_rows.h"

namespace motive::python {

MOTIVE_BINDING(quantize_rows, m) {
  def_arguments<QuantizeRows>(m, "QuantizeRows", FIELD(values), FIELD(scales), FIELD(z), FIELD(dtype), FIELD(rows),
                              FIELD(dim), FIELD(row_stride), FIELD(unit), FIELD(first_broken), FIELD(threads));
  def_op(m, "quantize_rows", &cpu::quantize_rows);
}

}  // namespace motive::python
