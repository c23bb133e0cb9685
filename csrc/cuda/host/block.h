// A block of threads on the CPU: phases run thread after thread, and what lies between two phases is a barrier.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "motive/dtype.h"

namespace motive::cuda::host {

// Threads of one phase in ascending or descending order: a result that depends on it is a race.
class Block {
 public:
  Block(int threads, bool descending) : threads_(threads), descending_(descending) {}

  template <class Phase>
  void phase(Phase&& run) const {
    for (int j = 0; j < threads_; ++j) run(descending_ ? threads_ - 1 - j : j);
  }

 private:
  int threads_;
  bool descending_;
};

// Working memory whose every float is NaN, so that what nobody wrote shows in the result.
inline std::vector<float> unwritten(int64_t floats) {
  return std::vector<float>(size_t(floats), std::numeric_limits<float>::quiet_NaN());
}

// Shared memory, filled likewise, aligned to 16 bytes.
struct alignas(16) Line {
  uint32_t words[4] = {0x7fffffffu, 0x7fffffffu, 0x7fffffffu, 0x7fffffffu};
};
inline std::vector<Line> shared_memory(int64_t bytes) { return std::vector<Line>(size_t((bytes + 15) / 16)); }
inline unsigned char* bytes_of(std::vector<Line>& memory) { return reinterpret_cast<unsigned char*>(memory.data()); }

// Calls body(T{}) for the element type of a dtype.
template <class Body>
void with_type(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::float32: return body(float{});
    case DType::bfloat16: return body(bfloat16{});
    case DType::float16: return body(float16{});
  }
}

}  // namespace motive::cuda::host
