#include "bad_table.h"

#include "motive/check.h"

namespace motive::cpu {

void bad_table(const char* where, const char* name, int64_t entry) {
  fail(where, name, "a gather table with one entry for each index of its axis", "entry " + std::to_string(entry),
       "build it with gather_table");
}

}  // namespace motive::cpu
