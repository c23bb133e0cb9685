#include "bindings.h"
#include "motive/scan.h"

namespace motive::python {

template <>
constexpr int kLast<StoreType> = int(StoreType::int8);

MOTIVE_BINDING(scan, m) {
  def_arguments<Scan>(m, "Scan", FIELD(queries), FIELD(query_scales), FIELD(count), FIELD(dim), FIELD(store),
                      FIELD(dtype), FIELD(rows), FIELD(row_stride), FIELD(row_scales), FIELD(keep), FIELD(low),
                      FIELD(high), FIELD(weights), FIELD(threads), FIELD(votes), FIELD(best), FIELD(above),
                      FIELD(reached), FIELD(lowest), FIELD(highest), FIELD(total), FIELD(listed), FIELD(capacity),
                      FIELD(listed_scores), FIELD(listed_rows), FIELD(first_broken));
  def_op(m, "scan", &cpu::scan);
}

}  // namespace motive::python
