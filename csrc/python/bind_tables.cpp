#include "bindings.h"
#include "motive/tables.h"

namespace motive::python {
namespace {

Role role_from(int role) {
  if (role < 0 || role > 2) fail("gather_table", "role", "0, 1 or 2", std::to_string(role), "use tables.ROLE_*");
  return Role(role);
}

}  // namespace

// The generator and tables of motive/philox.h and motive/tables.h: the tests hold them against philox.py and tables.py.
MOTIVE_BINDING(tables, m) {
  m.def("philox4x32", [](uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1) {
    const PhiloxBlock block = philox4x32({{c0, c1, c2, c3}}, {{k0, k1}});
    return py::make_tuple(block.words[0], block.words[1], block.words[2], block.words[3]);
  });
  m.def("parameter_key", [](const std::string& kind, uint64_t seed, const std::string& name) {
    const PhiloxKey key = parameter_key(kind.c_str(), seed, name.c_str());
    return py::make_tuple(key.words[0], key.words[1]);
  });
  // The little-endian int32 entries of the table as bytes.
  m.def("gather_table", [](uint32_t k0, uint32_t k1, int role, int64_t length, int64_t dim, uint32_t term) {
    const std::vector<int32_t> entries =
        gather_table(balanced_buckets({{k0, k1}}, role_from(role), length, dim, term), dim);
    return py::bytes(reinterpret_cast<const char*>(entries.data()), entries.size() * sizeof(int32_t));
  });
}

}  // namespace motive::python
