// cp.async by the names of CUDA's header.
#pragma once

#include "machine.h"

inline void __pipeline_memcpy_async(void* to, const void* from, size_t bytes, size_t zero_fill = 0) {
  cuda_on_cpu::copy_async(to, from, bytes, zero_fill);
}
inline void __pipeline_commit() { cuda_on_cpu::commit_copies(); }
inline void __pipeline_wait_prior(int groups) { cuda_on_cpu::wait_for_copies(groups); }
