// Launch checks shared by the launchers.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "motive/check.h"

namespace motive::cuda {

constexpr int64_t kMaxGrid = 2147483647;
constexpr int64_t kMaxDefaultShared = 48 * 1024;

inline void check_cuda(const char* where, const char* what, cudaError_t error) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string(where) + ": " + what + " must succeed, got CUDA error " +
                             cudaGetErrorName(error) + " (" + cudaGetErrorString(error) +
                             "); check that this GPU is supported and its earlier work finished");
  }
}

// Launches a kernel whose arguments fit, with more than 48 KiB of shared memory where it needs that.
template <class... Parameters, class... Arguments>
void launch(const char* where, void (*kernel)(Parameters...), int64_t blocks, int threads, int64_t shared_bytes,
            cudaStream_t stream, const Arguments&... arguments) {
  if (blocks < 1) return;
  if (blocks > kMaxGrid) {
    fail(where, "samples", "few enough for 2^31 - 1 blocks", std::to_string(blocks) + " blocks", "split the batch");
  }
  if (shared_bytes > kMaxDefaultShared) {
    check_cuda(where, "cudaFuncSetAttribute",
               cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes)));
  }
  kernel<<<dim3(unsigned(blocks)), dim3(unsigned(threads)), size_t(shared_bytes), stream>>>(arguments...);
  check_cuda(where, "the kernel launch", cudaGetLastError());
}

}  // namespace motive::cuda
