// The failure of a table that does not describe its axis.
#pragma once

#include <cstdint>

namespace motive::cpu {

[[noreturn]] void bad_table(const char* where, const char* name, int64_t entry);

}  // namespace motive::cpu
